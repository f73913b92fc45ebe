package control

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
)

// at shows what a name of a namer is bound to.
func at(n *k8s.Namer, p ...string) string {
	live := n.Lookup(p)
	defer live.Close()
	tree, _, _ := live.Load()
	if tree.Bound == nil {
		return tree.Kind.String()
	}
	addrs, _, _ := tree.Bound.Addrs.Load()
	out := ""
	for _, e := range addrs.Endpoints {
		out += e.Addr.String() + " "
	}
	return out
}

// A label that namers come to select by is read from the API server, over a watch that did not carry it; and the addresses of a load
// balancer are those of its status.
func TestLabelsAndLoadBalancers(t *testing.T) {
	ns := namespace(t)
	es := newService(t, ns, "web", "10.0.0.1")
	es.Labels["version"] = "v1"
	update(t, es)
	p := start(t, options(newMesh(t, ns)))
	p.awaitEndpoints(t, ns, "web", "10.0.0.1:8080 ")
	awaitName := func(want string, n *k8s.Namer, path ...string) {
		t.Helper()
		eventually(t, fmt.Sprint(path), 10*time.Second, func() error {
			if got := at(n, path...); got != want {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		})
	}
	n := p.store.Namer(dtab.Path{"#", "k"}).Selecting("version")
	defer n.Close()
	awaitName("10.0.0.1:8080 ", n, ns, "http", "web", "v1")
	awaitName("neg", n, ns, "http", "web", "v2")
	es.Labels["version"] = "v2"
	update(t, es)
	awaitName("10.0.0.1:8080 ", n, ns, "http", "web", "v2")
	awaitName("neg", n, ns, "http", "web", "v1")

	r := dns.New(dns.Options{Lookup: func(context.Context, string) ([]netip.Addr, time.Duration, error) {
		return []netip.Addr{netip.MustParseAddr("203.0.113.9")}, 0, nil
	}})
	defer r.Close()
	external := p.store.Namer(dtab.Path{"#", "ext"}).External(r)
	awaitName("neg", external, ns, "http", "web")
	var svc corev1.Service
	if err := api.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &svc); err != nil {
		t.Fatal(err)
	}
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	update(t, &svc)
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}, {Hostname: "lb.example.com"}}
	if err := api.Client.Status().Update(t.Context(), &svc); err != nil {
		t.Fatal(err)
	}
	live := external.Lookup(dtab.Path{ns, "http", "web"}) // so that the host stays resolved
	defer live.Close()
	awaitName("203.0.113.1:80 203.0.113.9:80 ", external, ns, "80", "web")
}
