// Package aperture sends to a part of the endpoints, which is as wide as the load wants (Linkerd's kind aperture): many proxies in front of
// many endpoints then need few connections. The part begins with an order of this process's own; within it the choice is that of p2c.
package aperture

import (
	"cmp"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
)

// Defaults of a Policy, as in Linkerd.
const (
	DefaultSmoothWindow = 5 * time.Second
	DefaultLowLoad      = 0.5
	DefaultHighLoad     = 2.0
	DefaultMinAperture  = 1
)

// Policy implements balance.Policy. Zero values mean the defaults.
type Policy struct {
	// SmoothWindow is over which time the load is averaged.
	SmoothWindow time.Duration
	// LowLoad and HighLoad are how many requests under way for each endpoint in use make the aperture narrower and wider.
	LowLoad, HighLoad float64
	// MinAperture is the least number of endpoints.
	MinAperture int
	// MaxEffort is how often two are drawn; 0 means balance.DefaultMaxEffort.
	MaxEffort int
}

// New implements balance.Policy.
func (p Policy) New() balance.Picker {
	a := &picker{
		choice: p2c.NewPicker(p.MaxEffort, nil),
		window: float64(cmp.Or(p.SmoothWindow, DefaultSmoothWindow)), low: cmp.Or(p.LowLoad, DefaultLowLoad), high: cmp.Or(p.HighLoad, DefaultHighLoad),
		least: int64(cmp.Or(p.MinAperture, DefaultMinAperture)),
	}
	a.width.Store(a.least)
	a.order.Store(&[]*balance.Node{})
	return a
}

// picker implements balance.Watcher.
type picker struct {
	choice            *p2c.Picker
	window, low, high float64
	least             int64

	order atomic.Pointer[[]*balance.Node]
	_     [56]byte // every request writes what follows
	// width is the number of endpoints in use, which are the first in order; total the requests under way.
	width, total atomic.Int64

	mu sync.Mutex // guards what follows; whoever does not get it at once leaves the measuring to whoever has it
	// mean of total, as of at.
	mean float64
	at   int64
}

// Set implements balance.Picker. Those that were there keep their order, and others come among them by chance.
func (p *picker) Set(nodes []*balance.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := make(map[balance.Identity]*balance.Node, len(nodes))
	for _, n := range nodes {
		left[n.Identity()] = n
	}
	order := make([]*balance.Node, 0, len(nodes))
	for _, n := range *p.order.Load() {
		if now := left[n.Identity()]; now != nil {
			order = append(order, now)
			delete(left, n.Identity())
		}
	}
	for _, n := range nodes {
		if left[n.Identity()] == nil {
			continue
		}
		order = append(order, n)
		i, last := rand.IntN(len(order)), len(order)-1
		order[i], order[last] = order[last], order[i]
	}
	p.order.Store(&order)
}

// Pick implements balance.Picker.
func (p *picker) Pick(nowNs, most int64) *balance.Node {
	order := *p.order.Load()
	n := p.choice.PickAmong(order[:p.widthOf(order)], nowNs, most)
	if n != nil {
		p.adjust(p.total.Add(1), len(order), nowNs)
	}
	return n
}

func (p *picker) widthOf(order []*balance.Node) int64 {
	return max(min(p.width.Load(), int64(len(order))), min(1, int64(len(order))))
}

// Began implements balance.Watcher.
func (p *picker) Began(_ *balance.Node, nowNs int64) {
	p.adjust(p.total.Add(1), len(*p.order.Load()), nowNs)
}

// Ended implements balance.Watcher.
func (p *picker) Ended(_ *balance.Node, nowNs int64) {
	p.adjust(p.total.Add(-1), len(*p.order.Load()), nowNs)
}

// Turned implements balance.Watcher.
func (p *picker) Turned(*balance.Node, int64) {}

// adjust measures, and makes the aperture wider or narrower by one.
func (p *picker) adjust(total int64, nodes int, nowNs int64) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	switch elapsed := nowNs - p.at; {
	case p.at == 0:
		p.mean, p.at = float64(total), nowNs
	case elapsed > 0:
		w := math.Exp(-float64(elapsed) / p.window)
		p.mean, p.at = float64(total)*(1-w)+p.mean*w, nowNs
	}
	width := p.width.Load()
	load := p.mean / float64(width)
	switch {
	case load >= p.high && width < int64(nodes):
		p.width.Store(width + 1)
	case load <= p.low && width > p.least:
		p.width.Store(width - 1)
	}
}
