package k8s

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

func newStore(t *testing.T, o Options) (*Store, *telemetry.Tree) {
	t.Helper()
	tree := telemetry.New()
	o.REST, o.Scope, o.Log = &rest.Config{Host: "127.0.0.1:1"}, tree, logr.Discard()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, tree
}

func ptr[T any](v T) *T { return &v }

func service(ns, svc string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: svc}, Spec: corev1.ServiceSpec{Ports: ports}}
}

func slice(ns, svc, id string, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort,
	eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: id, Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: family, Ports: ports, Endpoints: eps,
	}
}

func port(name string, n int32) discoveryv1.EndpointPort {
	return discoveryv1.EndpointPort{Name: ptr(name), Port: ptr(n), Protocol: ptr(corev1.ProtocolTCP)}
}

func ep(addr string, conditions ...bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{addr}}
	for i, c := range conditions {
		switch i {
		case 0:
			e.Conditions.Ready = ptr(c)
		case 1:
			e.Conditions.Serving = ptr(c)
		case 2:
			e.Conditions.Terminating = ptr(c)
		}
	}
	return e
}

// fill is a complete list of both resources.
func fill(t *testing.T, s *Store, services []any, endpointSlices []any) {
	t.Helper()
	if err := (serviceSink{s}).Replace(services, "1"); err != nil {
		t.Fatal(err)
	}
	if err := (sliceSink{s}).Replace(endpointSlices, "1"); err != nil {
		t.Fatal(err)
	}
}

// show renders what a name is: "pending", "~", or its endpoints, with - for those that get no new requests.
func show(t *testing.T, s *Store, path string) string {
	t.Helper()
	p, err := dtab.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	live := s.Namer(dtab.Path{"#", "io.l5d.k8s"}).Lookup(p)
	defer live.Close()
	return showLive(live)
}

func showLive(live naming.Live[naming.Tree]) string {
	tree, state, _ := live.Load()
	if state == naming.Pending {
		return "pending"
	}
	if tree.Kind == dtab.Neg {
		return "~"
	}
	addrs, _, _ := tree.Bound.Addrs.Load()
	out := []string{}
	for _, e := range addrs.Endpoints {
		mark := ""
		if !e.Serving {
			mark = "-"
		}
		out = append(out, mark+e.Addr.String())
	}
	return "[" + strings.Join(out, " ") + "]"
}

// lookupCase is one Service, its slices, and what a path then is.
type lookupCase struct {
	name   string
	path   string
	svc    *corev1.Service
	slices []any
	want   string
}

func webService() *corev1.Service {
	return service("default", "web",
		corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP},
		corev1.ServicePort{Name: "dns", Port: 80, Protocol: corev1.ProtocolUDP},
		corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP})
}

