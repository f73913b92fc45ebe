package balance_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/aperture"
	"github.com/fairlead/fairlead/proxy/balance/ewma"
	"github.com/fairlead/fairlead/proxy/balance/heap"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
	"github.com/fairlead/fairlead/proxy/balance/roundrobin"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

var policies = map[string]balance.Policy{
	"ewma": ewma.Policy{}, "p2c": p2c.Policy{}, "aperture": aperture.Policy{MinAperture: 100000}, "heap": heap.Policy{},
	"roundRobin": roundrobin.Policy{},
}

func endpoints(n int) []naming.Endpoint {
	out := make([]naming.Endpoint, n)
	for i := range out {
		out[i] = naming.Endpoint{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80), Weight: 1, Serving: true,
		}
	}
	return out
}

func newBalancer(p balance.Policy, set []naming.Endpoint) *balance.Balancer {
	b := balance.New(balance.Options{Policy: p, NewConns: func(naming.Endpoint) any { return nil }, CloseConns: func(any) {}})
	b.Update(set, now)
	return b
}

func mustPick(t testing.TB, b *balance.Balancer, at int64, tried ...*balance.Node) *balance.Node {
	t.Helper()
	n, err := b.Pick(at, tried, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What holds of every policy: each endpoint gets requests in the end, weights hold, what is down is avoided, and an endpoint
// that is due gets one probe and no more.
func TestEveryPolicy(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Run("all endpoints", func(t *testing.T) {
				b := newBalancer(policy, endpoints(10))
				seen := make(map[netip.AddrPort]int)
				for range 1000 { // which never end
					seen[mustPick(t, b, now).Endpoint.Addr]++
				}
				for addr, n := range seen {
					if n < 90 || n > 110 {
						t.Errorf("%d of 1000 went to %s", n, addr)
					}
				}
				if len(seen) != 10 {
					t.Errorf("%d of 10 endpoints were picked", len(seen))
				}
			})
			t.Run("idle endpoints", func(t *testing.T) {
				b := newBalancer(policy, endpoints(10))
				seen := make(map[netip.AddrPort]int)
				at := int64(now)
				for range 2000 { // one after the other
					n := mustPick(t, b, at)
					n.Done(at, at+int64(time.Millisecond), classify.Success)
					at += int64(10 * time.Millisecond)
					seen[n.Endpoint.Addr]++
				}
				for _, e := range endpoints(10) {
					if n := seen[e.Addr]; n < 100 || n > 300 {
						t.Errorf("%d of 2000 went to %s", n, e.Addr)
					}
				}
			})
			t.Run("weights", func(t *testing.T) {
				set := endpoints(4)
				set[2].Weight, set[3].Weight = 4, 4
				b := newBalancer(policy, set)
				heavy := 0
				for range 20000 {
					n := mustPick(t, b, now)
					if n.Endpoint.Weight == 4 {
						heavy++
					}
					n.Done(now, now+1000, classify.Success)
				}
				if share := float64(heavy) / 20000; math.Abs(share-0.8) > 0.02 {
					t.Errorf("the two of weight 4 beside two of weight 1 got %.3f, want 0.8", share)
				}
			})
			t.Run("down", func(t *testing.T) { testDown(t, policy) })
		})
	}
}

