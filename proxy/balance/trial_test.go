package balance_test

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/accrual"
	"github.com/fairlead/fairlead/proxy/resilience/backoff"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// accrued is a balancer whose endpoints are left alone after two failures, for one second.
func accrued(n int) (*balance.Balancer, *[]balance.Turn) {
	var turns []balance.Turn
	p := accrual.Policy{Failures: 2, Backoff: backoff.Backoff{Kind: backoff.EqualJittered, Min: time.Second, Max: 8 * time.Second}}
	b := balance.New(balance.Options{
		Policy: p2c.Policy{}, NewConns: func(naming.Endpoint) any { return nil }, CloseConns: func(any) {},
		NewBreaker: func() balance.Breaker { return p.New() }, Turned: func(t balance.Turn) { turns = append(turns, t) },
	})
	b.Update(endpoints(n), now)
	return b, &turns
}

func fail(n *balance.Node, at int64, times int) {
	for range times {
		finish(n, at, classify.Failure)
	}
}

// TestSpared: an endpoint that stays up since others are down counts as one that does not answer until a request to it succeeds. How often
// it failed meanwhile makes its wait no longer; a request that fails after that time does, as a probe's.
func TestSpared(t *testing.T) {
	const second = int64(time.Second)
	b, turns := accrued(1)
	n := b.Nodes()[0]
	expect := func(live int, until int64) {
		t.Helper()
		if got, spared := n.IsSpared(); b.Live() != live || got != until || spared != (until != 0) {
			t.Fatalf("%d live, spared until %d, want %d, %d", b.Live(), (got-now)/second, live, (until-now)/second)
		}
	}
	expect(1, 0)
	fail(n, now, 1)
	expect(1, 0)
	fail(n, now, 1000)
	expect(0, now+second)
	if b.IsDue(now+second-1) || !b.IsDue(now+second) {
		t.Error("it is to be asked again after one second")
	}
	fail(n, now+second, 1)
	expect(0, now+2*second)
	fail(n, now+2*second, 1)
	if until, _ := n.IsSpared(); until < now+3*second || until > now+4*second {
		t.Errorf("until %d ms, want a longer wait after two tries", (until-now)/1e6)
	}
	b.SetBreakers(func() balance.Breaker { return accrual.Policy{}.New() }, now)
	if b.Live() != 0 {
		t.Error("an edit made it answer")
	}
	finish(n, now+2*second, classify.Ignored)
	if b.Live() != 0 {
		t.Error("a request that says nothing made it answer")
	}
	finish(n, now+2*second, classify.Success)
	expect(1, 0)
	if last := (*turns)[len(*turns)-1]; !last.Answers || last.Spared || last.Down {
		t.Errorf("told %+v", last)
	}
	for range 5 {
		finish(n, now, classify.Failure)
	}
	b.SetBreakers(nil, now)
	expect(1, 0)
}

// TestSparedGoesDown: an endpoint that was spared is left alone as soon as there is room.
func TestSparedGoesDown(t *testing.T) {
	b, _ := accrued(2)
	first, second := b.Nodes()[0], b.Nodes()[1]
	fail(first, now, 2)
	fail(second, now, 2)
	if b.Live() != 0 || b.Down() != 1 {
		t.Fatalf("%d live, %d down", b.Live(), b.Down())
	}
	at := now + int64(time.Second)
	probe, err := b.PickTrial(at, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for probe.Identity() != first.Identity() {
		probe.Done(at, at, classify.Ignored)
		if probe, err = b.PickTrial(at, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	probe.Done(at, at, classify.Success)
	if b.Live() != 1 || b.Down() != 0 {
		t.Fatalf("%d live, %d down after one answers", b.Live(), b.Down())
	}
	fail(second, at, 1)
	if _, spared := second.IsSpared(); b.Live() != 1 || b.Down() != 1 || spared {
		t.Errorf("%d live, %d down, spared %t", b.Live(), b.Down(), spared)
	}
}

// TestPickTrial: a trial goes to an endpoint that answers, else to one that is due, else to any.
func TestPickTrial(t *testing.T) {
	b, _ := accrued(4)
	nodes := b.Nodes()
	trial := func(at int64, tried ...*balance.Node) *balance.Node {
		t.Helper()
		n, err := b.PickTrial(at, tried, 0)
		if err != nil {
			t.Fatal(err)
		}
		n.Done(at, at, classify.Ignored)
		return n
	}
	for _, n := range nodes[:3] {
		fail(n, now, 2) // two are down, one is spared
	}
	for range 50 {
		if n := trial(now + 2*int64(time.Second)); n.Identity() != nodes[3].Identity() {
			t.Fatalf("a trial at %s, want the one that answers", n.Endpoint.Addr)
		}
	}
	fail(nodes[3], now+int64(time.Second), 2)
	seen := make(map[balance.Identity]bool)
	for range 200 {
		n := trial(now + int64(time.Second))
		seen[n.Identity()] = true
	}
	if len(seen) != 3 || seen[nodes[3].Identity()] {
		t.Errorf("trials at %d endpoints, want the three that are due", len(seen))
	}
	if n := trial(now+int64(time.Second), nodes[:3]...); n.Identity() != nodes[3].Identity() {
		t.Errorf("a trial at %s, which was tried", n.Endpoint.Addr)
	}
	b.Update(nil, now)
	if _, err := b.PickTrial(now, nil, 0); err == nil || b.IsDue(now) || b.Live() != 0 {
		t.Errorf("%v, without endpoints", err)
	}
}
