package telemetry

import (
	"math"
	"time"
)

// Summary describes one window of a histogram, in the unit its name declares. All is zero if nothing was added.
type Summary struct {
	Count                            uint64
	Sum, Avg, Min, Max               float64
	P50, P90, P95, P99, P9990, P9999 float64
}

// Totals is what a histogram has counted since its creation, in base units: seconds for times, else as added.
type Totals struct {
	Bounds []float64 // inclusive upper bounds, ascending; shared, not to be changed
	Counts []uint64  // of each bound alone (not cumulative), and last of the values above all bounds
	Count  uint64
	Sum    float64
}

// Summary returns the last full window, or the running one before the first is full. See Tree.Run.
func (h *Histogram) Summary() Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rolled {
		return h.last
	}
	var t tally
	h.collect(&t, false)
	return t.summary(h.unit)
}

// Totals returns the counts since creation; they never go down. A value within 1.6 % of a bound may be counted on the bound's
// other side.
func (h *Histogram) Totals() Totals {
	h.mu.Lock()
	defer h.mu.Unlock()
	var t tally
	h.collect(&t, false)
	counts := make([]uint64, len(h.bounds.raw)+1)
	copy(counts, h.counts)
	t.addTo(counts, h.bounds.raw)
	total := Totals{Bounds: h.bounds.base, Counts: counts, Sum: float64(h.sum + t.sum)}
	if h.IsDuration() {
		total.Sum /= float64(time.Second)
	}
	for _, n := range counts {
		total.Count += n
	}
	return total
}

// IsDuration reports whether the histogram holds times, so that its Totals are in seconds.
func (h *Histogram) IsDuration() bool { return h.unit != 1 }

// roll closes the window: what it counted moves to the totals, its summary becomes the last.
func (h *Histogram) roll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rollLocked()
}

func (h *Histogram) rollLocked() {
	h.rolled = true
	if h.first.Load() == nil {
		return
	}
	var t tally
	h.collect(&t, true)
	h.last = t.summary(h.unit)
	h.sum += t.sum // even without a count: a writer may have been between its bucket and the sum when the last window closed
	if t.count == 0 {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, len(h.bounds.raw)+1)
	}
	t.addTo(h.counts, h.bounds.raw)
}

// relieve closes the window before a 32-bit bucket can overflow, which only a tree without Run comes near. It does not wait for
// a reader that holds the lock: the next add tries again.
func (h *Histogram) relieve() {
	if h.mu.TryLock() {
		h.rollLocked()
		h.mu.Unlock()
	}
}

// tally is the sum of a histogram's windows at one moment.
type tally struct {
	counts               [chunkCount][subCount]uint64
	used                 uint64 // bit i is set if counts[i] holds anything
	count, sum, min, max uint64
}

// collect adds up the windows. With take, each number is moved out of its window in one step, so that none is lost or counted
// twice however many writers are at work.
func (h *Histogram) collect(t *tally, take bool) {
	t.min = noMinimum
	if more := h.more.Load(); more != nil {
		for _, w := range *more {
			w.collect(t, take)
		}
	} else if w := h.first.Load(); w != nil {
		w.collect(t, take)
	}
}

func (w *window) collect(t *tally, take bool) {
	if take {
		t.sum += w.sum.Swap(0)
		t.min = min(t.min, w.min.Swap(noMinimum))
		t.max = max(t.max, w.max.Swap(0))
	} else {
		t.sum += w.sum.Load()
		t.min = min(t.min, w.min.Load())
		t.max = max(t.max, w.max.Load())
	}
	for i := range w.chunks {
		c := w.chunks[i].Load()
		if c == nil {
			continue
		}
		for slot := range c {
			n := c[slot].Load()
			if n == 0 {
				continue
			}
			if take {
				n = c[slot].Swap(0)
			}
			t.counts[i][slot] += uint64(n)
			t.count += uint64(n)
			t.used |= 1 << i
		}
	}
}

// addTo adds each bucket to the first bound that is not below its middle.
func (t *tally) addTo(counts []uint64, bounds []uint64) {
	at := 0
	for i := range t.counts {
		if t.used&(1<<i) == 0 {
			continue
		}
		for slot, n := range t.counts[i] {
			if n == 0 {
				continue
			}
			for at < len(bounds) && middle(i, slot) > bounds[at] {
				at++
			}
			counts[at] += n
		}
	}
}

func (t *tally) summary(unit float64) Summary {
	if t.count == 0 {
		return Summary{}
	}
	s := Summary{
		Count: t.count,
		Sum:   float64(t.sum) / unit,
		Avg:   float64(t.sum) / float64(t.count) / unit,
		Min:   float64(t.min) / unit,
		Max:   float64(t.max) / unit,
	}
	quantiles := [...]struct {
		q   float64
		out *float64
	}{{0.5, &s.P50}, {0.9, &s.P90}, {0.95, &s.P95}, {0.99, &s.P99}, {0.999, &s.P9990}, {0.9999, &s.P9999}}
	next, seen := 0, uint64(0)
	for i := range t.counts {
		if t.used&(1<<i) == 0 {
			continue
		}
		for slot, n := range t.counts[i] {
			seen += n
			for n > 0 && next < len(quantiles) && seen >= t.rank(quantiles[next].q) {
				*quantiles[next].out = float64(t.clamp(middle(i, slot))) / unit
				next++
			}
		}
	}
	return s
}

// rank is the nearest rank of a quantile: the number of values at or below it, at least 1.
func (t *tally) rank(q float64) uint64 {
	return max(1, uint64(math.Ceil(q*float64(t.count))))
}

// clamp keeps a percentile inside what was seen, which makes those of few or equal values exact. A writer between its bucket
// and its extremes can leave min above max for a moment.
func (t *tally) clamp(v uint64) uint64 {
	if t.min > t.max {
		return v
	}
	return min(max(v, t.min), t.max)
}
