// Package ewma is peak EWMA (Linkerd's kind ewma): of two endpoints chosen at random, the one whose response times, times the requests
// under way, are less. Response times are a mean that follows peaks at once and forgets them by and by.
package ewma

import (
	"cmp"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
)

// Policy implements balance.Policy.
type Policy struct {
	// Decay is how long a peak is remembered, 0 for balance.DefaultDecay; MaxEffort how often two are drawn, 0 for
	// balance.DefaultMaxEffort.
	Decay     time.Duration
	MaxEffort int
}

// New implements balance.Policy.
func (p Policy) New() balance.Picker {
	return &picker{Picker: p2c.NewPicker(p.MaxEffort, load), decay: cmp.Or(p.Decay, balance.DefaultDecay)}
}

type picker struct {
	*p2c.Picker
	decay time.Duration
}

// Set implements balance.Picker.
func (p *picker) Set(nodes []*balance.Node) {
	for _, n := range nodes {
		n.SetDecay(p.decay)
	}
	p.Picker.Set(nodes)
}

// penalty is the load, in nanoseconds, of an endpoint that has requests under way and has not answered any yet: so that a new one gets
// one request first. As in Finagle, it leaves a float64 room to count requests.
const penalty = float64(1 << 47)

func load(n *balance.Node, nowNs int64) float64 {
	cost, pending := n.Cost(nowNs), float64(n.Pending())
	if cost == 0 && pending > 0 {
		return penalty + pending
	}
	return cost * (pending + 1)
}