func nameCases() []lookupCase {
	const v4 = discoveryv1.AddressTypeIPv4
	http, web := []discoveryv1.EndpointPort{port("http", 8080)}, webService()
	return []lookupCase{
		{"by port name", "/default/http/web", web, []any{slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "[10.0.0.1:8080]"},
		{"by port number", "/default/80/web", web, []any{slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "[10.0.0.1:8080]"},
		{"target port is no name", "/default/8080/web", web, []any{slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "~"},
		{"number of a UDP port", "/default/53/web", web, []any{slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "~"},
		{"lowercased", "/DEFAULT/HTTP/WEB", web, []any{slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "[10.0.0.1:8080]"},
		{"no such port", "/default/grpc/web", web, []any{slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "~"},
		{"no such service", "/default/http/db", web, nil, "~"},
		{"other namespace", "/prod/http/web", web, []any{slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "~"},
		{"short path", "/default/http", web, nil, "~"},
		{"slices without their service", "/default/http/db", web,
			[]any{slice("default", "db", "a", v4, http, ep("10.0.0.1"))}, "~"},
		{"endpoints null", "/default/http/web", web, []any{slice("default", "web", "a", v4, http)}, "[]"},
		{"scaled to zero", "/default/http/web", web, []any{slice("default", "web", "a", v4, nil)}, "~"},
	}
}

func endpointCases() []lookupCase {
	const v4, v6 = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	http, web := []discoveryv1.EndpointPort{port("http", 8080)}, webService()
	return []lookupCase{
		{"not ready", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("10.0.0.1", false), ep("10.0.0.2", true))},
			"[-10.0.0.1:8080 10.0.0.2:8080]"},
		{"terminating gets none while another is ready", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("10.0.0.1", false, true, true), ep("10.0.0.2"))},
			"[-10.0.0.1:8080 10.0.0.2:8080]"},
		{"terminating serves when none is ready", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("10.0.0.1", false, true, true), ep("10.0.0.2", false, false, false))},
			"[10.0.0.1:8080 -10.0.0.2:8080]"},
		{"terminating and no longer serving", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("10.0.0.1", false, false, true))}, "[-10.0.0.1:8080]"},
		{"duplicate over slices, the better counts", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("10.0.0.1", false)), slice("default", "web", "b", v4, http, ep("10.0.0.1", true))},
			"[10.0.0.1:8080]"},
		{"dual stack", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("10.0.0.1")), slice("default", "web", "b", v6, http, ep("fd00::1"))},
			"[10.0.0.1:8080]"},
		{"IPv6 alone", "/default/http/web", web, []any{slice("default", "web", "b", v6, http, ep("fd00::1"))}, "[[fd00::1]:8080]"},
		{"FQDN beside", "/default/http/web", web,
			[]any{slice("default", "web", "f", discoveryv1.AddressTypeFQDN, http, ep("example.com")),
				slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "[10.0.0.1:8080]"},
		{"all ports beside", "/default/http/web", web,
			[]any{slice("default", "web", "f", v4, []discoveryv1.EndpointPort{{Name: ptr("http")}}, ep("10.0.0.9")),
				slice("default", "web", "a", v4, http, ep("10.0.0.1"))}, "[10.0.0.1:8080]"},
		{"bad addresses beside", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("nonsense"), discoveryv1.Endpoint{}, ep("0.0.0.0"), ep("10.0.0.1"))},
			"[10.0.0.1:8080]"},
		{"two numbers of one port", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4, http, ep("10.0.0.1")),
				slice("default", "web", "b", v4, []discoveryv1.EndpointPort{port("http", 9090)}, ep("10.0.0.2"))},
			"[10.0.0.1:8080 10.0.0.2:9090]"},
		{"unnamed port by number", "/default/80/one", service("default", "one", corev1.ServicePort{Port: 80}),
			[]any{slice("default", "one", "a", v4, []discoveryv1.EndpointPort{{Port: ptr(int32(8080))}}, ep("10.0.0.1"))},
			"[10.0.0.1:8080]"},
		{"UDP port of the same name", "/default/http/web", web,
			[]any{slice("default", "web", "a", v4,
				[]discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(53)), Protocol: ptr(corev1.ProtocolUDP)}}, ep("10.0.0.1"))}, "~"},
	}
}

func TestLookup(t *testing.T) {
	for _, c := range append(nameCases(), endpointCases()...) {
		t.Run(c.name, func(t *testing.T) {
			s, _ := newStore(t, Options{})
			if got := show(t, s, c.path); got != "pending" && c.name != "short path" {
				t.Errorf("before the first list: %s, want pending", got)
			}
			fill(t, s, []any{c.svc}, c.slices)
			if got := show(t, s, c.path); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			// The same through the stripping that lists go through, and through a snapshot.
			data, err := json.Marshal(s.Export())
			if err != nil {
				t.Fatal(err)
			}
			var snap Snapshot
			if err := json.Unmarshal(data, &snap); err != nil {
				t.Fatal(err)
			}
			again, _ := newStore(t, Options{})
			again.Import(snap)
			if got := show(t, again, c.path); got != c.want {
				t.Errorf("after export and import: got %s, want %s", got, c.want)
			}
			if again.Synced() || !again.Known() {
				t.Error("an imported store must be known and not synced")
			}
		})
	}
}

