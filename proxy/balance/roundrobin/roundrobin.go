// Package roundrobin takes endpoints in turn (Linkerd's kind roundRobin). It knows no load: an endpoint that is slow gets as many requests
// as the others.
package roundrobin

import (
	"cmp"
	"sync/atomic"

	"github.com/fairlead/fairlead/proxy/balance"
)

// Policy implements balance.Policy.
type Policy struct {
	// MaxEffort is how many that are down are passed over; 0 means balance.DefaultMaxEffort.
	MaxEffort int
}

// New implements balance.Policy.
func (p Policy) New() balance.Picker {
	r := &picker{effort: uint64(max(cmp.Or(p.MaxEffort, balance.DefaultMaxEffort), 1))}
	r.Set(nil)
	return r
}

type picker struct {
	effort uint64
	nodes  atomic.Pointer[[]*balance.Node]
	_      [48]byte // every request writes what follows
	turn   atomic.Uint64
}

// Set implements balance.Picker.
func (p *picker) Set(nodes []*balance.Node) { p.nodes.Store(&nodes) }

// Pick implements balance.Picker.
func (p *picker) Pick(nowNs, most int64) *balance.Node {
	nodes := *p.nodes.Load()
	count := uint64(len(nodes))
	for range min(p.effort, count) {
		if n := nodes[p.turn.Add(1)%count]; n.Admit(nowNs, most) {
			return n
		}
	}
	return nil
}
