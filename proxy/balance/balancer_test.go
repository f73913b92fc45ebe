package balance_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// now is any time: none of these tests depends on it.
const now = 1e9

func endpoint(i int) naming.Endpoint {
	return naming.Endpoint{Addr: netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:80", i)), Weight: 1, Serving: true}
}

func balancer(endpoints ...naming.Endpoint) (*balance.Balancer, map[any]int) {
	closed := make(map[any]int)
	b := balance.New(balance.Options{
		Policy:     p2c.Policy{},
		NewConns:   func(e naming.Endpoint) any { return e.Addr.String() },
		CloseConns: func(c any) { closed[c]++ },
	})
	b.Update(endpoints, now)
	return b, closed
}

func TestPickPrefersTheLighterNode(t *testing.T) {
	b, _ := balancer(endpoint(1), endpoint(2))
	var counts [3]int
	for range 1000 {
		// Requests never end, so the picks must stay level.
		n, err := b.Pick(now, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		counts[n.Endpoint.Addr.Addr().As4()[3]]++
	}
	if counts[1] != 500 || counts[2] != 500 {
		t.Errorf("picks of two nodes whose requests never end: %v, want 500 each", counts[1:])
	}
}

// Weights hold when requests never end and load decides, and when each ends before the next begins and the draw does.
func TestPickSpreadsByWeight(t *testing.T) {
	for name, end := range map[string]bool{"busy": false, "idle": true} {
		t.Run(name, func(t *testing.T) {
			heavy := endpoint(2)
			heavy.Weight = 3
			b, _ := balancer(endpoint(1), heavy)
			picks := 0
			const total = 20000
			for range total {
				n, _ := b.Pick(now, nil, 0)
				if n.Endpoint.Addr == heavy.Addr {
					picks++
				}
				if end {
					n.Done(0, 1, classify.Success)
				}
			}
			if share := float64(picks) / total; math.Abs(share-0.75) > 0.02 {
				t.Errorf("share of the node of weight 3 beside one of weight 1: %.3f, want 0.75", share)
			}
		})
	}
}

func TestPickLeavesOutWhatDoesNotServe(t *testing.T) {
	down, zero := endpoint(2), endpoint(3)
	down.Serving, zero.Weight = false, 0
	b, _ := balancer(endpoint(1), down, zero)
	for range 100 {
		if n, _ := b.Pick(now, nil, 0); n.Endpoint.Addr != endpoint(1).Addr {
			t.Fatalf("picked %v", n.Endpoint)
		}
	}
	if got := len(b.Nodes()); got != 3 {
		t.Errorf("Nodes has %d, want all 3", got)
	}
	b.Update([]naming.Endpoint{down}, now)
	if _, err := b.Pick(now, nil, 0); !errors.Is(err, balance.ErrNoEndpoints) {
		t.Errorf("error with no serving node: %v", err)
	}
}

func TestPickAvoidsTried(t *testing.T) {
	b, _ := balancer(endpoint(1), endpoint(2), endpoint(3))
	var tried []*balance.Node
	seen := make(map[netip.AddrPort]bool)
	for range 3 {
		n, err := b.Pick(now, tried, 0)
		if err != nil {
			t.Fatal(err)
		}
		seen[n.Endpoint.Addr] = true
		tried = append(tried, n)
	}
	if len(seen) != 3 {
		t.Errorf("three attempts went to %d endpoints", len(seen))
	}
	if _, err := b.Pick(now, tried, 0); !errors.Is(err, balance.ErrTried) {
		t.Errorf("fourth attempt: %v", err)
	}
}

// A second attempt goes by weight too: between idle endpoints that were not tried the draw decides.
func TestPickOfAnotherSpreadsByWeight(t *testing.T) {
	heavy := endpoint(2)
	heavy.Weight = 3
	b, _ := balancer(heavy, endpoint(3), endpoint(1))
	first := balance.NewNode(endpoint(1), nil)
	picks := 0
	const total = 20000
	for range total {
		n, err := b.Pick(now, []*balance.Node{first}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n.Endpoint.Addr == heavy.Addr {
			picks++
		}
		n.Done(0, 1, classify.Success)
	}
	if share := float64(picks) / total; math.Abs(share-0.75) > 0.02 {
		t.Errorf("share of the node of weight 3 beside one of weight 1: %.3f, want 0.75", share)
	}
}

func TestUpdateKeepsStateOfWhatStays(t *testing.T) {
	b, closed := balancer(endpoint(1), endpoint(2))
	n, _ := b.Pick(now, nil, 0)
	picked := n.Endpoint
	changed := picked
	changed.Weight = 5
	b.Update([]naming.Endpoint{changed}, now)
	if got := b.Nodes()[0]; got.Pending() != 1 || got.Conns != n.Conns || got.Endpoint.Weight != 5 {
		t.Errorf("node after a change of weight: pending %d, conns %v, weight %v", got.Pending(), got.Conns, got.Endpoint.Weight)
	}
	if len(closed) != 1 || closed[picked.Addr.String()] != 0 {
		t.Errorf("closed %v, want only the endpoint that left", closed)
	}
	n.Done(0, 1, classify.Success)
	if got := b.Nodes()[0].Pending(); got != 0 {
		t.Errorf("pending after Done on the node of before: %d", got)
	}
}

// Endpoints come and go under requests: each pick is of a set that was given whole, and no load is lost.
func TestPickUnderUpdate(t *testing.T) {
	b, closed := balancer(endpoint(1), endpoint(2))
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 3000 {
				first, err := b.Pick(now, nil, 0)
				if err != nil {
					t.Error(err)
					return
				}
				second, err := b.Pick(now, []*balance.Node{first}, 0)
				switch {
				case err == nil && second.Endpoint.Addr == first.Endpoint.Addr:
					t.Error("a second attempt went to the same endpoint")
				case err == nil:
					second.Done(0, 1, classify.Failure)
				case !errors.Is(err, balance.ErrTried):
					t.Error(err)
				}
				first.Done(0, 1, classify.Success)
			}
		})
	}
	for i := range 1000 {
		heavy := endpoint(1)
		heavy.Weight = float64(1 + i%3)
		b.Update([]naming.Endpoint{heavy, endpoint(2 + i%3)}, now)
	}
	wait.Wait()
	for _, n := range b.Nodes() {
		if n.Endpoint.Addr == endpoint(1).Addr && n.Pending() != 0 {
			t.Errorf("%d requests pending when all ended", n.Pending())
		}
	}
	if closed[endpoint(1).Addr.String()] != 0 {
		t.Error("connections of an endpoint that stayed were closed")
	}
	b.Close()
	if closed[endpoint(1).Addr.String()] != 1 || len(b.Nodes()) != 0 || b.Available() != 0 {
		t.Errorf("after Close: %v", closed)
	}
}