func TestOdditiesAreCounted(t *testing.T) {
	s, tree := newStore(t, Options{})
	fill(t, s, []any{service("d", "s")}, []any{
		slice("d", "s", "fqdn", discoveryv1.AddressTypeFQDN, nil),
		slice("d", "", "orphan", discoveryv1.AddressTypeIPv4, nil),
		slice("d", "s", "all", discoveryv1.AddressTypeIPv4, []discoveryv1.EndpointPort{{}, {Port: ptr(int32(70000))}}, ep("x"), ep("10.0.0.1")),
	})
	for name, want := range map[string]uint64{
		"fqdn_slices": 1, "slices_without_service": 1, "all_ports": 1, "bad_ports": 1, "bad_addresses": 1, "over_limit": 0,
	} {
		if got := tree.Scope("ignored").Counter(name).Value(); got != want {
			t.Errorf("ignored/%s = %d, want %d", name, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	s, tree := newStore(t, Options{MaxServices: 1, MaxEndpoints: 2})
	http := []discoveryv1.EndpointPort{port("http", 80)}
	fill(t, s, []any{service("d", "a"), service("d", "b")}, []any{
		slice("d", "a", "a1", discoveryv1.AddressTypeIPv4, http, ep("10.0.0.1"), ep("10.0.0.2")),
		slice("d", "a", "a2", discoveryv1.AddressTypeIPv4, http, ep("10.0.0.3")),
	})
	if got := show(t, s, "/d/http/a"); got != "[10.0.0.1:80 10.0.0.2:80]" {
		t.Errorf("within the limit: %s", got)
	}
	if got := tree.Scope("ignored").Counter("over_limit").Value(); got != 2 {
		t.Errorf("over_limit = %d, want 2", got)
	}
	// Slices without addresses take room too.
	for i := range 10 {
		if err := (sliceSink{s}).Add(slice("ns", "web", fmt.Sprint("empty-", i), discoveryv1.AddressTypeIPv4, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Export().Slices); n > 2 {
		t.Errorf("%d slices kept", n)
	}
}

func TestChangesAreLive(t *testing.T) {
	s, _ := newStore(t, Options{})
	http := []discoveryv1.EndpointPort{port("http", 80)}
	a := slice("d", "web", "a", discoveryv1.AddressTypeIPv4, http, ep("10.0.0.1"))
	b := slice("d", "web", "b", discoveryv1.AddressTypeIPv4, http, ep("10.0.0.2"))
	fill(t, s, []any{service("d", "web")}, []any{a, b})
	live := s.Namer(dtab.Path{"#", "k"}).Lookup(dtab.Path{"d", "http", "web", "rest"})
	tree, _, _ := live.Load()
	if got := tree.Bound.ID.String() + " " + tree.Bound.Residual.String(); got != "/#/k/d/http/web /rest" {
		t.Errorf("bound as %s", got)
	}
	addrs := tree.Bound.Addrs
	changed := addrs.Changed()
	must(t, (sliceSink{s}).Delete(a))
	select {
	case <-changed:
	default:
		t.Error("the deletion of a slice is no change")
	}
	if got := showLive(live); got != "[10.0.0.2:80]" {
		t.Errorf("after the deletion of a slice: %s", got)
	}
	changed = addrs.Changed()
	must(t, (sliceSink{s}).Update(b))
	select {
	case <-changed:
		t.Error("an update that changes nothing is a change")
	default:
	}
	// The slice changes hands.
	b2 := b.DeepCopy()
	b2.Labels[discoveryv1.LabelServiceName] = "other"
	must(t, (sliceSink{s}).Update(b2))
	if got := showLive(live); got != "~" {
		t.Errorf("after the slice went to another service: %s", got)
	}
	if v, _, _ := addrs.Load(); len(v.Endpoints) != 0 {
		t.Errorf("a name that is gone keeps %d endpoints for those that hold it", len(v.Endpoints))
	}
	must(t, (sliceSink{s}).Update(b))
	must(t, (serviceSink{s}).Delete(service("d", "web")))
	if got := showLive(live); got != "~" {
		t.Errorf("after the deletion of the service: %s", got)
	}
	second := s.Namer(dtab.Path{"#", "k"}).Lookup(dtab.Path{"d", "http", "web", "rest"})
	live.Close()
	if len(s.targets) != 1 {
		t.Error("a name that is in use was forgotten")
	}
	second.Close()
	if len(s.targets) != 0 {
		t.Errorf("%d names are kept that nobody uses", len(s.targets))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportYieldsToTheAPI(t *testing.T) {
	s, _ := newStore(t, Options{})
	http := []discoveryv1.EndpointPort{port("http", 80)}
	s.Import(Snapshot{
		Services: []*Service{{Namespace: "d", Name: "web"}, nil},
		Slices: []*Slice{nil, {Namespace: "d", Name: "old", Service: "web", Ports: []SlicePort{{"http", 80}},
			Addresses: []Address{{IP: netip.MustParseAddr("10.0.0.9"), Ready: true}}}},
	})
	if got := show(t, s, "/d/http/web"); got != "[10.0.0.9:80]" {
		t.Errorf("from the snapshot: %s", got)
	}
	must(t, (serviceSink{s}).Replace([]any{service("d", "web")}, "1"))
	if got := show(t, s, "/d/http/web"); got != "[10.0.0.9:80]" {
		t.Errorf("with services listed and slices not: %s", got)
	}
	must(t, (sliceSink{s}).Replace([]any{slice("d", "web", "a", discoveryv1.AddressTypeIPv4, http, ep("10.0.0.1"))}, "1"))
	if got := show(t, s, "/d/http/web"); got != "[10.0.0.1:80]" {
		t.Errorf("once the API server answered: %s", got)
	}
	s.Import(Snapshot{Services: []*Service{{Namespace: "d", Name: "stale"}}})
	if diff := cmp.Diff(1, len(s.Export().Services)); diff != "" {
		t.Error("an import after the first list changed what the API server said")
	}
}

// decode sends an object through the client's decoder, as a watch does.
func decode[T kruntime.Object](t *testing.T, obj kruntime.Object, gvk schema.GroupVersionKind) T {
	t.Helper()
	d, err := kruntime.NewClientNegotiator(codec(), gvk.GroupVersion()).Decoder(kruntime.ContentTypeProtobuf, nil)
	must(t, err)
	out, err := kruntime.Decode(d, encode(obj, gvk))
	must(t, err)
	return out.(T)
}

func TestDecodesWhatIsRead(t *testing.T) {
	s, _ := newStore(t, Options{})
	full := busySlice(7)
	full.Endpoints[3].Conditions, full.Endpoints[4].Zone = discoveryv1.EndpointConditions{Terminating: ptr(true)}, nil
	es := decode[*discoveryv1.EndpointSlice](t, full.DeepCopy(), discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"))
	if diff := cmp.Diff(s.odd.slice(full), s.odd.slice(es), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("stripping changed what is read of a slice: %s", diff)
	}
	if es.ManagedFields != nil || es.Annotations != nil || es.UID != "" || es.Endpoints[0].TargetRef != nil || es.Endpoints[0].Hints != nil {
		t.Errorf("stripping left what nobody reads: %v", es)
	}
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName} {
		want := busyService(7)
		want.Spec.Type, want.Spec.ExternalName = kind, "example.com"
		svc := decode[*corev1.Service](t, want.DeepCopy(), corev1.SchemeGroupVersion.WithKind("Service"))
		if diff := cmp.Diff(s.odd.service(want), s.odd.service(svc)); diff != "" {
			t.Errorf("stripping changed what is read of a Service: %s", diff)
		}
		if svc.ManagedFields != nil || svc.Annotations != nil || svc.Spec.Selector != nil || svc.Spec.ClusterIP != "" {
			t.Errorf("stripping left what nobody reads: %v", svc)
		}
	}
	refused := decode[*metav1.Status](t, &metav1.Status{Message: "no"}, schema.GroupVersionKind{Version: "v1", Kind: "Status"})
	if refused.Message != "no" {
		t.Errorf("a Status came as %v", refused)
	}
}

func TestNamesAreSharedByUsers(t *testing.T) {
	s, _ := newStore(t, Options{})
	n := s.Namer(dtab.Path{"#", "k"})
	var all []naming.Live[naming.Tree]
	for i := range 100 {
		all = append(all, n.Lookup(dtab.Path{"d", "http", "web", fmt.Sprint(i % 3)}))
	}
	if got := len(s.targets[name{"d", "web"}][view{port: "http"}].leaves); got != 3 {
		t.Errorf("%d leaves for 3 names", got)
	}
	slices.Reverse(all)
	for _, l := range all {
		l.Close()
		l.Close()
	}
	if len(s.targets) != 0 {
		t.Error("names are kept that nobody uses")
	}
}
