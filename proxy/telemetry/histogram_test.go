package telemetry

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentilesAreWithinTheDocumentedErrorOfTheExactOnes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	distributions := map[string]func() float64{
		"uniform":   func() float64 { return rng.Float64() * 1e9 },
		"lognormal": func() float64 { return math.Exp(rng.NormFloat64()*1.5 + 14) },
		"bimodal": func() float64 {
			if rng.IntN(100) < 98 {
				return 2e6 + rng.Float64()*1e5
			}
			return 3e9 + rng.Float64()*1e9
		},
		"small":    func() float64 { return float64(rng.IntN(30)) },
		"constant": func() float64 { return 1_234_567 },
	}
	for name, next := range distributions {
		for _, n := range []int{1, 2, 10, 999, 100_000} {
			h := New().Histogram("x")
			exact := make([]float64, n)
			var sum float64
			for i := range exact {
				v := int64(next())
				exact[i], sum = float64(v), sum+float64(v)
				h.Add(uint32(i), v)
			}
			slices.Sort(exact)
			s := h.Summary()
			if s.Count != uint64(n) || s.Sum != sum ||
				s.Min != exact[0] || s.Max != exact[n-1] || math.Abs(s.Avg-sum/float64(n)) > 1e-6*s.Avg {
				t.Errorf("%s/%d: %+v, want count %d sum %v min %v max %v", name, n, s, n, sum, exact[0], exact[n-1])
			}
			got := []float64{s.P50, s.P90, s.P95, s.P99, s.P9990, s.P9999}
			for i, q := range []float64{0.5, 0.9, 0.95, 0.99, 0.999, 0.9999} {
				want := exact[max(1, int(math.Ceil(q*float64(n))))-1]
				if math.Abs(got[i]-want) > want/64+1e-9 {
					t.Errorf("%s/%d: p%v = %v, want %v within 1/64", name, n, q*100, got[i], want)
				}
			}
		}
	}
}

func TestEveryValueIsNearTheMiddleOfItsBucket(t *testing.T) {
	for _, v := range []uint64{0, 1, 31, 32, 33, 63, 64, 65, 1000, 1 << 20, 1<<20 + 12345, 1<<42 - 1} {
		chunk, slot := bucketOf(v)
		if m := middle(chunk, slot); math.Abs(float64(m)-float64(v)) > float64(v)/64 {
			t.Errorf("middle of the bucket of %d is %d", v, m)
		}
	}
}

func TestOutOfRangeValues(t *testing.T) {
	h := New().Histogram("x")
	h.Add(0, -5)
	h.Add(0, math.MaxInt64/4)
	s := h.Summary()
	if s.Count != 2 || s.Min != 0 || s.Max != math.MaxInt64/4 || s.P50 != 0 {
		t.Errorf("Summary() = %+v", s)
	}
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct {
		name      string
		shown     float64 // what 1.5 ms reads as
		totalSum  float64
		wantTimes bool
	}{
		{"request_latency_ms", 1.5, 0.0015, true},
		{"handletime_us", 1500, 0.0015, true},
		{"connection_duration", 1.5, 0.0015, true},
		{"connection_requests", 1_500_000, 1_500_000, false},
	} {
		h := New().Histogram(tt.name)
		h.AddDuration(0, 1500*time.Microsecond)
		s, total := h.Summary(), h.Totals()
		if s.P99 != tt.shown || s.Sum != tt.shown || total.Sum != tt.totalSum || h.IsDuration() != tt.wantTimes {
			t.Errorf("%s: summary %+v, totals sum %v, times %v", tt.name, s, total.Sum, h.IsDuration())
		}
	}
}

