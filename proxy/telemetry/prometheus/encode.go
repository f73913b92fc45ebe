package prometheus

import (
	"math"

	dto "github.com/prometheus/client_model/go"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// arena lends the pieces of one family's metrics and takes them all back for the next family. Without it a scrape of a large
// tree makes more garbage than the tree itself takes.
type arena struct {
	metrics    slab[dto.Metric]
	counters   slab[dto.Counter]
	gauges     slab[dto.Gauge]
	histograms slab[dto.Histogram]
	buckets    slab[dto.Bucket]
	floats     slab[float64]
	counts     slab[uint64]
	all        []*dto.Metric
	pointers   []*dto.Bucket // of all histograms of the family, one after the other
}

func (a *arena) reset() {
	a.metrics.used, a.counters.used, a.gauges.used, a.histograms.used = 0, 0, 0, 0
	a.buckets.used, a.floats.used, a.counts.used = 0, 0, 0
	a.all, a.pointers = a.all[:0], a.pointers[:0]
}

// slab lends elements that do not move. An element still holds what it was last used for.
type slab[T any] struct {
	chunks [][]T
	used   int
}

const slabChunk = 256

func (s *slab[T]) next() *T {
	chunk, at := s.used/slabChunk, s.used%slabChunk
	if chunk == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, slabChunk))
	}
	s.used++
	return &s.chunks[chunk][at]
}

func (a *arena) float(v float64) *float64 {
	p := a.floats.next()
	*p = v
	return p
}

func (a *arena) count(v uint64) *uint64 {
	p := a.counts.next()
	*p = v
	return p
}

// encode reads the members' values. The result is good until the arena is reset.
func (f *family) encode(a *arena) *dto.MetricFamily {
	for _, member := range f.members {
		m := a.metrics.next()
		m.Label, m.Counter, m.Gauge, m.Histogram = member.labels, nil, nil, nil
		switch v := member.value.(type) {
		case *telemetry.Counter:
			m.Counter = a.counters.next()
			m.Counter.Value = a.float(float64(v.Value()) / f.scale)
		case *telemetry.Gauge:
			m.Gauge = a.gauge(float64(v.Value()) / f.scale)
		case *telemetry.GaugeFunc:
			m.Gauge = a.gauge(v.Value() / f.scale)
		case *telemetry.Histogram:
			m.Histogram = a.histogram(v.Totals())
		}
		a.all = append(a.all, m)
	}
	return &dto.MetricFamily{Name: &f.name, Help: &f.help, Type: &f.kind, Metric: a.all}
}

func (a *arena) gauge(v float64) *dto.Gauge {
	g := a.gauges.next()
	g.Value = a.float(v)
	return g
}

// histogram renders a classic histogram: cumulative buckets up to +Inf.
func (a *arena) histogram(t telemetry.Totals) *dto.Histogram {
	from := len(a.pointers)
	var sum uint64
	for i, n := range t.Counts {
		sum += n
		b := a.buckets.next()
		b.CumulativeCount = a.count(sum)
		if i < len(t.Bounds) {
			b.UpperBound = &t.Bounds[i]
		} else {
			b.UpperBound = a.float(math.Inf(1))
		}
		a.pointers = append(a.pointers, b)
	}
	h := a.histograms.next()
	h.SampleCount, h.SampleSum = a.count(t.Count), a.float(t.Sum)
	h.Bucket = a.pointers[from:len(a.pointers):len(a.pointers)]
	return h
}
