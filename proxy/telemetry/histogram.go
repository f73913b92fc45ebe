package telemetry

import (
	"math"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The layout of buckets: below 32 one bucket per value, above it 32 buckets of equal width per power of two. A value and the
// middle of its bucket differ by at most 1/64 of the value (1.6 %). Values from 2^42 (73 minutes in nanoseconds, 4 TiB in
// bytes) share the last bucket; sum and maximum stay exact.
const (
	subBits    = 5
	subCount   = 1 << subBits
	maxBits    = 42
	chunkCount = maxBits - subBits + 1
	foldAt     = 1 << 31
	noMinimum  = math.MaxUint64
)

// Histogram counts whole, non-negative numbers in log-linear buckets.
//
// The unit follows from the name. A name that ends in _ms, _us or _duration (milliseconds, as in Linkerd) holds times: they
// are added in nanoseconds and reported in the name's unit. Every other name is added and reported as it is.
//
// Percentiles are those of the last full window (Tree.Run closes one every minute, as Linkerd does) and differ from the exact
// nearest-rank percentile by at most 1.6 %. Totals count from the histogram's creation.
//
// An unused histogram takes under 200 bytes, a used one 500 more and 128 for each power of two it has seen.
// Writers that collide are spread over shards, as in Counter.
type Histogram struct {
	unit   float64 // what is added divided by unit is what is reported
	bounds *bounds

	first atomic.Pointer[window]
	lost  atomic.Uint32
	more  atomic.Pointer[[]*window]

	mu     sync.Mutex // readers only
	rolled bool       // a window was closed
	last   Summary    // of the window closed last, or of the whole past if none was
	counts []uint64   // per bound and one above the last, of all that was folded
	sum    uint64
}

// window is where adds land until they are folded into the totals.
type window struct {
	sum, min, max atomic.Uint64
	chunks        [chunkCount]atomic.Pointer[chunk]
	_             [40]byte // whole cache lines, so that shards do not share one
}

// chunk holds the buckets of one power of two.
type chunk [subCount]atomic.Uint32

func newWindow() *window {
	w := &window{}
	w.min.Store(noMinimum)
	return w
}

func (t *Tree) newHistogram(name string) *Histogram {
	if unit := unitOf(name); unit != 1 {
		return &Histogram{unit: unit, bounds: &t.durations}
	}
	return &Histogram{unit: 1, bounds: &t.numbers}
}

// unitOf returns the number of nanoseconds in the unit a name declares, 1 for none.
func unitOf(name string) float64 {
	switch unitSuffix(name) {
	case "_ms", "_duration":
		return float64(time.Millisecond)
	case "_us":
		return float64(time.Microsecond)
	}
	return 1
}

// unitSuffix returns the end of a name that declares its unit, if it has one.
func unitSuffix(name string) string {
	for _, suffix := range []string{"_ms", "_us", "_duration"} {
		if strings.HasSuffix(name, suffix) {
			return suffix
		}
	}
	return ""
}

// Add counts v: nanoseconds if the histogram holds times. A negative v counts as 0. The shard is as in Counter.Incr. Add takes
// no lock; it allocates only when the first value of a power of two arrives.
func (h *Histogram) Add(shard uint32, v int64) {
	w := h.window(shard)
	u := uint64(max(v, 0))
	i, slot := bucketOf(u)
	c := w.chunks[i].Load()
	if c == nil {
		w.chunks[i].CompareAndSwap(nil, new(chunk))
		c = w.chunks[i].Load()
	}
	n := c[slot].Add(1)
	if old := w.sum.Load(); !w.sum.CompareAndSwap(old, old+u) {
		w.sum.Add(u)
		if h.lost.Add(1) >= promoteAfter && h.more.Load() == nil {
			h.spread(w)
		}
	}
	for m := w.min.Load(); u < m && !w.min.CompareAndSwap(m, u); m = w.min.Load() {
	}
	for m := w.max.Load(); u > m && !w.max.CompareAndSwap(m, u); m = w.max.Load() {
	}
	if n >= foldAt {
		h.relieve()
	}
}

// AddDuration counts d in a histogram that holds times.
func (h *Histogram) AddDuration(shard uint32, d time.Duration) { h.Add(shard, int64(d)) }

func (h *Histogram) window(shard uint32) *window {
	if more := h.more.Load(); more != nil {
		return (*more)[shard&uint32(len(*more)-1)]
	}
	if w := h.first.Load(); w != nil {
		return w
	}
	h.first.CompareAndSwap(nil, newWindow())
	return h.first.Load()
}

// spread gives contending writers a window each. The first window stays one of them.
func (h *Histogram) spread(first *window) {
	windows := make([]*window, shardCount())
	windows[0] = first
	for i := 1; i < len(windows); i++ {
		windows[i] = newWindow()
	}
	h.more.CompareAndSwap(nil, &windows)
}

func bucketOf(v uint64) (chunkIndex, slot int) {
	if v < subCount {
		return 0, int(v)
	}
	v = min(v, 1<<maxBits-1)
	shift := bits.Len64(v) - 1 - subBits
	return shift + 1, int(v>>shift) & (subCount - 1)
}

// middle returns the value a bucket stands for.
func middle(chunkIndex, slot int) uint64 {
	if chunkIndex == 0 {
		return uint64(slot)
	}
	shift := chunkIndex - 1
	low := uint64(subCount+slot) << shift
	return low + (uint64(1)<<shift-1)/2
}
