// Package accrual breaks the circuit to an endpoint whose requests fail (Linkerd's failureAccrual): after so many failures in a row, or below
// a rate of success, it is left alone for a while, then probed by one request, and left alone for longer if that fails.
package accrual

import (
	"cmp"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience/backoff"
)

// Kind is what counts.
type Kind uint8

const (
	// Consecutive counts failures in a row.
	Consecutive Kind = iota
	// SuccessRate is the share of requests that succeed, a mean over a number of requests.
	SuccessRate
	// SuccessRateWindowed is the same over a time.
	SuccessRateWindowed
)

// Defaults of a Policy, as in Linkerd.
const (
	DefaultFailures = 5
	// minRequests is how many requests SuccessRateWindowed wants to have seen.
	minRequests = 5
)

// defaultBackoff is Linkerd's.
var defaultBackoff = backoff.Backoff{Kind: backoff.EqualJittered, Min: 5 * time.Second, Max: 300 * time.Second}

// Policy says when an endpoint is left alone, and for how long. Its zero value is Linkerd's default: five failures in a row. Two that are ==
// do the same.
type Policy struct {
	Kind Kind
	// Failures of Consecutive; 0 means DefaultFailures.
	Failures int
	// Rate, 0 to 1, below which SuccessRate and SuccessRateWindowed act, over Requests or Window.
	Rate     float64
	Requests int
	Window   time.Duration
	// Backoff is for how long; its zero value means five seconds, then longer up to five minutes.
	Backoff backoff.Backoff
}

// New returns the breaker of one endpoint, which is up.
func (p Policy) New() *Breaker {
	p.Failures = cmp.Or(p.Failures, DefaultFailures)
	return &Breaker{policy: p}
}

// Breaker judges one endpoint. Any goroutine may call it. Times are monotonic nanoseconds.
type Breaker struct {
	policy Policy
	// failures in a row; apart, so that a success among successes takes no lock.
	failures atomic.Int64

	mu       sync.Mutex // guards what follows
	rate     mean
	attempts int
	// last is the last wait, before the one before it.
	last, before time.Duration
}

// Record is told of a request that ended while the endpoint was up. It returns for how long the endpoint is to be left alone, or 0.
func (b *Breaker) Record(failed bool, nowNs int64) time.Duration {
	if b.policy.Kind == Consecutive {
		switch {
		case failed:
			if b.failures.Add(1) >= int64(b.policy.Failures) {
				return b.wait()
			}
		case b.failures.Load() != 0:
			b.failures.Store(0)
		}
		return 0
	}
	b.mu.Lock()
	bad := b.rate.add(&b.policy, failed, nowNs) && failed
	b.mu.Unlock()
	if bad {
		return b.wait()
	}
	return 0
}

// Probed is told what a probe came to, and returns for how long the endpoint is to be left alone again; 0 after a success.
func (b *Breaker) Probed(failed bool) time.Duration {
	if failed {
		return b.wait()
	}
	b.Reset()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts, b.last = 0, 0
	return 0
}

// Reset forgets what was counted, and the last wait: the endpoint stays up though it failed. The next wait is no longer for that.
func (b *Breaker) Reset() {
	b.failures.Store(0)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate = mean{}
	b.attempts, b.last = max(b.attempts-1, 0), b.before
}

func (b *Breaker) wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before, b.last = b.last, max(cmp.Or(b.policy.Backoff, defaultBackoff).Next(b.attempts, b.last), 1) // 0 would say that it stays up
	b.attempts++
	return b.last
}

// mean is the exponentially weighted rate of success.
type mean struct {
	value    float64
	requests int64
	began    int64
	at       int64
}

// add learns the outcome of a request, and reports whether enough was seen and the rate is too low.
func (m *mean) add(p *Policy, failed bool, nowNs int64) bool {
	x := 1.0
	if failed {
		x = 0
	}
	m.requests++
	switch elapsed := nowNs - m.at; {
	case m.requests == 1:
		m.value, m.began = x, nowNs
	case p.Kind == SuccessRate:
		m.mix(x, math.Exp(-1/float64(p.Requests)))
	case elapsed > 0:
		m.mix(x, math.Exp(-float64(elapsed)/float64(p.Window)))
	}
	m.at = max(m.at, nowNs)
	if p.Kind == SuccessRate {
		return m.requests >= int64(p.Requests) && m.value < p.Rate
	}
	return m.requests >= minRequests && nowNs-m.began >= int64(p.Window) && m.value < p.Rate
}

func (m *mean) mix(x, w float64) { m.value = m.value*w + x*(1-w) }