func testDown(t *testing.T, policy balance.Policy) {
	b := newBalancer(policy, endpoints(10))
	const due = now + int64(time.Second)
	for _, n := range b.Nodes()[1:] {
		n.TakeDown(due, now)
	}
	up := b.Nodes()[0]
	for range 100 {
		if n := mustPick(t, b, now); n.Endpoint.Addr != up.Endpoint.Addr {
			t.Fatalf("picked %s, which is down", n.Endpoint.Addr)
		}
	}
	// Nine are due: each is probed once, and the rest goes to the one that is up.
	probes := make(map[netip.AddrPort]int)
	var probe *balance.Node
	for range 1000 {
		if n := mustPick(t, b, due); n.Endpoint.Addr != up.Endpoint.Addr {
			probes[n.Endpoint.Addr]++
			probe = n
		}
	}
	if len(probes) != 9 {
		t.Errorf("%d of 9 were probed", len(probes))
	}
	for addr, n := range probes {
		if n != 1 {
			t.Errorf("%s was probed %d times", addr, n)
		}
	}
	probe.TakeUp(due)
	got := 0
	for range 2000 {
		if mustPick(t, b, due).Endpoint.Addr == probe.Endpoint.Addr {
			got++
		}
	}
	if got < 100 {
		t.Errorf("an endpoint that came up got %d of 2000", got)
	}
	for _, n := range b.Nodes() {
		n.TakeDown(2*due, due)
	}
	seen := make(map[netip.AddrPort]bool)
	for range 1000 {
		seen[mustPick(t, b, due).Endpoint.Addr] = true
	}
	if len(seen) != 10 {
		t.Errorf("with all down %d of 10 get requests", len(seen))
	}
}

// A policy that takes another's place goes by what was learned, and in flight requests end where they began.
func TestSetPolicy(t *testing.T) {
	b := newBalancer(p2c.Policy{}, endpoints(2))
	slow, fast := b.Nodes()[0], b.Nodes()[1]
	slow.Start(now, 0)
	slow.Done(now, now+int64(time.Second), classify.Success)
	fast.Start(now, 0)
	fast.Done(now, now+int64(time.Millisecond), classify.Success)
	held := mustPick(t, b, now)
	for name, policy := range policies {
		b.SetPolicy(policy)
		n := mustPick(t, b, now+int64(time.Second))
		if name == "ewma" && n.Endpoint.Addr != fast.Endpoint.Addr {
			t.Error("ewma does not know which one is slow")
		}
		n.Done(now, now+1, classify.Ignored)
	}
	held.Done(now, now+1, classify.Ignored)
	for _, n := range b.Nodes() {
		if n.Pending() != 0 {
			t.Errorf("%s has %d requests under way", n.Endpoint.Addr, n.Pending())
		}
	}
}

// An endpoint that goes and comes again is still known, for a minute.
func TestUpdateRemembers(t *testing.T) {
	b := newBalancer(ewma.Policy{}, endpoints(2))
	b.Nodes()[1].TakeDown(now+int64(time.Hour), now)
	for _, test := range []struct {
		after time.Duration
		up    bool
	}{{59 * time.Second, false}, {time.Minute, true}} {
		b.Update(endpoints(1), now)
		b.Update(endpoints(2), now+int64(test.after))
		if up := b.Nodes()[1].Up(now); up != test.up {
			t.Errorf("up after %s: %t", test.after, up)
		}
	}
	if b.Added.Load() != 4 || b.Removed.Load() != 2 {
		t.Errorf("%d added, %d removed", b.Added.Load(), b.Removed.Load())
	}
}

// The cost of an endpoint follows the formula of Finagle's peak EWMA, over random response times.
func TestCost(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := newBalancer(ewma.Policy{Decay: 3 * time.Second}, endpoints(1))
	n := b.Nodes()[0]
	at, cost := int64(now), 0.0
	for i := range 1000 {
		elapsed := random.Int64N(int64(time.Second))
		rtt := random.Int64N(int64(100 * time.Millisecond))
		ignored := random.IntN(5) == 0
		at += elapsed
		w := math.Exp(-float64(elapsed) / 3e9)
		if i == 0 {
			w = math.Exp(-float64(at) / 3e9)
		}
		switch r := float64(rtt); {
		case r > cost*w:
			cost = r
		case ignored:
			cost *= w
		default:
			cost = cost*w + r*(1-w)
		}
		class := classify.Success
		if ignored {
			class = classify.Ignored
		}
		n.Start(at-rtt, 0)
		n.Done(at-rtt, at, class)
		later := random.Int64N(int64(time.Second))
		if got, want := n.Cost(at+later), cost*math.Exp(-float64(later)/3e9); math.Abs(got-want) > 1e-6*want {
			t.Fatalf("step %d: %v, want %v", i, got, want)
		}
	}
}

