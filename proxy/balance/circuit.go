package balance

import (
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
)

// Turn is what happened to an endpoint's circuit.
type Turn struct {
	Endpoint naming.Endpoint
	// Down says that requests are kept away, for Wait; otherwise they come again, after Wait.
	Down bool
	Wait time.Duration
	// Spared says that nothing happened, since too many endpoints are down. Answers says that an endpoint that was spared did not fail again.
	Spared, Answers bool
	// Probed says that this is what a probe came to.
	Probed bool
}

// mostDown returns how many of so many endpoints may be down by what this proxy saw: half of them, rounded up, but never all. What fails
// everywhere does not get better by that, and those that are left have to bear the load of all.
func mostDown(serving int) int {
	if serving < 2 {
		return 0
	}
	return (serving + 1) / 2
}

// SetBreakers makes others judge; nil makes nobody. Endpoints that are down stay so until they were probed, but come up where nobody judges.
func (b *Balancer) SetBreakers(newBreaker func() Breaker, nowNs int64) {
	b.options.NewBreaker = newBreaker
	clear(b.attic) // who comes again is judged by the new ones
	for _, n := range b.Nodes() {
		next := b.breaker()
		if old := n.state.breaker.Swap(next); old != nil && next != nil {
			next.spared.Store(old.spared.Load())
		}
		if newBreaker == nil {
			n.TakeUp(nowNs)
		}
	}
}

func (b *Balancer) breaker() *breaker {
	if b.options.NewBreaker == nil {
		return nil
	}
	return &breaker{Breaker: b.options.NewBreaker()}
}

// Down returns how many endpoints that would serve are down, or cannot be connected to.
func (b *Balancer) Down() int { return b.count((*Node).IsAway) }

// Lose keeps requests away from an endpoint that nobody can connect to, until Find. It reports whether it does: not where that is so already,
// nor from the last endpoint that is left.
func (b *Balancer) Lose(n *Node, nowNs int64) bool {
	b.judging.Lock()
	defer b.judging.Unlock()
	if _, lost := n.IsLost(); lost || !n.IsAway() && b.Down() >= b.snapshot.Load().serving-1 {
		return false
	}
	n.state.lost.Store(max(nowNs, 1))
	n.turned(nowNs)
	return true
}

// Find lets requests come to an endpoint again.
func (b *Balancer) Find(n *Node, nowNs int64) {
	n.state.lost.Store(0)
	n.turned(nowNs)
}

// record lets the breaker of an endpoint that is up learn what became of a request. One that was spared counts as probed by the first request
// after it would have been left alone, and by any that succeeds.
func (b *Balancer) record(n *Node, by *breaker, failed bool, nowNs int64) {
	spared := by.spared.Load()
	switch {
	case spared == 0 || failed && nowNs < spared:
		if d := by.Record(failed, nowNs); d > 0 && !b.eject(n, by, d, nowNs) {
			by.Reset()
		}
	case failed:
		b.eject(n, by, by.Probed(true), nowNs)
	default:
		by.Probed(false)
		by.spared.Store(0)
		b.turned(Turn{Endpoint: n.Endpoint, Answers: true})
	}
}

// eject takes an endpoint down. It reports whether it is: not where too many are.
func (b *Balancer) eject(n *Node, by *breaker, d time.Duration, nowNs int64) bool {
	b.judging.Lock()
	defer b.judging.Unlock()
	if _, _, down := n.IsDown(); down {
		return true // by another request
	}
	if b.Down() >= mostDown(b.snapshot.Load().serving) {
		if nowNs >= by.spared.Load() {
			by.spared.Store(nowNs + int64(d))
		}
		b.turned(Turn{Endpoint: n.Endpoint, Spared: true})
		return false
	}
	by.spared.Store(0)
	n.TakeDown(nowNs+int64(d), nowNs)
	b.turned(Turn{Endpoint: n.Endpoint, Down: true, Wait: d})
	return true
}

// probed ends a probe: after d > 0 it is tried again.
func (b *Balancer) probed(n *Node, d time.Duration, nowNs int64) {
	since, _, _ := n.IsDown()
	if d > 0 {
		n.TakeDown(nowNs+int64(d), nowNs)
		b.turned(Turn{Endpoint: n.Endpoint, Down: true, Wait: d, Probed: true})
		return
	}
	n.TakeUp(nowNs)
	b.turned(Turn{Endpoint: n.Endpoint, Wait: time.Duration(nowNs - since), Probed: true})
}

func (b *Balancer) turned(t Turn) {
	if b.options.Turned != nil {
		b.options.Turned(t)
	}
}
