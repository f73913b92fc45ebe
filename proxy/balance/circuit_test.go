package balance_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// judge is a breaker that acts on the second failure in a row, and waits for a second, two, four and so on.
type judge struct {
	mu       sync.Mutex
	failures int
	attempts int
}

func (j *judge) Record(failed bool, _ int64) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !failed {
		j.failures = 0
		return 0
	}
	if j.failures++; j.failures < 2 {
		return 0
	}
	return j.wait()
}

func (j *judge) Probed(failed bool) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if failed {
		return j.wait()
	}
	j.failures, j.attempts = 0, 0
	return 0
}

func (j *judge) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failures = 0
}

func (j *judge) wait() time.Duration {
	j.attempts++
	return time.Second << (j.attempts - 1)
}

func judged(n int) (*balance.Balancer, *[]balance.Turn) {
	var turns []balance.Turn
	b := balance.New(balance.Options{
		Policy: p2c.Policy{}, NewConns: func(naming.Endpoint) any { return nil }, CloseConns: func(any) {},
		NewBreaker: func() balance.Breaker { return new(judge) }, Turned: func(t balance.Turn) { turns = append(turns, t) },
	})
	b.Update(endpoints(n), now)
	return b, &turns
}

// finish ends a request on a node.
func finish(n *balance.Node, at int64, c classify.Class) {
	n.Start(at, 0)
	n.Done(at, at, c)
}

// The life of a circuit: down after failures in a row, probed by one request when due, down for longer after a failure, up after a success.
func TestCircuit(t *testing.T) {
	const second = int64(time.Second)
	b, turns := judged(2)
	bad, good := b.Nodes()[0], b.Nodes()[1]
	finish(bad, now, classify.Failure)
	finish(bad, now, classify.Success)
	finish(bad, now, classify.Failure)
	finish(bad, now, classify.Ignored)
	if _, _, down := bad.IsDown(); down {
		t.Fatal("down without two failures in a row")
	}
	for range 4 {
		bad.Start(now, 0)
	}
	finish(bad, now, classify.Retryable)
	only := func(at int64, want *balance.Node) {
		t.Helper()
		for range 20 {
			n := mustPick(t, b, at)
			if n.Endpoint.Addr != want.Endpoint.Addr {
				t.Fatalf("picked %s at %d ms", n.Endpoint.Addr, (at-now)/1e6)
			}
			n.Done(at, at, classify.Success)
		}
	}
	only(now, good)
	for _, c := range []classify.Class{classify.Success, classify.Failure, classify.Failure, classify.Failure} {
		bad.Done(now, now, c) // what began before says nothing, and makes no wait longer
	}
	only(now+second-1, good)
	probe := func(at int64, c classify.Class) {
		t.Helper()
		for range 100 {
			if n := mustPick(t, b, at); n.Endpoint.Addr == bad.Endpoint.Addr {
				only(at, good) // while it is under way
				n.Done(at, at, c)
				return
			} else {
				n.Done(at, at, classify.Success)
			}
		}
		t.Fatalf("no probe at %d ms", (at-now)/1e6)
	}
	probe(now+second, classify.Ignored) // which leaves it to the next
	probe(now+second, classify.Failure)
	only(now+3*second-1, good)
	probe(now+3*second, classify.Success)
	if _, _, down := bad.IsDown(); down {
		t.Error("down after a probe that succeeded")
	}
	want := "[down 1s probed false] [down 2s probed true] [up 3s probed true] "
	got := ""
	for _, turn := range *turns {
		word := "up"
		if turn.Down {
			word = "down"
		}
		got += fmt.Sprintf("[%s %s probed %t] ", word, turn.Wait, turn.Probed)
	}
	if got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// A service is never taken down as a whole: of one endpoint none, of more half of them, rounded up.
func TestMostDown(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 100: 50} {
		b, turns := judged(n)
		for range 3 {
			for _, node := range b.Nodes() {
				finish(node, now, classify.Failure)
				finish(node, now, classify.Failure)
			}
		}
		if got := b.Down(); got != want {
			t.Errorf("%d of %d endpoints are down, want %d", got, n, want)
		}
		if !slices.ContainsFunc(*turns, func(t balance.Turn) bool { return t.Spared }) {
			t.Errorf("%d endpoints: none was spared", n)
		}
		if n == 1 {
			continue
		}
		// Those that leave make room for no others: the bound is that of who is there.
		b.Update(endpoints(1), now)
		if got := b.Down(); got > 1 {
			t.Errorf("%d of one endpoint are down", got)
		}
	}
}

// An edit may replace the judges, or have none: then nothing stays down.
func TestSetBreakers(t *testing.T) {
	b, _ := judged(2)
	bad := b.Nodes()[0]
	finish(bad, now, classify.Failure)
	finish(bad, now, classify.Failure)
	b.SetBreakers(func() balance.Breaker { return new(judge) }, now)
	if _, _, down := bad.IsDown(); !down {
		t.Error("up after the judges were replaced")
	}
	b.Update(endpoints(2)[1:], now)
	b.SetBreakers(nil, now)
	b.Update(endpoints(2), now)
	bad = b.Nodes()[0]
	for range 10 {
		finish(bad, now, classify.Failure)
	}
	if _, _, down := bad.IsDown(); down {
		t.Error("down where nobody judges")
	}
}

// Many requests end at once: exactly one takes the endpoint down, and the bound holds.
func TestCircuitTogether(t *testing.T) {
	for range 50 {
		b, turns := judged(4)
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for _, n := range b.Nodes() {
					finish(n, now, classify.Failure)
				}
			})
		}
		wait.Wait()
		ejected := slices.DeleteFunc(*turns, func(t balance.Turn) bool { return t.Spared })
		if b.Down() != 2 || len(ejected) != 2 {
			t.Fatalf("%d down, told of %v", b.Down(), ejected)
		}
	}
}
