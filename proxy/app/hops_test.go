package app

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

func TestNodeToNode(t *testing.T) {
	c := newCluster(t)
	a, b := c.node(t, "a", "/svc/web => /#/io.l5d.k8s/default/http/web-v2"), c.node(t, "b")
	c.set(hopsPort, a.hop(), b.hop())
	a.knows(t, a.hop(), b.hop())
	c.set("/default/http/web", on("a", app(t, "v1")))
	c.set("/default/http/web-v2", on("a", app(t, "a1")), on("b", app(t, "b1")), on("b", app(t, "b2")), on("", app(t, "nowhere")))
	client := client(t)
	const requests = 200
	seen := make(map[string]int64)
	for range requests {
		status, body, h := get(t, client, a.outgoing, "web", "l5d-dst-endpoint", "10.9.9.9:9", "l5d-ctx-dtab", "/x => /y")
		seen[body]++
		vias, id := "1.1 fairlead, 1.1 fairlead", "/%/io.l5d.k8s.localnode/"+body[:1]+"/#/io.l5d.k8s/default/http/web-v2"
		if body == "nowhere" {
			vias, id = "1.1 fairlead", "/%/io.l5d.k8s.daemonset/mesh/incoming/demo-proxy/#/io.l5d.k8s/default/http/web-v2"
		}
		for name, want := range map[string]string{
			"X-Vias": vias, "X-L5d-Dst-Endpoint": "", "X-L5d-Dst-Service": "/svc/web", "X-L5d-Dst-Client": id, "X-L5d-Ctx-Dtab": "/x=>/y",
		} {
			if h.Get(name) != want {
				t.Fatalf("at %s: %s %q, want %q", body, name, h.Get(name), want)
			}
		}
		if status != 200 || h.Get("Via") == "" {
			t.Fatalf("status %d, %v", status, h)
		}
	}
	for _, name := range []string{"a1", "b1", "b2", "nowhere"} {
		if seen[name] < requests/10 {
			t.Errorf("%d of %d requests reached %s: the balancer does not work on endpoints", seen[name], requests, name)
		}
	}
	a.settles(t, "rt/outgoing/hops/taken", requests-seen["nowhere"])
	a.settles(t, "rt/outgoing/client/%/io.l5d.k8s.daemonset/mesh/incoming/demo-proxy/#/io.l5d.k8s/default/http/web-v2/requests", requests)
	a.settles(t, "rt/incoming/chosen/obeyed", seen["a1"])
	b.settles(t, "rt/incoming/chosen/obeyed", seen["b1"]+seen["b2"])
	b.settles(t, "rt/incoming/service/svc/web/requests", seen["b1"]+seen["b2"])
	b.settles(t, "rt/incoming/client/%/io.l5d.k8s.localnode/b/#/io.l5d.k8s/default/http/web-v2/requests", seen["b1"]+seen["b2"])
	for _, name := range []string{"unknown", "elsewhere", "unavailable", "refused", "remote"} {
		a.settles(t, "rt/incoming/chosen/"+name, 0)
		b.settles(t, "rt/incoming/chosen/"+name, 0)
	}
	if s := a.Health(); len(s.Balancers) != 1 || s.Balancers[0].Client != "/#/io.l5d.k8s/default/http/web-v2" || s.Balancers[0].Endpoints != 4 ||
		s.Totals.Endpoints != "4/4" {
		t.Errorf("report: %+v", s)
	}
	if s := b.Health(); s.Totals.Endpoints != "0/0" {
		t.Errorf("the report of a node that only takes in: %+v", s)
	}
}