func TestTotalsCountByBoundAcrossWindows(t *testing.T) {
	tree, err := NewTree(Options{CountBuckets: []int64{0, 10, 20}, DurationBuckets: []time.Duration{time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	h := tree.Histogram("n")
	for _, v := range []int64{0, 1, 10, 11, 20, 21, 5000} {
		h.Add(0, v)
	}
	want := Totals{Bounds: []float64{0, 10, 20}, Counts: []uint64{1, 2, 2, 2}, Count: 7, Sum: 5063}
	for window := range 3 {
		if diff := cmp.Diff(want, h.Totals()); diff != "" {
			t.Errorf("after %d windows: %s", window, diff)
		}
		tree.roll()
	}
	h.Add(0, 15)
	want.Counts, want.Count, want.Sum = []uint64{1, 2, 3, 2}, 8, 5078
	if diff := cmp.Diff(want, h.Totals()); diff != "" {
		t.Error(diff)
	}
}

func TestRunClosesAWindowEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := New()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); tree.Run(ctx) }()
		h := tree.Histogram("x_ms")
		h.AddDuration(0, 10*time.Millisecond)
		if s := h.Summary(); s.Count != 1 || s.Max != 10 {
			t.Errorf("before the first window closed: %+v", s)
		}
		time.Sleep(Window + time.Second) // the bubble's clock
		synctest.Wait()
		h.AddDuration(0, 30*time.Millisecond)
		if s := h.Summary(); s.Count != 1 || s.Max != 10 {
			t.Errorf("in the second window: %+v, want the first one", s)
		}
		time.Sleep(Window) // the bubble's clock
		synctest.Wait()
		if s := h.Summary(); s.Count != 1 || s.Max != 30 {
			t.Errorf("in the third window: %+v, want the second one", s)
		}
		time.Sleep(Window) // the bubble's clock
		synctest.Wait()
		if s := h.Summary(); s != (Summary{}) {
			t.Errorf("after an idle window: %+v", s)
		}
		cancel()
		<-done
	})
}

func TestNothingIsLostWhileWindowsClose(t *testing.T) {
	const writers, each = 4, 300_000
	tree := New()
	h := tree.Histogram("x")
	var wg sync.WaitGroup
	for i := range uint32(writers) {
		wg.Go(func() {
			for v := range int64(each) {
				h.Add(i, v%3) // few buckets, so that writers and windows meet in them
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	var last uint64
	for running := true; running; {
		select {
		case <-finished:
			running = false
		default:
		}
		tree.roll()
		total := h.Totals()
		if total.Count < last {
			t.Fatalf("the total count went from %d down to %d", last, total.Count)
		}
		last = total.Count
	}
	want := float64(writers * each)
	if total := h.Totals(); total.Count != writers*each || total.Sum != want {
		t.Errorf("totals: count %d sum %v, want %d and %v", total.Count, total.Sum, writers*each, want)
	}
}

func TestSpreadWindowsAddUp(t *testing.T) {
	tree := New()
	h := tree.Histogram("x")
	h.Add(0, 100)
	h.spread(h.first.Load()) // as contention does
	for shard := range uint32(7) {
		h.Add(shard, int64(shard))
	}
	if s := h.Summary(); s.Count != 8 || s.Sum != 121 || s.Min != 0 || s.Max != 100 {
		t.Errorf("Summary() = %+v", s)
	}
	tree.roll()
	if total := h.Totals(); total.Count != 8 || total.Sum != 121 {
		t.Errorf("Totals() = %+v", total)
	}
}

func TestABucketCannotOverflow(t *testing.T) {
	h := New().Histogram("x")
	h.Add(0, 7)
	h.first.Load().chunks[0].Load()[7].Store(math.MaxUint32 - 1)
	h.Add(0, 7)
	h.Add(0, 7)
	if total := h.Totals(); total.Count != math.MaxUint32+1 {
		t.Errorf("count = %d, want %d", total.Count, uint64(math.MaxUint32)+1)
	}
}

func TestBadBucketsAreRefused(t *testing.T) {
	for _, o := range []Options{
		{CountBuckets: []int64{1, 1}},
		{CountBuckets: []int64{-1}},
		{DurationBuckets: []time.Duration{2, 1}},
		{CountBuckets: make([]int64, 65)},
	} {
		if _, err := NewTree(o); err == nil {
			t.Errorf("NewTree(%+v) took it", o)
		}
	}
}
