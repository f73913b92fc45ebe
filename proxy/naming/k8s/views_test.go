package k8s

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

// showPath looks a path up at a namer and renders it with the bound name and the residual path.
func showPath(t *testing.T, n *Namer, text string) string {
	t.Helper()
	p, err := dtab.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	live := n.Lookup(p)
	defer live.Close()
	tree, _, _ := live.Load()
	if tree.Bound == nil {
		return showLive(live)
	}
	return tree.Bound.ID.String() + " " + tree.Bound.Residual.String() + " " + showLive(live)
}

func TestOneNamespace(t *testing.T) {
	s, _ := newStore(t, Options{})
	http := []discoveryv1.EndpointPort{port("http", 8080)}
	fill(t, s, []any{webService()}, []any{slice("default", "web", "a", discoveryv1.AddressTypeIPv4, http, ep("10.0.0.1"))})
	n := s.Namer(dtab.Path{"#", "ns"}).InNamespace("default")
	for path, want := range map[string]string{
		"/http/web": "/#/ns/http/web / [10.0.0.1:8080]", "/80/WEB/x": "/#/ns/80/web /x [10.0.0.1:8080]",
		"/http": "~", "/default/http/web": "~",
	} {
		if got := showPath(t, n, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func labelled(es *discoveryv1.EndpointSlice, labels ...string) *discoveryv1.EndpointSlice {
	for i := 0; i < len(labels); i += 2 {
		es.Labels[labels[i]] = labels[i+1]
	}
	return es
}

// A label that a namer selects by is kept of slices, and no other. A name with one is not answered before that.
func TestLabelSelector(t *testing.T) {
	s, _ := newStore(t, Options{})
	http := []discoveryv1.EndpointPort{port("http", 8080)}
	const v4 = discoveryv1.AddressTypeIPv4
	endpointSlices := []any{
		labelled(slice("default", "web", "a", v4, http, ep("10.0.0.1")), "version", "v1", "team", "x"),
		labelled(slice("default", "web", "b", v4, http, ep("10.0.0.2")), "version", "V2"),
		slice("default", "web", "c", v4, http, ep("10.0.0.3")),
	}
	fill(t, s, []any{webService()}, endpointSlices)
	n := s.Namer(dtab.Path{"#", "k"}).Selecting("version")
	if got := showPath(t, n, "/default/http/web/v1"); got != "pending" {
		t.Errorf("before the label was read: %s", got)
	}
	listed := 0
	ctx, cancel := context.WithCancel(t.Context())
	s.labels.run(ctx, func(context.Context) {
		listed++
		fill(t, s, []any{webService()}, endpointSlices)
		cancel()
	})
	check := func(s *Store, n *Namer) {
		t.Helper()
		for path, want := range map[string]string{
			"/default/http/web/v1":   "/#/k/default/http/web/v1 / [10.0.0.1:8080]",
			"/default/80/WEB/V1/x":   "/#/k/default/80/web/v1 /x [10.0.0.1:8080]",
			"/default/http/web/v2":   "/#/k/default/http/web/v2 / [10.0.0.2:8080]",
			"/default/http/web/none": "~", "/default/http/web": "~",
		} {
			if got := showPath(t, n, path); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
		if got := show(t, s, "/default/http/web"); got != "[10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080]" {
			t.Errorf("without the label: %s", got)
		}
	}
	check(s, n)
	snap := s.Export()
	for _, es := range snap.Slices {
		if len(es.Labels) > 1 || es.Labels["team"] != "" {
			t.Errorf("labels kept that nobody reads: %v", es.Labels)
		}
	}
	data, err := json.Marshal(snap)
	must(t, err)
	var back Snapshot
	must(t, json.Unmarshal(data, &back))
	again, _ := newStore(t, Options{})
	again.Import(back)
	check(again, again.Namer(dtab.Path{"#", "k"}).Selecting("version"))
	es := decode[*discoveryv1.EndpointSlice](t, endpointSlices[0].(*discoveryv1.EndpointSlice), discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"))
	if kept := s.odd.slice(es); kept.Labels["version"] != "v1" {
		t.Errorf("stripping took the label: %v", kept.Labels)
	}
}

// A label that comes while the watch runs has it run anew, once; one that is read already, or is wanted no more, has not.
func TestWatchRunsAnewForALabel(t *testing.T) {
	l := &labels{grown: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	runs := make(chan []string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx, func(ctx context.Context) {
			runs <- l.keep()
			<-ctx.Done()
		})
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case kept := <-runs:
			if got := (dtab.Path(kept)).String(); got != want {
				t.Fatalf("the watch reads %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the watch was not run for %s", want)
		}
	}
	expect("/")
	l.want("a")
	expect("/a")
	l.want("a")
	l.want("b")
	expect("/a/b")
	l.unwant("a")
	l.unwant("b")
	l.want("b") // still read
	l.want("c")
	expect("/a/b/c")
	l.unwant("a")
	l.want("d")
	expect("/b/c/d")
	cancel()
	<-ended
}

func loadBalancer(svc *corev1.Service, at ...corev1.LoadBalancerIngress) *corev1.Service {
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Status.LoadBalancer.Ingress = at
	return svc
}

// Addresses of a load balancer are those of its status at the port of the Service; host names follow DNS.
func TestExternal(t *testing.T) {
	r := dns.New(dns.Options{Lookup: func(_ context.Context, host string) ([]netip.Addr, time.Duration, error) {
		if host != "lb.example.com" {
			t.Errorf("asked for %s", host)
		}
		return []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")}, 0, nil
	}})
	defer r.Close()
	s, tree := newStore(t, Options{})
	n := s.Namer(dtab.Path{"#", "ext"}).External(r)
	http := []discoveryv1.EndpointPort{port("http", 8080)}
	web := loadBalancer(webService(), corev1.LoadBalancerIngress{IP: "203.0.113.1", Hostname: "both.example.com"},
		corev1.LoadBalancerIngress{IP: "nonsense"}, corev1.LoadBalancerIngress{})
	plain := webService()
	plain.Name = "plain"
	fill(t, s, []any{web, plain}, []any{slice("default", "web", "a", discoveryv1.AddressTypeIPv4, http, ep("10.0.0.1"))})
	for path, want := range map[string]string{
		"/default/http/web/x": "/#/ext/default/http/web /x [203.0.113.1:80]", "/default/80/web": "/#/ext/default/80/web / [203.0.113.1:80]",
		"/default/8080/web": "~", "/default/grpc/web": "~", "/default/http/plain": "~", "/default/http/none": "~", "/default/http": "~",
	} {
		if got := showPath(t, n, path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := tree.Scope("ignored").Counter("bad_addresses").Value(); got != 1 {
		t.Errorf("bad_addresses = %d, want 1", got)
	}
	if got := show(t, s, "/default/http/web"); got != "[10.0.0.1:8080]" {
		t.Errorf("the endpoints of the same port: %s", got)
	}
	live := n.Lookup(dtab.Path{"default", "http", "web"})
	bound, _, _ := live.Load()
	named := loadBalancer(webService(), corev1.LoadBalancerIngress{Hostname: "lb.example.com"})
	must(t, (serviceSink{s}).Update(decode[*corev1.Service](t, named, corev1.SchemeGroupVersion.WithKind("Service"))))
	for deadline := time.After(10 * time.Second); ; {
		changed := bound.Bound.Addrs.Changed()
		if showLive(live) == "[203.0.113.7:80 203.0.113.8:80]" {
			break
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("endpoints: %s", showLive(live))
		}
	}
	var snap Snapshot
	data, err := json.Marshal(s.Export())
	must(t, err)
	must(t, json.Unmarshal(data, &snap))
	if got := snap.Services[1].External; len(got) != 1 || got[0] != "lb.example.com" {
		t.Errorf("in the snapshot: %v", got)
	}
	must(t, (serviceSink{s}).Update(webService()))
	if got := showLive(live); got != "~" {
		t.Errorf("without a load balancer: %s", got)
	}
	live.Close()
	if got := r.Stats().Names; got != 0 || len(s.targets) != 0 {
		t.Errorf("%d host names and %d services are kept that nobody uses", got, len(s.targets))
	}
}

// A load balancer that comes, or comes back, is waited for: until its host is resolved there are no endpoints to choose none of.
func TestExternalThatComesIsPending(t *testing.T) {
	answer := make(chan struct{})
	r := dns.New(dns.Options{Lookup: func(ctx context.Context, _ string) ([]netip.Addr, time.Duration, error) {
		select {
		case <-answer:
		case <-ctx.Done():
		}
		return []netip.Addr{netip.MustParseAddr("203.0.113.7")}, 0, ctx.Err()
	}})
	defer r.Close()
	s, _ := newStore(t, Options{})
	fill(t, s, []any{webService()}, nil)
	live := s.Namer(dtab.Path{"#", "ext"}).External(r).Lookup(dtab.Path{"default", "http", "web"})
	defer live.Close()
	for range 2 {
		if got := showLive(live); got != "~" {
			t.Fatalf("without a load balancer: %s", got)
		}
		must(t, (serviceSink{s}).Update(loadBalancer(webService(), corev1.LoadBalancerIngress{Hostname: "lb.example.com"})))
		bound, _, _ := live.Load()
		if a, state, _ := bound.Bound.Addrs.Load(); state != naming.Pending {
			t.Errorf("before DNS answers: %v, state %d", a, state)
		}
		answer <- struct{}{}
		for {
			changed := bound.Bound.Addrs.Changed()
			if showLive(live) == "[203.0.113.7:80]" {
				break
			}
			<-changed
		}
		must(t, (serviceSink{s}).Update(webService()))
	}
}