// TestChoicesThatAreNotFollowed: what a client forges, or another proxy knows otherwise, is counted, and answered by what is there.
func TestChoicesThatAreNotFollowed(t *testing.T) {
	c := newCluster(t)
	n := c.node(t, "a")
	local, other, remote, unready := app(t, "local"), app(t, "other"), app(t, "remote"), on("a", app(t, "unready"))
	unready.Serving = false
	c.set("/default/http/web", on("a", local), on("b", remote), unready)
	c.set("/default/http/far", on("b", remote), on("b", other))
	c.set("/default/http/other", on("a", other))
	client := client(t)
	const web = "/%/io.l5d.k8s.daemonset/mesh/incoming/demo-proxy/#/io.l5d.k8s/default/http/web"
	for _, test := range []struct {
		name, endpoint, service, id string
		status                      int
		want, counter               string
		remote                      int64
	}{
		{"followed", local.String(), "/svc/web", web, 200, "local", "obeyed", 0},
		{"an endpoint that nobody knows", "127.0.0.1:1", "/svc/web", web, 200, "local", "unknown", 0},
		{"no address", "local", "/svc/web", web, 200, "local", "unknown", 0},
		{"an endpoint of another name", other.String(), "/svc/web", web, 200, "local", "unknown", 0},
		{"an endpoint that does not serve", unready.Addr.String(), "/svc/web", web, 200, "local", "unavailable", 0},
		{"an endpoint of another node", other.String(), "/svc/far", "/#/io.l5d.k8s/default/http/far", 200, "", "elsewhere", 1},
		{"the node has none", "", "/svc/far", "/#/io.l5d.k8s/default/http/far", 200, "", "unknown", 1},
		{"an address in place of a name", local.String(), "/svc/web", "/$/inet/127.0.0.1/1", 200, "local", "refused", 0},
		{"no name", local.String(), "/svc/web", "", 200, "local", "refused", 0},
		{"no service", local.String(), "", web, 200, "local", "refused", 0},
		{"a service that is everything", local.String(), "/", web, 200, "local", "refused", 0},
		{"a service that is a namer", local.String(), "/#/io.l5d.k8s", web, 200, "local", "refused", 0},
		{"not a path", local.String(), "/svc/web", "web", 200, "local", "refused", 0},
		{"only a namer", local.String(), "/svc/web", "/#/io.l5d.k8s", 200, "local", "refused", 0},
		{"a name that does not exist here: its own rules", local.String(), "/svc/web", "/#/io.l5d.k8s/default/http/none", 200, "local", "obeyed", 0},
		{"nothing exists here", local.String(), "/svc/none", "/#/io.l5d.k8s/default/http/none", 502, "", "", 0},
	} {
		before, away := n.metric(t, "rt/incoming/chosen/"+test.counter), n.metric(t, "rt/incoming/chosen/remote")
		status, body, h := get(t, client, n.incoming, "web", "l5d-dst-endpoint", test.endpoint, "l5d-dst-service", test.service, "l5d-dst-client", test.id)
		if status != test.status || test.want != "" && body != test.want || h.Get("X-L5d-Dst-Endpoint") != "" {
			t.Errorf("%s: %d %q, want %d from %s", test.name, status, body, test.status, test.want)
		}
		if status != 200 && (!strings.HasPrefix(h.Get("l5d-err"), "hop-unbound") || h.Get("l5d-retryable") != "true") {
			t.Errorf("%s: l5d-err %q, l5d-retryable %q", test.name, h.Get("l5d-err"), h.Get("l5d-retryable"))
		}
		if test.counter != "" {
			n.settles(t, "rt/incoming/chosen/"+test.counter, before+1)
		}
		n.settles(t, "rt/incoming/chosen/remote", away+test.remote)
	}
}

// TestChoiceBeforeALateBody: what another proxy chose holds however late the body comes, which is read to where the head was.
func TestChoiceBeforeALateBody(t *testing.T) {
	c := newCluster(t)
	n := c.node(t, "a")
	chosen := app(t, "chosen")
	c.set("/default/http/web", on("a", chosen), on("a", app(t, "another")))
	body := strings.Repeat("x", 4000)
	pending := fmt.Sprintf("rt/incoming/server/127.0.0.1/%d/pending", n.incoming)
	const requests = 20
	for range requests {
		conn, err := net.Dial("tcp", loopback(n.incoming).String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nl5d-dst-endpoint: %s\r\nHost: web\r\nConnection: close\r\nl5d-dst-service: /svc/web\r\n"+
			"l5d-dst-client: /%%/io.l5d.k8s.daemonset/mesh/incoming/demo-proxy/#/io.l5d.k8s/default/http/web\r\nContent-Length: %d\r\n\r\n", chosen, len(body))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the head was read", func() bool { return n.metric(t, pending) == 1 })
		if _, err := io.WriteString(conn, body); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 ") || !strings.Contains(string(got), "\r\n\r\n") || strings.Contains(string(got), "another") {
			t.Errorf("got %q, %v, want the endpoint that was chosen", got, err)
		}
		_ = conn.Close()
		n.settles(t, pending, 0)
	}
	n.settles(t, "rt/incoming/chosen/obeyed", requests)
}

