package telemetry

import (
	"math/bits"
	"runtime"
	"sync/atomic"
)

const (
	// maxShards bounds the memory of one contended metric.
	maxShards = 16
	// promoteAfter is the number of lost races after which a metric is spread over shards. Low enough that a busy server's
	// counter is spread within its first milliseconds, high enough that one chance collision costs no memory.
	promoteAfter = 64
)

// Counter counts up and never down. It is one word until writers on different cores are seen to collide, and is then spread
// over padded cells: a thousand quiet clients cost 24 bytes a counter, a busy router's counter costs no cache misses.
type Counter struct {
	n     atomic.Uint64
	lost  atomic.Uint32
	cells atomic.Pointer[[]cell]
}

// cell fills a cache line, so that neighbours do not invalidate each other.
type cell struct {
	n atomic.Uint64
	_ [56]byte
}

// Incr adds one. The shard is any number that tends to differ between cores, such as a connection's number.
func (c *Counter) Incr(shard uint32) { c.Add(shard, 1) }

// Add adds n. It does not block, spin or allocate, except for the one allocation that spreads a contended counter.
func (c *Counter) Add(shard uint32, n uint64) {
	if cells := c.cells.Load(); cells != nil {
		(*cells)[shard&uint32(len(*cells)-1)].n.Add(n)
		return
	}
	old := c.n.Load()
	if c.n.CompareAndSwap(old, old+n) {
		return
	}
	c.n.Add(n)
	if c.lost.Add(1) >= promoteAfter {
		cells := make([]cell, shardCount())
		c.cells.CompareAndSwap(nil, &cells)
	}
}

// Value returns the sum of all additions that returned before the call, and perhaps some that are under way.
func (c *Counter) Value() uint64 {
	sum := c.n.Load()
	if cells := c.cells.Load(); cells != nil {
		for i := range *cells {
			sum += (*cells)[i].n.Load()
		}
	}
	return sum
}

// shardCount is the power of two at or above twice the number of cores in use, between 2 and maxShards.
func shardCount() int {
	n := 1 << bits.Len(uint(2*runtime.GOMAXPROCS(0)-1))
	return min(max(n, 2), maxShards)
}
