package transformer

import (
	"net/netip"
	"slices"
	"sync"
	"weak"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// DaemonSet gives each endpoint the hop on its node: the ready endpoint of a Service there. The endpoints themselves stay, so that a
// balancer goes on to choose among them; those whose node is not known have no hop.
type DaemonSet struct {
	naming.Transformer
	service naming.Live[naming.Tree]
	stop    func()

	mu sync.Mutex // guards what follows
	// addrs are those of the Service, by node.
	addrs map[string]netip.AddrPort
	// hops are those that endpoints hold. A node that nobody's endpoint is on is forgotten.
	hops map[string]weak.Pointer[naming.Hop]
}

// NewDaemonSet returns the transformer for a port of a Service, whose name kubernetes answers as /<namespace>/<port>/<service>. Close
// ends its watch.
func NewDaemonSet(kubernetes naming.Namer, namespace, port, service string) *DaemonSet {
	d := &DaemonSet{
		Transformer: naming.Transformer{Prefix: prefix(KindDaemonSet, namespace, port, service)},
		service:     kubernetes.Lookup(dtab.Path{namespace, port, service}),
		addrs:       make(map[string]netip.AddrPort), hops: make(map[string]weak.Pointer[naming.Hop]),
	}
	d.Change = d.give
	d.stop = d.follow()
	return d
}

// Close ends the watch. Hops stay as they are.
func (d *DaemonSet) Close() {
	d.stop()
	d.service.Close()
}

// follow keeps the table until stop is called. A Service that cannot be told keeps its last endpoints; one that is gone has none.
func (d *DaemonSet) follow() (stop func()) {
	var addrs naming.Live[naming.Addrs]
	end := func() {}
	outer := naming.Watch(d.service, func(t naming.Tree, s naming.State, _ error) {
		var next naming.Live[naming.Addrs]
		if t.Kind == dtab.Leaf && t.Bound != nil {
			next = t.Bound.Addrs
		}
		if s == naming.Pending || next == addrs && next != nil {
			return
		}
		end()
		end, addrs = func() {}, next
		if next == nil {
			d.set(nil)
			return
		}
		end = naming.Watch(next, func(a naming.Addrs, s naming.State, _ error) {
			if s == naming.Ok {
				d.set(a.Endpoints)
			}
		})
	})
	return func() {
		outer()
		end()
	}
}

// set makes these the endpoints of the Service. A hop keeps its address as long as that is ready, so that an update that runs two on a
// node for a moment moves nobody twice.
func (d *DaemonSet) set(endpoints []naming.Endpoint) {
	ready, ending := make(map[string][]netip.AddrPort, len(endpoints)), make(map[netip.AddrPort]bool)
	for i := range endpoints {
		switch e := &endpoints[i]; {
		case e.Terminating:
			ending[e.Addr] = true
		case e.Node != "" && e.Serving:
			ready[e.Node] = append(ready[e.Node], e.Addr)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := make(map[string]netip.AddrPort, len(ready))
	for node, found := range ready {
		if next[node] = found[0]; slices.Contains(found, d.addrs[node]) {
			next[node] = d.addrs[node]
		}
	}
	d.addrs = next
	for node, held := range d.hops {
		hop := held.Value()
		if hop == nil {
			delete(d.hops, node)
			continue
		}
		if via, before := next[node], hop.Via(); before != via {
			hop.Set(via, !ending[before])
		}
	}
}

// give returns the endpoints with their hops.
func (d *DaemonSet) give(all []naming.Endpoint) []naming.Endpoint {
	out := slices.Clone(all)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range out {
		if node := out[i].Node; node != "" {
			out[i].Hop = d.hop(node)
		}
	}
	return out
}

// hop returns the hop of a node. d.mu is held.
func (d *DaemonSet) hop(node string) *naming.Hop {
	if hop := d.hops[node].Value(); hop != nil {
		return hop
	}
	hop := &naming.Hop{Node: node}
	hop.Set(d.addrs[node], false)
	d.hops[node] = weak.Make(hop)
	return hop
}
