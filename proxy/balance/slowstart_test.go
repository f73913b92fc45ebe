package balance_test

import (
	"math"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/heap"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
	"github.com/fairlead/fairlead/proxy/balance/roundrobin"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

func plain(p balance.Policy) *balance.Balancer {
	return balance.New(balance.Options{Policy: p, NewConns: func(naming.Endpoint) any { return nil }, CloseConns: func(any) {}})
}

// TestSlowStart: the share of an endpoint that joined others grows evenly from least to all of it, as the model has it: of n others and one
// that is to get the part s, that one gets s of n+s requests.
func TestSlowStart(t *testing.T) {
	const (
		others = 10
		window = 30 * time.Second
		least  = 0.1
		each   = 20000
	)
	for name, p := range map[string]balance.Policy{"p2c": p2c.Policy{}, "heap": heap.Policy{}, "roundRobin": roundrobin.Policy{}} {
		t.Run(name, func(t *testing.T) {
			b := plain(p)
			b.SetSlowStart(balance.SlowStart{Window: window, Least: least})
			b.Update(endpoints(others), now)
			share := func(after time.Duration) float64 {
				at, got := now+int64(time.Minute+after), 0
				for range each {
					n, err := b.Pick(at, nil, 0)
					if err != nil {
						t.Fatal(err)
					}
					if n.Endpoint == endpoints(others + 1)[others] {
						got++
					}
					n.Done(at, at, classify.Success)
				}
				return float64(got) / each
			}
			b.Update(endpoints(others+1), now+int64(time.Minute))
			for _, after := range []time.Duration{0, 3 * time.Second, 15 * time.Second, 29 * time.Second, 31 * time.Second, time.Hour} {
				part := math.Max(least, math.Min(1, after.Seconds()/window.Seconds()))
				want := part / (others + part)
				if got := share(after); math.Abs(got-want) > 4*math.Sqrt(want/each)+0.002 {
					t.Errorf("after %v it gets %.4f of the requests, want %.4f", after, got, want)
				}
			}
			b.SetSlowStart(balance.SlowStart{})
			if got := share(0); math.Abs(got-1.0/(others+1)) > 0.01 {
				t.Errorf("without slow start it gets %.4f", got)
			}
		})
	}
}

// TestSlowStartOfAll: endpoints that come together are not held back, nor is one that is the only one; one that became ready is.
func TestSlowStartOfAll(t *testing.T) {
	b := plain(p2c.Policy{})
	b.SetSlowStart(balance.SlowStart{Window: time.Minute, Least: 0.01})
	unready := endpoints(2)
	unready[1].Serving = false
	b.Update(unready, now)
	if n := mustPick(t, b, now); n.Endpoint.Addr != unready[0].Addr {
		t.Fatalf("%v", n)
	} else {
		n.Done(now, now, classify.Success)
	}
	b.Update(endpoints(2), now+1)
	second := 0
	for range 1000 {
		n, err := b.Pick(now+2, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n.Endpoint.Addr == unready[1].Addr {
			second++
		}
		n.Done(now+2, now+2, classify.Success)
	}
	if second == 0 || second > 60 {
		t.Errorf("one that became ready gets %d of 1000 requests at once", second)
	}
	if n, err := b.Pick(now+2, []*balance.Node{b.Nodes()[0]}, 0); err != nil || n.Endpoint.Addr != unready[1].Addr {
		t.Errorf("the only one that was not tried: %v, %v", n, err)
	}
}

// TestLose: who cannot be connected to gets no request, but for the last one that is left; a circuit that is open beside it stays so.
func TestLose(t *testing.T) {
	b, _ := judged(4)
	nodes := b.Nodes()
	for i := range 3 {
		if !b.Lose(nodes[i], now) || b.Lose(nodes[i], now) {
			t.Fatalf("endpoint %d: lost once and no more", i)
		}
	}
	if b.Lose(nodes[3], now) {
		t.Error("the last one is lost")
	}
	for range 100 {
		n, err := b.Pick(now, nil, 0)
		if err != nil || n.Identity() != nodes[3].Identity() {
			t.Fatalf("%v, %v", n, err)
		}
	}
	if b.Available() != 1 {
		t.Errorf("%d are available", b.Available())
	}
	finish(nodes[3], now, classify.Failure)
	finish(nodes[3], now, classify.Failure)
	if _, _, down := nodes[3].IsDown(); down {
		t.Error("the last one that can be connected to is down")
	}
	b.Find(nodes[0], now)
	if b.Available() != 2 || !nodes[0].Up(now) {
		t.Errorf("%d are available after one was found", b.Available())
	}
	if n, err := b.Pick(now, []*balance.Node{nodes[0], nodes[3]}, 0); err != nil || n.Up(now) {
		t.Errorf("%v, %v: where all others were tried, one that is lost is tried", n, err)
	}
}
