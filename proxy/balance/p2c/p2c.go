// Package p2c is "power of two choices": of two endpoints chosen at random the better one gets the request. Better is the one that is up,
// and then the one with less load: with fewer requests under way (Linkerd's kind p2c), or what another policy calls load.
package p2c

import (
	"cmp"
	"math/rand/v2"
	"sync/atomic"

	"github.com/fairlead/fairlead/proxy/balance"
)

// Policy implements balance.Policy by the requests under way.
type Policy struct {
	// MaxEffort is how often two are drawn; 0 means balance.DefaultMaxEffort.
	MaxEffort int
}

// New implements balance.Policy.
func (p Policy) New() balance.Picker { return NewPicker(p.MaxEffort, nil) }

// Picker implements balance.Picker.
type Picker struct {
	effort int
	load   func(n *balance.Node, nowNs int64) float64
	nodes  atomic.Pointer[[]*balance.Node]
}

// NewPicker returns one that compares by load, or, if that is nil, by the requests under way.
func NewPicker(maxEffort int, load func(n *balance.Node, nowNs int64) float64) *Picker {
	p := &Picker{effort: cmp.Or(maxEffort, balance.DefaultMaxEffort), load: load}
	p.Set(nil)
	return p
}

// Set implements balance.Picker.
func (p *Picker) Set(nodes []*balance.Node) { p.nodes.Store(&nodes) }

// Pick implements balance.Picker.
func (p *Picker) Pick(nowNs, most int64) *balance.Node {
	return p.PickAmong(*p.nodes.Load(), nowNs, most)
}

// PickAmong is Pick from nodes.
func (p *Picker) PickAmong(nodes []*balance.Node, nowNs, most int64) *balance.Node {
	effort := p.effort
	if len(nodes) == 1 {
		effort = 1
	}
	for range effort {
		if n := p.better(nodes, nowNs); n.Admit(nowNs, most) {
			return n
		}
	}
	return nil
}

// better draws two and returns one of them; where both are the same it is the first, by chance.
func (p *Picker) better(nodes []*balance.Node, nowNs int64) *balance.Node {
	n := len(nodes)
	i := rand.IntN(n)
	a := nodes[i]
	if n == 1 {
		return a
	}
	j := rand.IntN(n - 1)
	if j >= i {
		j++
	}
	b := nodes[j]
	switch upA, upB := a.Up(nowNs), b.Up(nowNs); {
	case upA != upB:
		if upB {
			return b
		}
		return a
	case a.Due() != b.Due() && upA: // a probe is due: whoever draws it takes it, or an endpoint that was slow would wait for long
		if b.Due() > 0 {
			return b
		}
		return a
	case p.load == nil:
		if b.Pending() < a.Pending() {
			return b
		}
		return a
	case p.load(b, nowNs) < p.load(a, nowNs):
		return b
	}
	return a
}
