// Package backoff says how long to wait between attempts, as Linkerd's backoffs do.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Kind is how waits grow.
type Kind uint8

const (
	// None is no wait.
	None Kind = iota
	// Constant is always Min.
	Constant
	// EqualJittered is Min first, then a random time from Min to twice that, from there to twice that, and so on, up to Max.
	EqualJittered
	// Decorrelated is Min first, then a random time from Min to three times the last, up to Max (Linkerd's kind jittered).
	Decorrelated
)

// Backoff is a series of waits. Its zero value waits for nothing.
type Backoff struct {
	Kind Kind
	// Min and Max bound the waits; None has neither, Constant no Max.
	Min, Max time.Duration
}

// Next returns the wait after so many attempts, of which the last one waited for last.
func (b Backoff) Next(attempts int, last time.Duration) time.Duration {
	switch {
	case b.Kind == None:
		return 0
	case attempts == 0 || b.Kind == Constant:
		return b.Min
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
		return low
	}
	return low + rand.N(high-low)
}
