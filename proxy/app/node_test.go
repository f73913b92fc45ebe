package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// cluster is what the API server would say, in a store of its own for each node.
type cluster struct {
	t  testing.TB
	mu sync.Mutex
	// known is what was said until now, by /namespace/port/service.
	known  map[string][]naming.Endpoint
	stores []*k8s.Store
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, known: make(map[string][]naming.Endpoint)}
}

// store returns one that knows all there is, and hears of changes.
func (c *cluster) store() *k8s.Store {
	s, err := k8s.New(k8s.Options{REST: &rest.Config{Host: "http://127.0.0.1:1"}, Scope: telemetry.New().Scope("k8s")})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stores = append(c.stores, s)
	s.Import(k8s.Snapshot{})
	for name, endpoints := range c.known {
		s.Import(snapshot(name, endpoints))
	}
	return s
}

// set gives a port, /namespace/port/service, these endpoints.
func (c *cluster) set(name string, endpoints ...naming.Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Slices are replaced one by one, so one that is not needed any more is emptied.
	for len(c.known[name]) > len(endpoints) {
		endpoints = append(endpoints, naming.Endpoint{})
	}
	c.known[name] = endpoints
	for _, s := range c.stores {
		s.Import(snapshot(name, endpoints))
	}
}

// snapshot is a Service with a slice for each endpoint, since each has a port of its own.
func snapshot(name string, endpoints []naming.Endpoint) k8s.Snapshot {
	p := strings.Split(name, "/")
	namespace, port, service := p[1], p[2], p[3]
	out := k8s.Snapshot{Services: []*k8s.Service{{Namespace: namespace, Name: service, Ports: []k8s.ServicePort{{Name: port, Port: 80}}}}}
	for i, e := range endpoints {
		slice := &k8s.Slice{
			Namespace: namespace, Name: fmt.Sprintf("%s-%s-%d", service, port, i), Service: service,
			Ports: []k8s.SlicePort{{Name: port, Port: e.Addr.Port()}},
		}
		if e.Addr.IsValid() {
			slice.Addresses = []k8s.Address{{
				IP: e.Addr.Addr(), Node: e.Node, Ready: e.Serving, Serving: e.Serving, Terminating: e.Terminating,
			}}
		}
		out.Slices = append(out.Slices, slice)
	}
	return out
}

func on(node string, addr netip.AddrPort) naming.Endpoint {
	return naming.Endpoint{Addr: addr, Node: node, Weight: 1, Serving: true}
}

// proxyNode is the proxy of one node.
type proxyNode struct {
	*App
	name               string
	outgoing, incoming int
	metrics            *telemetry.Tree
}

func loopback(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
}

// hopMesh is the default Mesh of a cluster with ports of its own, rules for outgoing alone, and a balancer that spreads requests that follow
// each other.
func hopMesh(t testing.TB, outgoing, incoming int, namers string, rules ...string) *config.Config {
	t.Helper()
	return clusterConfig(t, hopText(outgoing, incoming, namers, rules...))
}

func clusterConfig(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, problem := config.DecodeConfig("test.yaml", []byte(text), config.Cluster)
	if problem != nil {
		t.Fatal(problem)
	}
	return cfg
}

func hopText(outgoing, incoming int, namers string, rules ...string) string {
	router := func(name string, port int, transformer string, rules ...string) string {
		text := fmt.Sprintf("  - name: %s\n    servers: [{ip: 127.0.0.1, port: %d}]\n    maxCallDepth: 16\n    bindingTimeoutMs: 2000\n    clients: [{prefix: /, loadBalancer: {kind: p2c}}]\n"+
			"    interpreter: {transformers: [%s]}\n    dtab:\n    - {prefix: /svc, dst: /#/io.l5d.k8s/default/http}\n", name, port, transformer)
		for _, r := range rules {
			prefix, dst, _ := strings.Cut(r, " => ")
			text += fmt.Sprintf("    - {prefix: %q, dst: %q}\n", prefix, dst)
		}
		return text
	}
	return "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: demo, namespace: mesh}\nspec:\n" + namers + "  routers:\n" +
		router("outgoing", outgoing, "{kind: io.l5d.k8s.daemonset}", rules...) +
		router("incoming", incoming, "{kind: io.l5d.k8s.localnode, fallback: true}")
}