// TestForgedServiceIsNoAddress: the text of a forged l5d-dst-service reaches no address by way of the router's own rules. What such a
// rule says itself may be one.
func TestForgedServiceIsNoAddress(t *testing.T) {
	c := newCluster(t)
	n := &proxyNode{name: "a", outgoing: freeport.Get(t), incoming: freeport.Get(t), metrics: telemetry.New()}
	n.App = start(t, Options{Metrics: n.metrics, Node: "a", Kubernetes: c.store().Namer})
	target := app(t, "target")
	cfg := hopMesh(t, n.outgoing, n.incoming, "")
	rules, err := dtab.Parse("/host => /$/inet; /ph => /$/io.buoyant.rinet; /svc/fixed => " + inet(target))
	if err != nil {
		t.Fatal(err)
	}
	for i := range cfg.Routers {
		cfg.Routers[i].Dtab = dtab.RulesOf(cfg.Routers[i].Dtab.Dtab().Concat(rules))
	}
	if err := n.Apply(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string]int{
		"/host/127.0.0.1/" + fmt.Sprint(target.Port()):    502,
		"/ph/" + fmt.Sprint(target.Port()) + "/127.0.0.1": 502,
		"/svc/fixed": 200,
	} {
		status, body, _ := get(t, client(t), n.incoming, "web",
			"l5d-dst-endpoint", "127.0.0.1:1", "l5d-dst-service", service, "l5d-dst-client", "/#/io.l5d.k8s/default/http/none")
		if status != want {
			t.Errorf("%s: %d %q, want %d", service, status, body, want)
		}
	}
}

