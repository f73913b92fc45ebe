package balance

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// ZonePreference keeps requests in one zone while its endpoints are not much slower than others. The zero value is off.
type ZonePreference struct {
	// Zone is the one preferred; "" prefers none.
	Zone string
	// SpillFactor is how many times the mean response time elsewhere that of the zone may be before requests go elsewhere.
	SpillFactor float64
}

const (
	// zonePeriod is how often the zone is compared with the others.
	zonePeriod = 500 * time.Millisecond
	// mostKept is the share of what a policy picks elsewhere that stays in the zone where all is well; the rest tells how others fare.
	mostKept = 0.98
	// keepStep is by how much the share grows in a period in which the zone is not too slow.
	keepStep = 0.05
	// zoneWeight is that of a period in the means, if it has so many requests; less if it has fewer.
	zoneWeight, zoneSamples = 0.3, 10
)

// zoneState is what a balancer knows of its zone and the others. Every request adds to it.
type zoneState struct {
	ZonePreference
	// near and far are the response times of the current period, in the zone and elsewhere.
	near, far responseTimes
	due       atomic.Int64
	// keep is a float64: the share of what a policy picks elsewhere that stays in the zone.
	keep atomic.Uint64
}

// responseTimes are those of a period, and the mean of the periods before, a float64 in nanoseconds, 0 where nothing is known.
type responseTimes struct {
	sum, count atomic.Int64
	mean       atomic.Uint64
}

// turn ends a period and returns the mean.
func (r *responseTimes) turn() float64 {
	mean, count := math.Float64frombits(r.mean.Load()), r.count.Swap(0)
	if sum := r.sum.Swap(0); count > 0 {
		now := float64(sum) / float64(count)
		if mean > 0 {
			w := zoneWeight * min(float64(count)/zoneSamples, 1)
			now = w*now + (1-w)*mean
		}
		mean = now
		r.mean.Store(math.Float64bits(mean))
	}
	return mean
}

// SetZonePreference makes z hold. It is called as Update is.
func (b *Balancer) SetZonePreference(z ZonePreference) {
	off := z.Zone == "" || z.SpillFactor <= 0
	switch {
	case off && b.zone == nil, b.zone != nil && b.zone.ZonePreference == z:
		return
	case off:
		b.zone = nil
	default:
		b.zone = &zoneState{ZonePreference: z}
		b.zone.keep.Store(math.Float64bits(mostKept))
	}
	b.rearrange()
}

// record learns a response time.
func (z *zoneState) record(n *Node, took int64) {
	r := &z.far
	if n.Endpoint.Zone == z.Zone {
		r = &z.near
	}
	r.sum.Add(took)
	r.count.Add(1)
}

// share returns the share of what a policy picks elsewhere that stays in the zone: less while the zone is too slow, in proportion, then more by
// and by.
func (z *zoneState) share(nowNs int64) float64 {
	due := z.due.Load()
	keep := math.Float64frombits(z.keep.Load())
	if nowNs < due || !z.due.CompareAndSwap(due, nowNs+int64(zonePeriod)) {
		return keep
	}
	near, far := z.near.turn(), z.far.turn()
	if near > 0 && far > 0 && near > z.SpillFactor*far {
		keep *= max(z.SpillFactor*far/near, 0.5)
	} else {
		keep = min(keep+keepStep, mostKept)
	}
	z.keep.Store(math.Float64bits(keep))
	return keep
}

// near is the endpoints of the preferred zone. It is immutable.
type near struct {
	nodes []*Node
	state *zoneState
}

// near returns what of the endpoints is in the preferred zone; nil where nothing is, or all is.
func (b *Balancer) near(s *snapshot) *near {
	z := b.zone
	if z == nil {
		return nil
	}
	out := &near{state: z}
	for i := range s.classes {
		for _, n := range s.classes[i].nodes {
			if n.Endpoint.Zone == z.Zone {
				out.nodes = append(out.nodes, n)
			}
		}
	}
	if len(out.nodes) == 0 || len(out.nodes) == s.serving {
		return nil
	}
	return out
}

// instead returns an endpoint of the zone to take in place of n, which a policy has picked, or n. It takes O(1), whatever the policy.
func (z *near) instead(n *Node, nowNs, most int64, tried []*Node) *Node {
	if n.Endpoint.Zone == z.state.Zone || rand.Float64() >= z.state.share(nowNs) { //nolint:gosec // no secret
		return n
	}
	b := z.draw(nowNs, tried)
	if b == nil || !b.Admit(nowNs, most) {
		return n
	}
	b.began(nowNs)
	n.abandon(nowNs)
	return b
}

// drawEffort is how many endpoints of the zone are looked at for two that are up.
const drawEffort = 8

// draw returns the one with less load of two that are up, drawn at random, or nil.
func (z *near) draw(nowNs int64, tried []*Node) (best *Node) {
	from, found := rand.IntN(len(z.nodes)), 0 //nolint:gosec // no secret
	for i := range min(drawEffort, len(z.nodes)) {
		n := z.nodes[(from+i)%len(z.nodes)]
		if !n.Up(nowNs) || isTried(n, tried) {
			continue
		}
		if best == nil || n.load(nowNs) < best.load(nowNs) {
			best = n
		}
		if found++; found == 2 {
			break
		}
	}
	return best
}

// load is the response time times the requests that would be under way with one more.
func (n *Node) load(nowNs int64) float64 { return n.Cost(nowNs) * float64(n.Pending()+1) }
