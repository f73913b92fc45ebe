package route

import (
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// balancerStats are the metrics of a client's balancer and circuits, as Linkerd names them, and spared.
type balancerStats struct {
	adds, removes                      *telemetry.Counter
	removals, revivals, probes, spared *telemetry.Counter
	downFor                            *telemetry.Histogram
	added, removed                     uint64 // those that are counted; the client's updating guards them
}

func newBalancerStats(lb, accrual telemetry.Scope) balancerStats {
	return balancerStats{
		adds: lb.Counter("adds"), removes: lb.Counter("removes"),
		removals: accrual.Counter("removals"), revivals: accrual.Counter("revivals"), probes: accrual.Counter("probes"),
		spared: accrual.Counter("spared"), downFor: accrual.Histogram("removed_for_ms"),
	}
}

// updated counts the endpoints that came and went.
func (s *balancerStats) updated(b *balance.Balancer) {
	added, removed := b.Added.Load(), b.Removed.Load()
	s.adds.Add(0, added-s.added)
	s.removes.Add(0, removed-s.removed)
	s.added, s.removed = added, removed
}

func (s *balancerStats) turned(t balance.Turn) {
	if t.Probed {
		s.probes.Incr(0)
	}
	switch {
	case t.Spared:
		s.spared.Incr(0)
	case t.Answers:
	case !t.Down:
		s.revivals.Incr(0)
		s.downFor.AddDuration(0, t.Wait)
	case !t.Probed:
		s.removals.Incr(0)
	}
}
