package balance

import (
	"math/rand/v2"
	"time"
)

// SlowStart gives an endpoint that came to serve less than its part at first: Least of it, from 0 to 1, growing evenly to all of it over Window.
// It is Envoy's, with an aggression of 1. The zero value is off.
type SlowStart struct {
	Window time.Duration
	Least  float64
}

// SetSlowStart makes s hold, also for endpoints that came before. It is called as Update is.
func (b *Balancer) SetSlowStart(s SlowStart) {
	switch {
	case s.Window <= 0 && b.slowStart == nil, b.slowStart != nil && *b.slowStart == s:
		return
	case s.Window <= 0:
		b.slowStart = nil
	default:
		b.slowStart = &s
	}
	b.rearrange()
}

// share is the part of its requests that an endpoint is to get now.
func (s *SlowStart) share(n *Node, nowNs int64) float64 {
	ready := n.state.times.ready.Load()
	if ready == 0 {
		return 1
	}
	return max(s.Least, min(float64(nowNs-ready)/float64(s.Window), 1))
}

// holdsBack draws whether another endpoint is to get the request.
func (s *SlowStart) holdsBack(n *Node, nowNs int64) bool {
	share := s.share(n, nowNs)
	return share < 1 && rand.Float64() >= share
}

// isNew reports whether a node that serves now did not before, where others did.
func isNew(before, now *Node, serving int) bool {
	return serving > 0 && now.Endpoint.Serving && (before == nil || !before.Endpoint.Serving)
}
