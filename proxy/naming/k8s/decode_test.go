package k8s

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/proxy/naming/k8s/strip"
)

// reduce is what stripping should leave of an object's metadata, in the simplest way.
func reduce(m metav1.ObjectMeta) metav1.ObjectMeta {
	out := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, ResourceVersion: m.ResourceVersion, Labels: m.Labels}
	if v, ok := m.Annotations[metav1.InitialEventsAnnotationKey]; ok {
		out.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: v}
	}
	return out
}

func reduceSlice(es *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{ObjectMeta: reduce(es.ObjectMeta), AddressType: es.AddressType, Ports: es.Ports}
	for _, e := range es.Endpoints {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
			Addresses: e.Addresses, Conditions: e.Conditions, NodeName: e.NodeName, Zone: e.Zone,
		})
	}
	return out
}

func reduceService(svc *corev1.Service) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: reduce(svc.ObjectMeta),
		Spec:       corev1.ServiceSpec{Type: svc.Spec.Type, Ports: svc.Spec.Ports, ExternalName: svc.Spec.ExternalName},
		Status:     corev1.ServiceStatus{LoadBalancer: svc.Status.LoadBalancer},
	}
}

// message is a generated protobuf type.
type message[T any] interface {
	*T
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// agree strips bytes that are, or nearly are, an object, and compares with an object that was decoded in full and reduced.
func agree[T any, P message[T]](t *testing.T, data []byte, keep strip.Fields, reduced func(P) P) {
	t.Helper()
	full, direct := P(new(T)), P(new(T))
	whole := full.Unmarshal(data)
	kept, err := strip.Message(bytes.Clone(data), keep)
	if err == nil && whole == nil {
		must(t, direct.Unmarshal(kept))
		if diff := cmp.Diff(reduced(full), direct, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("stripped bytes say something else: %s", diff)
		}
	}
	if whole != nil {
		return
	}
	// What a server would send of the same object can always be stripped.
	sent, err := full.Marshal()
	must(t, err)
	kept, err = strip.Message(sent, keep)
	must(t, err)
	again := P(new(T))
	must(t, again.Unmarshal(kept))
	if diff := cmp.Diff(reduced(full), again, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a stripped object says something else: %s", diff)
	}
}

func FuzzStripSlice(f *testing.F) {
	es := busySlice(3)
	es.Annotations[metav1.InitialEventsAnnotationKey] = "true"
	data, err := es.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x80, 0x00, 0x12, 0x02, 0x0a, 0x00})
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data, read["EndpointSlice"], reduceSlice) })
}

func FuzzStripService(f *testing.F) {
	svc := busyService(3)
	svc.Spec.ExternalName = "example.com"
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1", Hostname: "lb.example.com"}}
	data, err := svc.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data, read["Service"], reduceService) })
}
