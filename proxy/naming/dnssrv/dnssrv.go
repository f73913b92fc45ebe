// Package dnssrv is the io.l5d.dnssrv namer: /<name>[/residual] is bound to what the SRV records of a DNS name lead to.
package dnssrv

import (
	"slices"
	"sync"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

const (
	// maxNameBytes bounds a DNS name.
	maxNameBytes = 254
	// leastWeight is that of a record with weight 0 beside others: "a very small chance of being selected" (RFC 2782).
	leastWeight = 0.01
)

// Namer answers names below its prefix. A name without records is Neg, and so is one that cannot be asked for and never was known; once
// known, it keeps its endpoints as package dns keeps answers. Of the records those of the lowest priority whose hosts have addresses
// are used, each by its weight (RFC 2782).
type Namer struct {
	prefix   dtab.Path
	resolver *dns.Resolver

	mu    sync.Mutex // guards names
	names map[string]*entry
}

// entry is one path in use.
type entry struct {
	path      dtab.Path
	tree      *naming.Var[naming.Tree]
	shared    *naming.Shared[naming.Tree]
	records   naming.Live[[]dns.SRV]
	endpoints *dns.Endpoints
	// isBound and last are what was told last; only the goroutine that follows records uses them.
	isBound bool
	last    []dns.SRV
	stop    func()
}

// New returns the namer of a prefix, with a resolver of its own, which Close ends.
func New(prefix dtab.Path, o dns.Options) *Namer {
	return &Namer{prefix: prefix, resolver: dns.New(o), names: make(map[string]*entry)}
}

// Close ends all resolution. Names already given out no longer change.
func (n *Namer) Close() { n.resolver.Close() }

// Resolver returns what asks the name servers.
func (n *Namer) Resolver() *dns.Resolver { return n.resolver }

// Lookup implements naming.Namer.
func (n *Namer) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	if len(p) == 0 || p[0] == "" || len(p[0]) > maxNameBytes {
		return naming.Fixed(naming.Neg())
	}
	key := p.String()
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.names[key]; e != nil {
		if live, ok := e.shared.Acquire(); ok {
			return live
		}
	}
	e := &entry{path: p, tree: naming.NewVar[naming.Tree](), records: n.resolver.ResolveSRV(p[0]), endpoints: n.resolver.Endpoints()}
	e.shared = naming.NewShared(e.tree, func() {
		n.mu.Lock()
		if n.names[key] == e {
			delete(n.names, key)
		}
		n.mu.Unlock()
		e.stop()
		e.endpoints.End()
		e.records.Close()
	})
	n.names[key] = e
	live, _ := e.shared.Acquire()
	e.stop = naming.Watch(e.records, func(records []dns.SRV, s naming.State, _ error) { n.update(e, records, s) })
	return live
}

// update takes what the name servers said. It is called by one goroutine.
func (n *Namer) update(e *entry, records []dns.SRV, s naming.State) {
	switch {
	case s == naming.Pending:
		return
	case len(records) == 0:
		// No record, no answer ever, or none for so long that it is believed: an alternate may take over, as in Linkerd.
		e.isBound, e.last = false, nil
		e.tree.Set(naming.Neg())
		// Should it come back, its hosts are yet to be resolved: the set of before would say that there are none.
		e.endpoints.End()
		e.endpoints = n.resolver.Endpoints()
		return
	case !e.isBound || !slices.Equal(e.last, records):
		e.endpoints.Follow(targets(records))
	}
	e.last = records
	if !e.isBound {
		e.isBound = true
		e.tree.Set(naming.BoundLeaf(&naming.Bound{ID: n.prefix.Append(e.path[0]), Residual: e.path[1:], Addrs: e.endpoints}))
	}
}

// targets turns records into hosts with weights. Where no record of a priority has a weight, all count alike.
func targets(records []dns.SRV) []dns.Target {
	weighted := make(map[uint16]bool)
	for _, r := range records {
		weighted[r.Priority] = weighted[r.Priority] || r.Weight > 0
	}
	out := make([]dns.Target, len(records))
	for i, r := range records {
		weight := 1.0
		if weighted[r.Priority] {
			weight = max(float64(r.Weight), leastWeight)
		}
		// The dot: a target is absolute, so no search domain is to be tried.
		out[i] = dns.Target{Host: r.Target + ".", Port: r.Port, Weight: weight, Tier: int(r.Priority)}
	}
	return out
}
