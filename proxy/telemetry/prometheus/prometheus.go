// Package prometheus renders the metric tree, the Go runtime and the process in the Prometheus text format. It keeps no state
// of its own and is reached from the admin port alone: nothing of it runs in a request.
package prometheus

import (
	"net/http"
	"slices"
	"strings"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// Options of an Exporter, the keys of Linkerd's io.l5d.prometheus telemeter.
type Options struct {
	// Prefix is put before the name of every metric of the tree; none by default.
	Prefix string
}

// Exporter is a handler for /admin/metrics/prometheus, and a Gatherer of the same metrics.
type Exporter struct {
	tree    *telemetry.Tree
	prefix  string
	runtime *client.Registry
	errors  *telemetry.Counter
	dropped *telemetry.Gauge
}

var (
	_ http.Handler    = (*Exporter)(nil)
	_ client.Gatherer = (*Exporter)(nil)
)

// New returns an exporter of the tree. It adds telemetry/prometheus/errors (scrapes that were cut short or incomplete) and
// telemetry/prometheus/dropped (metrics of the last scrape whose rendered name another one has) to it.
func New(tree *telemetry.Tree, o Options) *Exporter {
	registry := client.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	own := tree.Scope("telemetry", "prometheus")
	return &Exporter{
		tree: tree, prefix: sanitize(o.Prefix), runtime: registry,
		errors: own.Counter("errors"), dropped: own.Gauge("dropped"),
	}
}

// ServeHTTP writes one family after the other, so that a scrape of a large tree holds one family in memory and not all.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)
	w.Header().Set("Content-Type", string(format))
	if r.Method == http.MethodHead {
		return
	}
	enc := expfmt.NewEncoder(w, format)
	runtime, err := e.runtime.Gather()
	if err != nil {
		e.errors.Incr(0) // what could be gathered is still of use
	}
	for _, f := range runtime {
		if err := enc.Encode(f); err != nil {
			e.errors.Incr(0)
			return
		}
	}
	var a arena
	for _, f := range e.families() {
		a.reset()
		if err := enc.Encode(f.encode(&a)); err != nil {
			e.errors.Incr(0)
			return
		}
	}
}

// Gather implements client_golang's Gatherer.
func (e *Exporter) Gather() ([]*dto.MetricFamily, error) {
	out, err := e.runtime.Gather()
	for _, f := range e.families() {
		out = append(out, f.encode(new(arena)))
	}
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, err
}

// family collects the metrics that share a rendered name.
type family struct {
	name, help string
	kind       dto.MetricType
	scale      float64
	members    []member
}

type member struct {
	labels []*dto.LabelPair
	value  any
}

// families sorts the tree's metrics into families by name, with the members in the tree's order.
func (e *Exporter) families() []*family {
	known := map[name]*family{}
	byName := map[string]*family{}
	var where place
	var dropped int64
	e.tree.Walk(func(m telemetry.Metric) {
		if !where.is(m.Scope) {
			where = newPlace(m.Scope)
		}
		n, labels := where.resolve(m)
		f, ok := known[n]
		if !ok {
			f = n.render(e.prefix)
			if byName[f.name] != nil {
				f = nil
			} else {
				byName[f.name] = f
			}
			known[n] = f
		}
		if f == nil {
			dropped++
			return
		}
		f.members = append(f.members, member{labels, m.Value})
	})
	e.dropped.Set(dropped)
	out := make([]*family, 0, len(byName))
	for _, f := range byName {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *family) int { return strings.Compare(a.name, b.name) })
	return out
}

// inSeconds is how many of a name's unit make a second, and the name without the unit; 0 if the name has no unit of time.
func inSeconds(name string, histogram bool) (string, float64) {
	if base, ok := strings.CutSuffix(name, "_ms"); ok {
		return base, float64(time.Second / time.Millisecond)
	}
	if base, ok := strings.CutSuffix(name, "_us"); ok {
		return base, float64(time.Second / time.Microsecond)
	}
	if histogram && strings.HasSuffix(name, "_duration") {
		return name, float64(time.Second / time.Millisecond)
	}
	return name, 0
}
