// Package retry bounds how often requests are sent again: a Budget is fed by the requests of a name and spent by their repetitions, so that
// repetitions add at most a share to the load of whatever fails (Linkerd's retry budgets).
package retry

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a Policy, as in Linkerd.
const (
	DefaultMinPerSecond = 10
	DefaultPercent      = 0.2
	DefaultTTL          = 10 * time.Second
)

const (
	// scale is what one request brings in, so that the cost of a repetition is a whole number, as in Finagle.
	scale = 1000
	// periods is how many slices of its time a budget forgets one by one.
	periods = 10
	// maxCost keeps the reserve within an int64, whatever the policy: a repetition for a million requests.
	maxCost = 1000 * 1000 * 1000
)

// Policy says how much may be repeated. Two that are == do the same.
type Policy struct {
	// MinPerSecond is how many repetitions a second are always allowed, on average over TTL.
	MinPerSecond int
	// Percent is how many repetitions each request allows: 0.2 is one for five. Both 0 means none at all.
	Percent float64
	// TTL is how long a request counts; 0 means DefaultTTL.
	TTL time.Duration
}

// DefaultPolicy is Linkerd's.
var DefaultPolicy = Policy{MinPerSecond: DefaultMinPerSecond, Percent: DefaultPercent, TTL: DefaultTTL}

// Budget is the balance of one name. Any goroutine may use it. Times are monotonic nanoseconds.
type Budget struct {
	policy Policy
	// deposit is what a request brings in and cost what a repetition takes; reserve is there without any request.
	deposit, cost, reserve int64
	slice                  int64 // nanoseconds of a period

	mu     sync.Mutex   // held to spend and to forget
	period atomic.Int64 // the current one, counted from time 0
	// sums hold what came in less what was spent in each of the last periods.
	sums [periods]atomic.Int64
}

// NewBudget returns a budget that holds its reserve.
func NewBudget(p Policy) *Budget {
	b := &Budget{policy: p, deposit: scale, cost: 1}
	p.TTL = cmp.Or(p.TTL, DefaultTTL)
	b.slice = int64(p.TTL) / periods
	switch {
	case p.Percent > 0:
		b.cost = int64(max(min(scale/p.Percent, maxCost), 1))
	default:
		b.deposit = 0
	}
	b.reserve = int64(p.MinPerSecond) * int64(p.TTL/time.Second) * b.cost
	return b
}

// Policy returns what the budget was made with.
func (b *Budget) Policy() Policy { return b.policy }

// Deposit counts one request. It takes no lock but once a period.
func (b *Budget) Deposit(nowNs int64) {
	period := nowNs / b.slice
	if period != b.period.Load() {
		b.mu.Lock()
		b.forget(period)
		b.mu.Unlock()
	}
	b.sums[period%periods].Add(b.deposit)
}

// Withdraw takes what one repetition costs, and reports whether there was so much.
func (b *Budget) Withdraw(nowNs int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens(nowNs) < b.cost {
		return false
	}
	b.sums[b.period.Load()%periods].Add(-b.cost)
	return true
}

// Balance returns how many repetitions could be paid now.
func (b *Budget) Balance(nowNs int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tokens(nowNs) / b.cost
}

// tokens needs mu.
func (b *Budget) tokens(nowNs int64) int64 {
	b.forget(nowNs / b.slice)
	sum := b.reserve
	for i := range b.sums {
		sum += b.sums[i].Load()
	}
	return max(sum, 0)
}

// forget empties the periods that the current one takes the place of. It needs mu. A deposit that runs beside it may be lost, or count for
// a period more: one of a million.
func (b *Budget) forget(period int64) {
	last := b.period.Load()
	for i := max(last+1, period-periods+1); i <= period; i++ {
		b.sums[i%periods].Store(0)
	}
	b.period.Store(max(last, period))
}
