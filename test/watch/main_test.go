package watch

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/apiserver"
)

// api is the API server that all tests share, one after the other; each has a namespace of its own.
var api *apiserver.Server

func TestMain(m *testing.M) {
	certs, err := os.MkdirTemp("", "apiserver")
	if err != nil {
		panic(err)
	}
	keep := func(s *envtest.APIServer) { s.CertDir = certs } // over a restart, and so are the port and the users
	code := apiserver.Run("../..", keep, func(s *apiserver.Server) (int, error) {
		api = s
		return m.Run(), nil
	})
	_ = os.RemoveAll(certs) // a temporary folder
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func ptr[T any](v T) *T { return &v }

// namespace makes a namespace for one test.
func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "w-"}}
	if err := api.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func service(ns, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
	}}
}

func slice(ns, svc, name string, addresses ...string) *discoveryv1.EndpointSlice {
	es := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](8080), Protocol: ptr(corev1.ProtocolTCP)}},
	}
	for _, a := range addresses {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, NodeName: ptr("n"), Zone: ptr("z")})
	}
	return es
}

// start runs a Store and waits until it is equal to the API's namespace.
func start(t *testing.T, ns string, cfg *rest.Config, o k8s.Options) (*k8s.Store, *telemetry.Tree) {
	t.Helper()
	tree := telemetry.New()
	o.REST, o.Scope = cfg, tree
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	store, err := k8s.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { store.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	await(t, store, ns, 20*time.Second)
	return store, tree
}

// truth is every Service and address of a namespace of the API, in the form of held.
func truth(t *testing.T, ns string) []string {
	t.Helper()
	var services corev1.ServiceList
	var endpoints discoveryv1.EndpointSliceList
	if err := api.Client.List(t.Context(), &services, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if err := api.Client.List(t.Context(), &endpoints, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range services.Items {
		line := "service " + s.Namespace + "/" + s.Name
		for _, p := range s.Spec.Ports {
			if p.Protocol == corev1.ProtocolTCP {
				line += fmt.Sprintf(" %s=%d", p.Name, p.Port)
			}
		}
		out = append(out, line)
	}
	for _, es := range endpoints.Items {
		line := fmt.Sprintf("slice %s/%s of %s", es.Namespace, es.Name, es.Labels[discoveryv1.LabelServiceName])
		for _, p := range es.Ports {
			line += fmt.Sprintf(" %s=%d", *p.Name, *p.Port)
		}
		for _, e := range es.Endpoints {
			yes := func(p *bool, otherwise bool) bool { return p == nil && otherwise || p != nil && *p }
			ready := yes(e.Conditions.Ready, true)
			line += fmt.Sprintf(" %s@%s@%s %t %t %t", e.Addresses[0], value(e.NodeName), value(e.Zone), ready,
				yes(e.Conditions.Serving, ready), yes(e.Conditions.Terminating, false))
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// held is what the Store knows of a namespace.
func held(s *k8s.Store, ns string) []string {
	var out []string
	snap := s.Export()
	for _, svc := range snap.Services {
		if svc.Namespace != ns {
			continue
		}
		line := "service " + svc.Namespace + "/" + svc.Name
		for _, p := range svc.Ports {
			line += fmt.Sprintf(" %s=%d", p.Name, p.Port)
		}
		out = append(out, line)
	}
	for _, es := range snap.Slices {
		if es.Namespace != ns {
			continue
		}
		line := fmt.Sprintf("slice %s/%s of %s", es.Namespace, es.Name, es.Service)
		for _, p := range es.Ports {
			line += fmt.Sprintf(" %s=%d", p.Name, p.Port)
		}
		for _, a := range es.Addresses {
			line += fmt.Sprintf(" %s@%s@%s %t %t %t", a.IP, a.Node, a.Zone, a.Ready, a.Serving, a.Terminating)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// await returns how long the Store took to be equal to what the API now is.
func await(t *testing.T, s *k8s.Store, ns string, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	want := truth(t, ns)
	eventually(t, "the address set", within, began, func() string { return difference(want, held(s, ns)) })
	return time.Since(began)
}

// difference is empty when both are equal.
func difference(want, got []string) string {
	if slices.Equal(want, got) {
		return ""
	}
	var out []string
	for _, w := range want {
		if _, ok := slices.BinarySearch(got, w); !ok {
			out = append(out, "missing "+w)
		}
	}
	for _, g := range got {
		if _, ok := slices.BinarySearch(want, g); !ok {
			out = append(out, "too many "+g)
		}
	}
	return strings.Join(out[:min(len(out), 5)], "\n")
}

// eventually polls, for what has no channel to wait on, until what returns "".
func eventually(t *testing.T, what string, within time.Duration, began time.Time, wrong func() string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		why := wrong()
		if why == "" {
			return
		}
		if time.Since(began) > within {
			t.Fatalf("%s: not within %v: %s", what, within, why)
		}
		<-tick.C
	}
}