// TestNoHop: a proxy that is not there fails nothing and costs one connect, not one for each request.
func TestNoHop(t *testing.T) {
	c := newCluster(t)
	a := c.node(t, "a")
	c.set(hopsPort, on("b", loopback(freeport.Get(t))))
	c.set("/default/http/web", on("b", app(t, "b1")), on("c", app(t, "c1")))
	client := client(t)
	for range 100 {
		if status, _, h := get(t, client, a.outgoing, "web"); status != 200 || h.Get("X-Vias") != "1.1 fairlead" || h.Get("X-L5d-Dst-Endpoint") != "" {
			t.Fatalf("status %d, %v", status, h)
		}
	}
	a.settles(t, "rt/outgoing/hops/missing", 100)
	if n := a.metric(t, "rt/outgoing/hops/connect_failures"); n < 1 || n > 3 { // the pause is a second at first
		t.Errorf("%d connects to a hop that is not there", n)
	}
	if n := a.metric(t, "rt/outgoing/service/svc/web/failures"); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// TestHopIsKilledUnderTraffic: the process of the other node's proxy dies and comes back, and nothing else tells of it.
func TestHopIsKilledUnderTraffic(t *testing.T) {
	c := newCluster(t)
	a, b := c.node(t, "a"), c.node(t, "b")
	r := newRelay(t, "127.0.0.1:0", b.incoming)
	at := netip.MustParseAddrPort(r.Addr().String())
	c.set(hopsPort, a.hop(), on("b", at))
	a.knows(t, a.hop(), on("b", at))
	c.set("/default/http/web", on("b", app(t, "b1")), on("b", app(t, "b2")))
	sent, stop := traffic(t, a.outgoing)
	more(t, sent, 200)
	r.kill()
	more(t, sent, 200)
	if a.metric(t, "rt/outgoing/hops/taken") == 0 || a.metric(t, "rt/outgoing/hops/missing") == 0 {
		t.Error("the hop was not taken before, or was after it was killed")
	}
	newRelay(t, at.String(), b.incoming)
	taken := a.metric(t, "rt/outgoing/hops/taken")
	until(t, func() error {
		if a.metric(t, "rt/outgoing/hops/taken") < taken+100 {
			return errors.New("the hop that came back is not taken again")
		}
		return nil
	})
	stop()
	if n := a.metric(t, "rt/outgoing/service/svc/web/failures"); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// TestHopMovesUnderTraffic: proxies of a node take turns, each told of before it ends, as in an update.
func TestHopMovesUnderTraffic(t *testing.T) {
	c := newCluster(t)
	a, b := c.node(t, "a"), c.node(t, "b")
	c.set(hopsPort, a.hop(), b.hop())
	a.knows(t, a.hop(), b.hop())
	c.set("/default/http/web", on("b", app(t, "b1")), on("b", app(t, "b2")))
	sent, stop := traffic(t, a.outgoing)
	more(t, sent, 100)
	before := nodesOf(a)
	for i := range 5 {
		t.Run(fmt.Sprint("turn ", i), func(t *testing.T) { // at whose end the proxy shuts down
			next := c.node(t, "b")
			c.set(hopsPort, a.hop(), next.hop())
			more(t, sent, 50)
			until(t, func() error {
				if next.metric(t, "rt/incoming/chosen/obeyed") == 0 {
					return errors.New("the new proxy is not taken")
				}
				return nil
			})
			c.set(hopsPort, a.hop())
			until(t, func() error {
				if at := proxyOn(a, "b"); at.IsValid() {
					return fmt.Errorf("the proxy at %s, which was taken out, is still known", at)
				}
				return nil
			})
			more(t, sent, 50) // and then those end that may have been about to connect to it
		})
		more(t, sent, 50)
	}
	stop()
	if after := nodesOf(a); after != before {
		t.Errorf("the nodes of the balancer were replaced: %s, before %s", after, before)
	}
	if n := a.metric(t, "rt/outgoing/hops/connect_failures"); n != 0 {
		t.Errorf("%d connects to proxies that had been taken out before", n)
	}
}

// proxyOn returns where n knows the proxy of a node, or the zero value.
func proxyOn(n *proxyNode, node string) netip.AddrPort {
	n.hops.mu.Lock()
	defer n.hops.mu.Unlock()
	for hop := range n.hops.used {
		if hop.Node == node {
			return hop.Via()
		}
	}
	return netip.AddrPort{}
}

// nodesOf shows the identity of what a router's balancers hold.
func nodesOf(n *proxyNode) string {
	n.hops.mu.Lock()
	defer n.hops.mu.Unlock()
	out := ""
	for hop, s := range n.hops.used {
		out += fmt.Sprintf("%s %p %p %d; ", hop.Node, hop, s.way, s.users)
	}
	return out
}

// TestLoop: rules that lead requests from proxy to proxy for ever are ended by the number of proxies they passed.
func TestLoop(t *testing.T) {
	c := newCluster(t)
	outgoing, incoming := freeport.Get(t), freeport.Get(t)
	a := start(t, Options{Node: "a", Kubernetes: c.store().Namer})
	cfg := hopMesh(t, outgoing, incoming, "  namers:\n  - {kind: io.l5d.k8s, transformers: [{kind: io.l5d.k8s.daemonset, port: loop}]}\n")
	cfg.Routers[0].Transformers = nil
	if err := a.Apply(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	c.set("/mesh/loop/demo-proxy", on("a", loopback(outgoing)))
	c.set("/default/http/web", on("a", app(t, "web")))
	var status int
	var h http.Header
	eventually(t, "no request goes round", func() bool { // directly, while the proxy on the node is not known yet
		status, _, h = get(t, client(t), outgoing, "web")
		return status != 200
	})
	if status != 400 || !strings.HasPrefix(h.Get("l5d-err"), "call-depth-exceeded") {
		t.Errorf("status %d, l5d-err %q", status, h.Get("l5d-err"))
	}
}

// TestHopCannotConnect: where the proxy of the endpoint's node could write nothing to the endpoint, another endpoint is taken, whatever
// the method; what an application says for itself is passed on.
func TestHopCannotConnect(t *testing.T) {
	c := newCluster(t)
	a, b := c.node(t, "a"), c.node(t, "b")
	c.set(hopsPort, a.hop(), b.hop())
	a.knows(t, a.hop(), b.hop())
	dead := on("b", loopback(freeport.Get(t)))
	post := func() (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/", a.outgoing), strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "web"
		resp, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text), resp.Header
	}
	c.set("/default/http/web", dead, on("a", app(t, "a1")))
	for range 50 {
		if status, body, h := post(); status != 200 || body != "a1" || h.Get("X-Body") != "4" {
			t.Fatalf("%d %q with a body of %s", status, body, h.Get("X-Body"))
		}
	}
	c.set("/default/http/web", dead)
	until(t, func() error { // the other node may hear of the change a moment later
		status, body, h := post()
		if status != 502 || !strings.HasPrefix(h.Get("l5d-err"), "connect-refused") || h.Get("l5d-retryable") != "true" ||
			!strings.HasPrefix(body, "connect-refused") {
			return fmt.Errorf("%d %q %v", status, body, h)
		}
		return nil
	})
	until(t, func() error { // a request is counted when its last byte was sent
		if a.metric(t, "rt/outgoing/service/svc/web/failures/connect-refused") == 0 {
			return errors.New("the first proxy does not count the reason that the second gave")
		}
		return nil
	})
	var calls atomic.Int64
	says := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("l5d-err", "connect-refused")
		w.Header().Set("l5d-retryable", "true")
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer says.Close()
	at := on("b", netip.MustParseAddrPort(says.Listener.Addr().String()))
	c.set("/default/http/web", at, on("b", app(t, "b1")))
	until(t, func() error {
		status, _, h := post()
		if calls.Load() == 0 {
			return errors.New("the application was never asked")
		}
		if calls.Load() != 1 || status != 502 || h.Get("l5d-retryable") != "true" {
			t.Errorf("what an application said was not passed on: %d %v, after %d calls", status, h, calls.Load())
		}
		return nil
	})
}
