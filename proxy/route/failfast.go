package route

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/resilience/backoff"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// reconnect is how long Linkerd's failFast waits before it tries an endpoint again.
var reconnect = backoff.Backoff{Kind: backoff.EqualJittered, Min: time.Second, Max: 32 * time.Second}

// failFast keeps requests away from endpoints that could not be connected to, and tries them in the background (Linkerd's failFast). Endpoints
// that are lost when it is switched off are found by its next try.
type failFast struct {
	balancer *balance.Balancer
	connect  func(ctx context.Context, conns any) error
	clock    func() int64
	told     func(n *balance.Node, lost bool, after time.Duration)
	on       atomic.Bool

	marked, available *telemetry.Counter

	mu     sync.Mutex // guards what follows
	lost   map[balance.Identity]*lostEndpoint
	closed bool
	ctx    context.Context //nolint:containedctx // ends the connects under way when the client is closed
	cancel context.CancelFunc
	trying sync.WaitGroup
}

// lostEndpoint is one that is tried in the background.
type lostEndpoint struct {
	node  *balance.Node
	since int64
	tries int
	last  time.Duration
	timer *time.Timer
}

// meter adds the metrics, which are there and 0 where failFast is off: dashboards ask for them.
func (f *failFast) meter(s telemetry.Scope) {
	f.marked, f.available = s.Counter("marked_dead"), s.Counter("marked_available")
	s.GaugeFunc("is_marked_dead", func() float64 { n, _, _ := f.state(); return float64(n) })
	s.GaugeFunc("unhealthy_for_ms", func() float64 { _, since, _ := f.state(); return float64(since) / 1e6 })
	s.GaugeFunc("unhealthy_num_tries", func() float64 { _, _, tries := f.state(); return float64(tries) })
}

// state returns how many endpoints are lost, for how many nanoseconds the first of them is, and how often the most tried one was.
func (f *failFast) state() (n int, longest int64, tries int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lost {
		n++
		longest, tries = max(longest, f.clock()-l.since), max(tries, l.tries)
	}
	return n, longest, tries
}

// failed is told that an endpoint could not be connected to.
func (f *failFast) failed(n *balance.Node, nowNs int64) {
	if !f.on.Load() || !f.balancer.Lose(n, nowNs) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.marked.Incr(0)
	f.told(n, true, 0)
	if f.lost == nil {
		f.lost = make(map[balance.Identity]*lostEndpoint)
		f.ctx, f.cancel = context.WithCancel(context.Background())
	}
	l := &lostEndpoint{node: n, since: nowNs}
	f.lost[n.Identity()] = l
	f.wait(l)
}

// wait lets the next try come. mu is held.
func (f *failFast) wait(l *lostEndpoint) {
	l.last = reconnect.Next(l.tries, l.last)
	f.trying.Add(1)
	l.timer = time.AfterFunc(l.last, func() {
		defer f.trying.Done()
		f.try(l)
	})
}

// try connects, and waits for longer if that fails.
func (f *failFast) try(l *lostEndpoint) {
	err := f.connect(f.ctx, l.node.Conns)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.lost[l.node.Identity()] != l {
		return
	}
	if l.tries++; err != nil && f.on.Load() {
		f.wait(l)
		return
	}
	delete(f.lost, l.node.Identity())
	f.available.Incr(0)
	f.balancer.Find(l.node, f.clock())
	f.told(l.node, false, time.Duration(f.clock()-l.since))
}

// updated forgets endpoints that left.
func (f *failFast) updated() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.lost) == 0 {
		return
	}
	present := make(map[balance.Identity]bool)
	for _, n := range f.balancer.Nodes() {
		present[n.Identity()] = true
	}
	for id, l := range f.lost {
		if !present[id] {
			f.forget(l)
		}
	}
}

// forget ends the tries of an endpoint, which nobody knows to be lost any more. mu is held.
func (f *failFast) forget(l *lostEndpoint) {
	delete(f.lost, l.node.Identity())
	f.balancer.Find(l.node, f.clock())
	if l.timer.Stop() {
		f.trying.Done()
	}
}

// close ends all tries.
func (f *failFast) close() {
	f.mu.Lock()
	f.closed = true
	for _, l := range f.lost {
		f.forget(l)
	}
	if f.cancel != nil {
		f.cancel()
	}
	f.mu.Unlock()
	f.trying.Wait()
}
