package accrual

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience/backoff"
)

const second = int64(time.Second)

func TestConsecutive(t *testing.T) {
	b := Policy{Failures: 3, Backoff: backoff.Backoff{Kind: backoff.Constant, Min: time.Second}}.New()
	for i, failed := range []bool{true, true, false, true, true} {
		if d := b.Record(failed, 0); d != 0 {
			t.Errorf("request %d: left alone for %s", i, d)
		}
	}
	if d := b.Record(true, 0); d != time.Second {
		t.Errorf("after three in a row: %s", d)
	}
	if d := b.Probed(true); d != time.Second {
		t.Errorf("after a probe that failed: %s", d)
	}
	if d := b.Probed(false); d != 0 {
		t.Errorf("after a probe that succeeded: %s", d)
	}
	for range 2 {
		if d := b.Record(true, 0); d != 0 {
			t.Errorf("failures of before count: %s", d)
		}
	}
	b.Reset()
	for i := range 3 {
		if d := b.Record(true, 0); (d != 0) != (i == 2) {
			t.Errorf("failure %d after Reset: %s", i, d)
		}
	}
	for range DefaultFailures - 1 {
		b = Policy{}.New()
		b.Record(true, 0)
	}
}

// The rates follow a model that keeps every request, over random outcomes.
func TestRates(t *testing.T) {
	for name, p := range map[string]Policy{
		"requests": {Kind: SuccessRate, Rate: 0.6, Requests: 20},
		"window":   {Kind: SuccessRateWindowed, Rate: 0.6, Window: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(5, 6))
			for range 200 {
				b := p.New()
				at, began, value, acted := int64(0), int64(0), 0.0, false
				share := random.Float64()
				for i := range 200 {
					before := at
					at += random.Int64N(second / 2)
					failed := random.Float64() > share
					x := 1.0
					if failed {
						x = 0
					}
					w := math.Exp(-1 / float64(p.Requests))
					if p.Kind == SuccessRateWindowed {
						w = math.Exp(-float64(at-before) / float64(p.Window))
					}
					if i == 0 {
						value, began = x, at
					} else {
						value = value*w + x*(1-w)
					}
					enough := i+1 >= p.Requests
					if p.Kind == SuccessRateWindowed {
						enough = i+1 >= minRequests && at-began >= int64(p.Window)
					}
					want := failed && enough && value < p.Rate
					if got := b.Record(failed, at) > 0; got != want {
						t.Fatalf("request %d, rate %.3f: acted %t, want %t", i, value, got, want)
					}
					acted = acted || want
				}
				if !acted && share < 0.3 {
					t.Error("a rate far too low was let be")
				}
			}
		})
	}
}

// A success alone takes no endpoint down, however low the rate.
func TestRateActsOnFailures(t *testing.T) {
	b := Policy{Kind: SuccessRate, Rate: 0.9, Requests: 2}.New()
	if b.Record(true, 0) != 0 || b.Record(false, 0) != 0 {
		t.Error("acted too early, or on a success")
	}
	if b.Record(true, 0) == 0 {
		t.Error("did not act")
	}
}

func TestBackoff(t *testing.T) {
	for range 1000 {
		b := Policy{Failures: 1}.New()
		want := []struct{ low, high time.Duration }{
			{5, 5}, {5, 10}, {10, 20}, {20, 40}, {40, 80}, {80, 160}, {160, 300}, {300, 300}, {300, 300},
		}
		for i, w := range want {
			d := b.Probed(true)
			if d < w.low*time.Second || d > w.high*time.Second {
				t.Fatalf("default, wait %d: %s, want %d to %d s", i, d, w.low, w.high)
			}
		}
		b.Probed(false)
		if d := b.Record(true, 0); d != 5*time.Second {
			t.Fatalf("after a success: %s", d)
		}
		b = Policy{Failures: 1, Backoff: backoff.Backoff{Kind: backoff.Decorrelated, Min: time.Second, Max: 20 * time.Second}}.New()
		last := time.Duration(0)
		for i := range 10 {
			d := b.Probed(true)
			low, high := time.Second, min(3*last, 20*time.Second)
			if i == 0 {
				high = low
			}
			if d < low || d > high {
				t.Fatalf("jittered, wait %d: %s, want %s to %s", i, d, low, high)
			}
			last = d
		}
	}
	b := Policy{Failures: 1, Backoff: backoff.Backoff{Kind: backoff.Constant}}.New()
	for range 3 {
		if d := b.Probed(true); d != 1 {
			t.Errorf("constant 0 ms: %s, want as little as there is", d)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	for name, p := range map[string]Policy{"consecutive": {}, "successRate": {Kind: SuccessRate, Rate: 0.1, Requests: 100}} {
		b.Run(name, func(b *testing.B) {
			breaker := p.New()
			b.ReportAllocs()
			at := int64(0)
			for b.Loop() {
				at += 1000
				breaker.Record(false, at)
			}
		})
	}
}