// A new endpoint gets one request until it has answered.
func TestEWMAProbesNewEndpoints(t *testing.T) {
	b := newBalancer(ewma.Policy{}, endpoints(2))
	first := mustPick(t, b, now)
	first.Done(now, now+int64(time.Millisecond), classify.Success)
	picks := 0
	for range 100 {
		if n := mustPick(t, b, now+int64(time.Millisecond)); n.Endpoint.Addr != first.Endpoint.Addr {
			picks++
		}
	}
	if picks != 1 {
		t.Errorf("an endpoint that never answered got %d of 100 requests", picks)
	}
}

// The heap is exact: whatever begins and ends, the next goes to one of those with the fewest requests under way.
func TestHeapIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	b := newBalancer(heap.Policy{}, endpoints(20))
	var open []*balance.Node
	for i := range 20000 {
		switch {
		case i%1000 == 999:
			b.Update(endpoints(10+random.IntN(20)), now)
		case random.IntN(2) == 0 && len(open) > 0:
			j := random.IntN(len(open))
			open[j].Done(now, now+1, classify.Success)
			open = append(open[:j], open[j+1:]...)
		default:
			least := int64(math.MaxInt64)
			for _, n := range b.Nodes() {
				least = min(least, n.Pending())
			}
			n := mustPick(t, b, now)
			if n.Pending() != least+1 {
				t.Fatalf("step %d: picked one with %d under way, the least was %d", i, n.Pending()-1, least)
			}
			open = append(open, n)
		}
	}
}

// Endpoints come in turn.
func TestRoundRobin(t *testing.T) {
	b := newBalancer(roundrobin.Policy{}, endpoints(5))
	var order []netip.AddrPort
	for i := range 50 {
		n := mustPick(t, b, now)
		if i < 5 {
			order = append(order, n.Endpoint.Addr)
		} else if n.Endpoint.Addr != order[i%5] {
			t.Fatalf("request %d went to %s, want %s", i, n.Endpoint.Addr, order[i%5])
		}
	}
}

// The width of an aperture is that of a simple model: load times endpoints in use stays between the two limits, and with none it closes.
func TestApertureWidth(t *testing.T) {
	const requests = 40
	b := newBalancer(aperture.Policy{LowLoad: 0.5, HighLoad: 2, SmoothWindow: time.Second}, endpoints(100))
	at := int64(now)
	width := func(load int) int { // after a minute of so many requests under way, of 10 ms each
		used := make(map[netip.AddrPort]bool)
		for step := range 6000 {
			at += int64(10 * time.Millisecond)
			open := make([]*balance.Node, load)
			for i := range open {
				open[i] = mustPick(t, b, at)
				if step >= 5000 {
					used[open[i].Endpoint.Addr] = true
				}
			}
			at += int64(10 * time.Millisecond)
			for _, n := range open {
				n.Done(at-int64(10*time.Millisecond), at, classify.Success)
			}
		}
		return len(used)
	}
	// Half of the time requests are under way, so their mean is half.
	if w := width(requests); w < requests/2/2 || w > 2*requests {
		t.Errorf("%d endpoints in use with %d requests under way", w, requests/2)
	}
	if w := width(1); w != 1 {
		t.Errorf("%d endpoints in use with less than one request under way", w)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range []string{"ewma", "p2c", "aperture", "heap", "roundRobin"} {
		for _, n := range []int{3, 100, 10000} {
			bal := newBalancer(policies[name], endpoints(n))
			b.Run(fmt.Sprintf("%s/%d/alone", name, n), func(b *testing.B) {
				b.ReportAllocs()
				at := int64(now)
				for b.Loop() {
					at += 1000
					node, _ := bal.Pick(at, nil, 0)
					node.Done(at, at+1000, classify.Success)
				}
			})
			b.Run(fmt.Sprintf("%s/%d/together", name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(4) // of each of two processors
				b.RunParallel(func(pb *testing.PB) {
					at := int64(now)
					for pb.Next() {
						at += 1000
						node, _ := bal.Pick(at, nil, 0)
						node.Done(at, at+1000, classify.Success)
					}
				})
			})
		}
	}
}
