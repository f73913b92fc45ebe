package k8s

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// recorded answers lists and watches with the bytes of an API server that has some Services of ten endpoints each, dressed as
// controllers and kubectl leave them.
type recorded struct {
	stream         bool
	watches, lists map[string][]byte
}

func encode(obj kruntime.Object, gvk schema.GroupVersionKind) []byte {
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	var out bytes.Buffer
	if err := protobuf.NewSerializer(nil, nil).Encode(obj, &out); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// frame is one event of a watch in protobuf, behind its length.
func frame(kind string, object []byte) []byte {
	body, err := (&metav1.WatchEvent{Type: kind, Object: kruntime.RawExtension{Raw: object}}).Marshal()
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// dress adds what an object of a busy cluster carries and this package does not read.
func dress(m *metav1.ObjectMeta, i int) {
	m.UID, m.ResourceVersion, m.Generation = "0d9f9a5e-8f0c-4c0e-9f0f-2f6f5c1f0a11", fmt.Sprint(i+1), 4
	m.CreationTimestamp = metav1.Now()
	m.Annotations = map[string]string{
		"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat(`{"apiVersion":"v1","kind":"Service"}`, 15),
		"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z",
	}
	fields := `{"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:annotations":{".":{}},"f:labels":{".":{}}},"f:ports":{}}`
	for _, manager := range []string{"kube-controller-manager", "kubectl-client-side-apply", "argocd-controller"} {
		m.ManagedFields = append(m.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(strings.Repeat(fields, 3)),
		})
	}
}

func busyService(i int) *corev1.Service {
	svc := service(fmt.Sprintf("team-%d", i%50), fmt.Sprintf("service-%d", i),
		corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}, corev1.ServicePort{Name: "admin", Port: 9990})
	svc.Spec.Selector = map[string]string{"app": svc.Name}
	svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
	dress(&svc.ObjectMeta, i)
	return svc
}

func busySlice(i int) *discoveryv1.EndpointSlice {
	svc := busyService(i)
	es := slice(svc.Namespace, svc.Name, svc.Name+"-x7k2p", discoveryv1.AddressTypeIPv4,
		[]discoveryv1.EndpointPort{port("http", 8080), port("admin", 9990)})
	for j := range 10 {
		e := ep(fmt.Sprintf("10.%d.%d.%d", i/250%250, i%250, j+1), true, true, false)
		e.NodeName, e.Zone = ptr(fmt.Sprintf("node-%d", (i+j)%300)), ptr("zone-a")
		e.TargetRef = &corev1.ObjectReference{
			Kind: "Pod", Namespace: svc.Namespace, Name: fmt.Sprintf("%s-6b9f7c-%d", svc.Name, j), UID: "9bb0c9a4-55f3-4dd5-a25f-1b0e2f3f4a5b",
		}
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "zone-a"}}}
		es.Endpoints = append(es.Endpoints, e)
	}
	dress(&es.ObjectMeta, i)
	return es
}

func record(services int, stream bool) *recorded {
	r := &recorded{stream: stream, watches: map[string][]byte{}, lists: map[string][]byte{}}
	end := map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	sgvk, egvk := corev1.SchemeGroupVersion.WithKind("Service"), discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice")
	if stream {
		var s, e []byte
		for i := range services {
			s = append(s, frame("ADDED", encode(busyService(i), sgvk))...)
			e = append(e, frame("ADDED", encode(busySlice(i), egvk))...)
		}
		mark := metav1.ObjectMeta{ResourceVersion: "1000000", Annotations: end}
		s = append(s, frame("BOOKMARK", encode(&corev1.Service{ObjectMeta: mark}, sgvk))...)
		e = append(e, frame("BOOKMARK", encode(&discoveryv1.EndpointSlice{ObjectMeta: mark}, egvk))...)
		r.watches["services"], r.watches["endpointslices"] = s, e
		return r
	}
	const page = 500
	for at := 0; at < services; at += page {
		ss, es := &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}
		ss.ResourceVersion, es.ResourceVersion = "1000000", "1000000"
		for i := at; i < min(at+page, services); i++ {
			ss.Items, es.Items = append(ss.Items, *busyService(i)), append(es.Items, *busySlice(i))
		}
		if at+page < services {
			ss.Continue, es.Continue = fmt.Sprint(at+page), fmt.Sprint(at+page)
		}
		key := ""
		if at > 0 {
			key = fmt.Sprint(at)
		}
		r.lists["services"+key] = encode(ss, corev1.SchemeGroupVersion.WithKind("ServiceList"))
		r.lists["endpointslices"+key] = encode(es, discoveryv1.SchemeGroupVersion.WithKind("EndpointSliceList"))
	}
	return r
}

func (r *recorded) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	resource := req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
	q := req.URL.Query()
	w.Header().Set("Content-Type", kruntime.ContentTypeProtobuf)
	switch {
	case q.Get("watch") == "":
		_, _ = w.Write(r.lists[resource+q.Get("continue")])
		return
	case q.Get("sendInitialEvents") != "" && !r.stream:
		http.Error(w, "no streams", http.StatusUnprocessableEntity)
		return
	case q.Get("sendInitialEvents") != "":
		w.Header().Set("Content-Type", kruntime.ContentTypeProtobuf+";stream=watch")
		_, _ = w.Write(r.watches[resource])
	default:
		w.Header().Set("Content-Type", kruntime.ContentTypeProtobuf+";stream=watch")
	}
	w.(http.Flusher).Flush()
	<-req.Context().Done()
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// BenchmarkSync brings up a Store and reports the time until it is synced, the highest heap on the way (garbage that was not yet
// collected counts), and what is held in the end.
func BenchmarkSync(b *testing.B) {
	for _, stream := range []bool{true, false} {
		for _, services := range []int{1_000, 10_000} {
			b.Run(fmt.Sprintf("stream=%v/services=%d", stream, services), func(b *testing.B) {
				server := httptest.NewServer(record(services, stream))
				defer server.Close()
				var peak, held float64
				b.ReportAllocs()
				for b.Loop() {
					p, h := syncOnce(b, server.URL, services)
					peak, held = max(peak, p), h
				}
				b.ReportMetric(peak/1e6, "peak-MB")
				b.ReportMetric(held/1e6, "held-MB")
			})
		}
	}
}

func syncOnce(b *testing.B, url string, services int) (peak, held float64) {
	b.StopTimer()
	runtime.GC()
	before := heap()
	b.StartTimer()
	s, err := New(Options{REST: &rest.Config{Host: url}, Log: logr.Discard(), Scope: telemetry.New()})
	if err != nil {
		b.Fatal(err)
	}
	stop := make(chan struct{})
	highest := make(chan uint64)
	go func() {
		most := uint64(0)
		for {
			select {
			case <-stop:
				highest <- most
				return
			case <-time.After(time.Millisecond):
				most = max(most, heap())
			}
		}
	}()
	done := run(b, s)
	for !s.Synced() {
		time.Sleep(time.Millisecond) // the interval at which Synced is asked
	}
	close(stop)
	peak = float64(<-highest - before)
	b.StopTimer()
	if c := s.counts(); c.services != services || c.endpoints != 10*services {
		b.Fatalf("holds %+v", c)
	}
	runtime.GC()
	held = float64(heap() - before)
	done()
	b.StartTimer()
	return peak, held
}

// run starts s and returns what ends it.
func run(tb testing.TB, s *Store) func() {
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}
