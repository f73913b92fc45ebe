package accrual

import (
	"math/rand/v2"
	"time"
)

// BackoffKind is how waits grow.
type BackoffKind uint8

const (
	// EqualJittered is Min first, then a random time from Min to twice that, from there to twice that, and so on, up to Max.
	EqualJittered BackoffKind = iota
	// Constant is always Min.
	Constant
	// Decorrelated is Min first, then a random time from Min to three times the last, up to Max (Linkerd's kind jittered).
	Decorrelated
)

// Defaults of a Backoff, as in Linkerd.
const (
	DefaultMin = 5 * time.Second
	DefaultMax = 300 * time.Second
)

// Backoff is for how long an endpoint is left alone. Its zero value is Linkerd's default.
type Backoff struct {
	Kind BackoffKind
	// Min and Max are 0 for the defaults of EqualJittered; Constant has no Max.
	Min, Max time.Duration
}

// next returns a wait after so many attempts, of which the last one waited for last. It is at least a nanosecond.
func (b Backoff) next(attempts int, last time.Duration) time.Duration {
	if b.Kind == EqualJittered && b.Min == 0 {
		b.Min, b.Max = DefaultMin, DefaultMax
	}
	if attempts == 0 || b.Kind == Constant {
		return max(b.Min, 1)
	}
	low, high := b.Min, 3*last
	if b.Kind == EqualJittered {
		low, high = b.Min, b.Max
		for range attempts - 1 {
			if low *= 2; low >= b.Max {
				break
			}
		}
		high = 2 * low
	}
	low, high = min(low, b.Max), min(high, b.Max)
	if high <= low {
		return max(low, 1)
	}
	return low + rand.N(high-low)
}