const hopsPort = "/mesh/incoming/demo-proxy"

func (c *cluster) node(t testing.TB, name string, rules ...string) *proxyNode {
	t.Helper()
	n := &proxyNode{name: name, outgoing: freeport.Get(t), incoming: freeport.Get(t), metrics: telemetry.New()}
	n.App = start(t, Options{Metrics: n.metrics, Node: name, Kubernetes: c.store().Namer})
	if err := n.Apply(t.Context(), hopMesh(t, n.outgoing, n.incoming, "", rules...)); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *proxyNode) hop() naming.Endpoint { return on(n.name, loopback(n.incoming)) }

// knows waits until requests of the node to an endpoint on another go by way of the hop there.
func (n *proxyNode) knows(t *testing.T, hops ...naming.Endpoint) {
	t.Helper()
	n.mu.Lock()
	changes := n.routers["outgoing"].bindings.Load().changes
	n.mu.Unlock()
	for _, hop := range hops {
		eventually(t, n.name+" does not know the hop of "+hop.Node, func() bool {
			return changes[0].Change([]naming.Endpoint{{Node: hop.Node}})[0].Hop.Via() == hop.Addr
		})
	}
}

// metric returns a metric of the node, 0 where it is not there.
func (n *proxyNode) metric(t *testing.T, name string) int64 {
	t.Helper()
	var b bytes.Buffer
	if err := n.metrics.WriteJSON(&b, ""); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]json.Number)
	if err := json.Unmarshal(b.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	v, _ := all[name].Int64()
	return v
}

// settles waits until a metric has the value: a request is counted when its last byte was sent.
func (n *proxyNode) settles(t *testing.T, name string, want int64) {
	t.Helper()
	until(t, func() error {
		if got := n.metric(t, name); got != want {
			return fmt.Errorf("%s of node %s is %d, want %d", name, n.name, got, want)
		}
		return nil
	})
}

// app is a real HTTP server that tells what reached it.
func app(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Vias", strings.Join(r.Header.Values("Via"), ", "))
		for _, h := range []string{"l5d-dst-service", "l5d-dst-client", "l5d-dst-endpoint", "l5d-ctx-dtab", "l5d-dtab"} {
			w.Header().Set("X-"+h, strings.Join(r.Header.Values(h), "|"))
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Body", fmt.Sprint(len(body)))
		fmt.Fprint(w, name)
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// until waits for what comes by itself.
func until(t *testing.T, ok func() error) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the step of a poll
	}
}

// relay stands before a proxy and dies as a process does that is killed: its connections are reset.
type relay struct {
	net.Listener
	to    string
	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newRelay(t *testing.T, addr string, to int) *relay {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: loopback(to).String(), conns: make(map[net.Conn]bool)}
	r.wg.Go(r.serve)
	t.Cleanup(r.kill)
	return r
}

func (r *relay) serve() {
	for {
		in, err := r.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			in.Close()
			continue
		}
		r.mu.Lock()
		r.conns[in], r.conns[out] = true, true
		r.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			r.wg.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				pair[0].Close()
			})
		}
	}
}

func (r *relay) kill() {
	r.Close()
	r.mu.Lock()
	for c := range r.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// traffic sends GETs from a few clients until stop, and fails the test where one is not answered well.
func traffic(t *testing.T, port int) (sent *senders, stop func()) {
	var quit atomic.Bool
	var running sync.WaitGroup
	sent = new(senders)
	for i := range sent {
		c := client(t)
		running.Go(func() {
			for failed := false; !quit.Load(); {
				status, _, h := get(t, c, port, "web")
				sent[i].Add(1)
				if status != 200 && !failed {
					failed = true // and it goes on, since others wait for its requests
					t.Errorf("status %d, l5d-err %q", status, h.Get("l5d-err"))
				}
			}
		})
	}
	return sent, func() {
		quit.Store(true)
		running.Wait()
	}
}

// senders count the requests of each of them that were answered.
type senders [4]atomic.Int64

// more waits for about n requests, and for two of each sender at least: all that were on their way before have ended then.
func more(t *testing.T, sent *senders, n int64) {
	for i := range sent {
		for from := sent[i].Load(); sent[i].Load() < from+max(2, n/int64(len(sent))) && !t.Failed(); {
			time.Sleep(100 * time.Microsecond) // the step of a poll
		}
	}
}
