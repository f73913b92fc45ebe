package telemetry

import (
	"sync"
	"testing"
)

func TestCounterLosesNothingUnderContention(t *testing.T) {
	const writers, each = 4, 500_000 // long enough to overlap on any machine with two cores
	var c Counter
	var wg sync.WaitGroup
	for i := range uint32(writers) {
		wg.Go(func() {
			for range each {
				c.Incr(i)
				c.Add(i, 2)
			}
		})
	}
	wg.Wait()
	if got := c.Value(); got != writers*each*3 {
		t.Errorf("Value() = %d, want %d", got, writers*each*3)
	}
}

func TestCounterCountsAcrossPromotion(t *testing.T) {
	var c Counter
	c.Add(0, 5)
	cells := make([]cell, 4)
	c.cells.Store(&cells) // as contention does
	for shard := range uint32(9) {
		c.Incr(shard)
	}
	if got := c.Value(); got != 14 {
		t.Errorf("Value() = %d, want 14", got)
	}
	if cells[0].n.Load() != 3 || cells[3].n.Load() != 2 {
		t.Errorf("shards 0 and 3 hold %d and %d, want 3 and 2", cells[0].n.Load(), cells[3].n.Load())
	}
}

func TestShardCountIsAPowerOfTwoWithinBounds(t *testing.T) {
	if n := shardCount(); n < 2 || n > maxShards || n&(n-1) != 0 {
		t.Errorf("shardCount() = %d", n)
	}
}

func TestGauge(t *testing.T) {
	var g Gauge
	g.Set(5)
	g.Add(-7)
	if g.Value() != -2 {
		t.Errorf("Value() = %d, want -2", g.Value())
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	tree := New()
	c, g, h := tree.Counter("c"), tree.Gauge("g"), tree.Histogram("h_ms")
	h.Add(0, 1_000_000)
	if n := testing.AllocsPerRun(1000, func() { c.Incr(1); g.Add(1); h.Add(1, 1_000_000) }); n != 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}

func BenchmarkCounterIncr(b *testing.B) {
	var c Counter
	b.ReportAllocs()
	for b.Loop() {
		c.Incr(1)
	}
}

func BenchmarkCounterIncrParallel(b *testing.B) {
	var c Counter
	var shard Counter
	b.RunParallel(func(pb *testing.PB) {
		shard.Incr(0)
		s := uint32(shard.Value())
		for pb.Next() {
			c.Incr(s)
		}
	})
}

func BenchmarkHistogramAdd(b *testing.B) {
	h := New().Histogram("request_latency_ms")
	b.ReportAllocs()
	v := int64(1)
	for b.Loop() {
		v = v*1664525 + 1013904223
		h.Add(1, v&0xfffffff)
	}
}

func BenchmarkHistogramAddParallel(b *testing.B) {
	h := New().Histogram("request_latency_ms")
	var shard Counter
	b.RunParallel(func(pb *testing.PB) {
		shard.Incr(0)
		s := uint32(shard.Value())
		v := int64(s)
		for pb.Next() {
			v = v*1664525 + 1013904223
			h.Add(s, v&0xfffffff)
		}
	})
}

func BenchmarkLookUpOfAFailureReason(b *testing.B) {
	scope := New().Scope("rt", "out", "service", "svc/web")
	b.ReportAllocs()
	for b.Loop() {
		scope.Scope("failures").Counter("ConnectTimeout").Incr(0)
	}
}
