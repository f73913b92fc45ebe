package balance_test

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// zones are four endpoints in each of three zones, the first of which is preferred.
func zones() []naming.Endpoint {
	set := endpoints(12)
	for i := range set {
		set[i].Zone = string(rune('a' + i%3))
	}
	return set
}

// spilled simulates a minute of traffic at perSecond to endpoints that work on one request at a time, for 10 ms on average, with slower ms
// more in the preferred zone, and returns the share that leaves it, and the mean time of a request.
func spilled(t *testing.T, policy balance.Policy, perSecond int, slower time.Duration, away int) (share float64, mean time.Duration) {
	t.Helper()
	const second = int64(time.Second)
	b := newBalancer(policy, zones())
	b.SetZonePreference(balance.ZonePreference{Zone: "a", SpillFactor: 2})
	for _, n := range b.Nodes() {
		if n.Endpoint.Zone == "a" && away > 0 {
			away--
			b.Lose(n, now)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	free := make(map[balance.Identity]int64)
	var open byEnd
	left, total, sum := 0, 0, int64(0)
	for at := float64(0); at < 60*float64(second); at += random.ExpFloat64() * float64(second) / float64(perSecond) {
		for len(open) > 0 && open[0].end <= int64(at) {
			r := heap.Pop(&open).(underWay)
			r.node.Done(now+r.start, now+r.end, classify.Success)
		}
		n := mustPick(t, b, now+int64(at))
		work := int64(random.ExpFloat64() * float64(10*time.Millisecond))
		if n.Endpoint.Zone == "a" {
			work += int64(slower)
		} else {
			left++
		}
		end := max(free[n.Identity()], int64(at)) + work
		free[n.Identity()] = end
		total, sum = total+1, sum+end-int64(at)
		heap.Push(&open, underWay{node: n, start: int64(at), end: end})
	}
	return float64(left) / float64(total), time.Duration(sum / int64(total))
}

// TestZonePreference: requests stay in the zone while it can bear them, and go elsewhere as far as it cannot: because it has too few endpoints
// for them, because they are slow, because they are gone.
func TestZonePreference(t *testing.T) {
	for name, policy := range policies {
		for _, tc := range []struct {
			name        string
			perSecond   int
			slower      time.Duration
			away        int
			least, most float64
			within      time.Duration
		}{
			{name: "little", perSecond: 80, most: 0.1, within: 30 * time.Millisecond},
			{name: "more than the zone bears", perSecond: 800, least: 0.4, most: 0.75, within: 100 * time.Millisecond},
			{name: "a slow zone", perSecond: 30, slower: 200 * time.Millisecond, least: 0.6, most: 1, within: time.Second}, /* round robin sends it its third all the same */
			{name: "half of the zone", perSecond: 80, away: 2, most: 0.12, within: 40 * time.Millisecond},
			{name: "no zone", perSecond: 80, away: 4, least: 1, most: 1, within: 30 * time.Millisecond},
		} {
			if name == "roundRobin" && tc.slower > 0 {
				continue // it sends a slow endpoint as much as any, whatever the zone
			}
			t.Run(name+", "+tc.name, func(t *testing.T) {
				share, mean := spilled(t, policy, tc.perSecond, tc.slower, tc.away)
				t.Logf("%.3f leave the zone, %v on average", share, mean)
				if share < tc.least || share > tc.most || mean > tc.within {
					t.Errorf("%.3f leave the zone, want %v to %v; %v on average, want at most %v", share, tc.least, tc.most, mean, tc.within)
				}
			})
		}
	}
}

// TestZonePreferenceOfNothing: without endpoints in the zone, with all of them there, or with no zone known, the policy alone picks.
func TestZonePreferenceOfNothing(t *testing.T) {
	for zone, factor := range map[string]float64{"x": 2, "": 2, "a": 0} {
		b := newBalancer(policies["p2c"], zones())
		b.SetZonePreference(balance.ZonePreference{Zone: zone, SpillFactor: factor})
		seen := make(map[string]int)
		for range 3000 {
			n := mustPick(t, b, now)
			seen[n.Endpoint.Zone]++
			n.Done(now, now+1, classify.Success)
		}
		for _, z := range []string{"a", "b", "c"} {
			if seen[z] < 800 {
				t.Errorf("zone %q, factor %v: %v", zone, factor, seen)
			}
		}
	}
}