// Of an endpoint that is told twice only the first counts; the same address by another hop is another node.
func TestUpdateKnowsEndpointsByAddressAndHop(t *testing.T) {
	twice, hop := endpoint(1), endpoint(1)
	twice.Weight = 9
	hop.Hop = &naming.Hop{Node: "n1"}
	b, closed := balancer(endpoint(1), twice, hop)
	if n := len(b.Nodes()); n != 2 || b.Nodes()[0].Endpoint.Weight != 1 {
		t.Errorf("%d nodes, want 2", n)
	}
	b.Update([]naming.Endpoint{hop}, now)
	if len(b.Nodes()) != 1 || closed[hop.Addr.String()] != 1 {
		t.Errorf("nodes %v, closed %v", b.Nodes(), closed)
	}
}

// An address that moves to another node, be it within one update, gets connections by the hop of that node.
func TestUpdateMovesAnAddressToAnotherNode(t *testing.T) {
	var made, ended []string
	b := balance.New(balance.Options{
		Policy: p2c.Policy{},
		NewConns: func(e naming.Endpoint) any {
			made = append(made, e.Hop.Node)
			return e.Hop.Node
		},
		CloseConns: func(c any) { ended = append(ended, c.(string)) },
	})
	old, moved := endpoint(1), endpoint(1)
	old.Node, old.Hop = "n1", &naming.Hop{Node: "n1"}
	moved.Node, moved.Hop = "n2", &naming.Hop{Node: "n2"}
	b.Update([]naming.Endpoint{old, endpointOn(2, old.Hop)}, now)
	first, _ := b.Pick(now, []*balance.Node{balance.NewNode(endpoint(2), nil)}, 0)
	b.Update([]naming.Endpoint{moved, endpointOn(2, old.Hop)}, now)
	second, _ := b.Pick(now, []*balance.Node{balance.NewNode(endpoint(2), nil)}, 0)
	if fmt.Sprint(made, ended) != "[n1 n1 n2] [n1]" || first.Conns != "n1" || second.Conns != "n2" || second.Endpoint.Node != "n2" || second.Pending() != 1 {
		t.Errorf("made %v, ended %v; %v, then %v with %d pending", made, ended, first.Conns, second.Conns, second.Pending())
	}
}

func endpointOn(i int, hop *naming.Hop) naming.Endpoint {
	e := endpoint(i)
	e.Hop = hop
	return e
}

// No endpoint gets more requests than allowed, whatever draws do and whoever comes at once; those that have room get the rest.
func TestPickKeepsTheLimit(t *testing.T) {
	const most, nodes = 5, 3
	b, _ := balancer(endpoint(1), endpoint(2), endpoint(3))
	var wait sync.WaitGroup
	var got, busy atomic.Int64
	for range 4 {
		wait.Go(func() {
			for range 10 {
				switch _, err := b.Pick(now, nil, most); {
				case err == nil:
					got.Add(1)
				case errors.Is(err, balance.ErrBusy):
					busy.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if got.Load() != most*nodes || busy.Load() != 40-most*nodes {
		t.Errorf("%d picks and %d refusals, want %d picks of 40", got.Load(), busy.Load(), most*nodes)
	}
	for _, n := range b.Nodes() {
		if n.Pending() != most {
			t.Errorf("%v has %d", n.Endpoint.Addr, n.Pending())
		}
	}
	first := b.Nodes()[0]
	first.Done(0, 1, classify.Success)
	if n, err := b.Pick(now, nil, most); err != nil || n != first {
		t.Errorf("with room at one: %v, %v", n, err)
	}
	if _, err := b.Pick(now, []*balance.Node{first}, most); !errors.Is(err, balance.ErrBusy) {
		t.Errorf("a second attempt where all are full: %v", err)
	}
}
