package retry

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const second = int64(time.Second)

func TestBudgetStartsWithItsReserve(t *testing.T) {
	for _, tt := range []struct {
		policy Policy
		want   int64
	}{
		{DefaultPolicy, 100},
		{Policy{MinPerSecond: 3, Percent: 0.5, TTL: 20 * time.Second}, 60},
		{Policy{MinPerSecond: 10, Percent: 0, TTL: 10 * time.Second}, 100},
		{Policy{MinPerSecond: 0, Percent: 0.2, TTL: 10 * time.Second}, 0},
		{Policy{}, 0},
		{Policy{MinPerSecond: 1000, Percent: 1e-15, TTL: 60 * time.Second}, 60000},
	} {
		b := NewBudget(tt.policy)
		if got := b.Balance(5 * second); got != tt.want {
			t.Errorf("%+v: balance %d, want %d", tt.policy, got, tt.want)
		}
		spent := int64(0)
		for b.Withdraw(5 * second) {
			spent++
		}
		if spent != tt.want {
			t.Errorf("%+v: %d repetitions, want %d", tt.policy, spent, tt.want)
		}
	}
}

func TestRequestsFeedABudget(t *testing.T) {
	b := NewBudget(Policy{Percent: 0.2, TTL: 10 * time.Second})
	for i := range int64(4) {
		b.Deposit(second + i)
		if b.Withdraw(second + i) {
			t.Fatalf("a repetition after %d requests, which allow a fifth each", i+1)
		}
	}
	b.Deposit(second + 4)
	if !b.Withdraw(second + 5) {
		t.Fatal("no repetition after five requests")
	}
	if b.Withdraw(second + 6) {
		t.Fatal("two repetitions after five requests")
	}
}

func TestRequestsAreForgotten(t *testing.T) {
	b := NewBudget(Policy{Percent: 1, TTL: 10 * time.Second})
	for range 7 {
		b.Deposit(500 * int64(time.Millisecond))
	}
	if got := b.Balance(9*second + second/2); got != 7 {
		t.Fatalf("balance %d after nine seconds, want 7", got)
	}
	if got := b.Balance(10*second + second/2); got != 0 {
		t.Fatalf("balance %d after ten seconds, want 0", got)
	}
}

func TestWithoutPercentOnlyTheReserve(t *testing.T) {
	b := NewBudget(Policy{MinPerSecond: 1, TTL: 10 * time.Second})
	for range 1000 {
		b.Deposit(0)
	}
	if got := b.Balance(0); got != 10 {
		t.Fatalf("balance %d, want the reserve of 10", got)
	}
}

// TestAgainstAModel runs hours of traffic through a budget and a list of all that came in and went out.
func TestAgainstAModel(t *testing.T) {
	for _, p := range []Policy{DefaultPolicy, {MinPerSecond: 1, Percent: 0.05, TTL: 60 * time.Second}, {Percent: 3, TTL: time.Second}} {
		rng := rand.New(rand.NewPCG(1, 2))
		b := NewBudget(p)
		type entry struct {
			period int64
			amount float64
		}
		var entries []entry
		requests, spent := 0, 0
		cost := math.Floor(1000 / p.Percent)
		for now := int64(0); now < 3*3600*second; now += rng.Int64N(second) + rng.Int64N(second)*rng.Int64N(20)/10 {
			period := now / (int64(p.TTL) / 10)
			for len(entries) > 0 && entries[0].period <= period-10 {
				entries = entries[1:]
			}
			tokens := float64(p.MinPerSecond) * p.TTL.Seconds() * cost
			for _, e := range entries {
				tokens += e.amount
			}
			if want := int64(math.Floor(max(tokens, 0) / cost)); b.Balance(now) != want {
				t.Fatalf("%+v: balance %d at %v, the model says %d", p, b.Balance(now), time.Duration(now), want)
			}
			if rng.IntN(2) == 0 {
				b.Deposit(now)
				requests++
				entries = append(entries, entry{period, 1000})
				continue
			}
			if got, want := b.Withdraw(now), tokens >= cost; got != want {
				t.Fatalf("%+v: a repetition at %v: %v, the model says %v", p, time.Duration(now), got, want)
			} else if got {
				spent++
				entries = append(entries, entry{period, -cost})
			}
		}
		if spent == 0 || requests == 0 {
			t.Fatalf("%+v: %d requests, %d repetitions: the test tests nothing", p, requests, spent)
		}
	}
}

func TestNobodySpendsWhatIsNotThere(t *testing.T) {
	b := NewBudget(DefaultPolicy)
	var spent atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				b.Deposit(second)
				if b.Withdraw(second) {
					spent.Add(1)
				}
			}
		})
	}
	all.Wait()
	for b.Withdraw(second) {
		spent.Add(1)
	}
	if got := spent.Load(); got != 100+8000/5 {
		t.Fatalf("%d repetitions for 8000 requests, want the reserve of 100 and a fifth", got)
	}
}

func BenchmarkDeposit(b *testing.B) {
	budget := NewBudget(DefaultPolicy)
	b.ReportAllocs()
	for i := range b.N {
		budget.Deposit(int64(i) * 1000)
	}
}
