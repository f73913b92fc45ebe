package telemetry

import (
	"bufio"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrNoMetrics is returned by WriteJSON if no metric lies under the path asked for.
var ErrNoMetrics = errors.New("no such metrics")

// WriteJSON writes Linkerd's flat metrics.json: one object, sorted, of
//
//	"rt/http/client/#/io.l5d.fs/web/requests": 12
//	"rt/http/client/#/io.l5d.fs/web/request_latency_ms.p99": 4.2
//
// A histogram is its Summary, or .count alone if that is empty. A path narrows it to the metric or place of that flat name; an
// unknown one is ErrNoMetrics, before anything is written. Values JSON cannot hold (NaN, infinity) are left out.
func (t *Tree) WriteJSON(w io.Writer, path string) error {
	lines := t.flat(strings.Trim(path, "/"))
	if len(lines) == 0 {
		return ErrNoMetrics
	}
	out := jsonWriter{w: bufio.NewWriterSize(w, 32<<10), next: "{\n  "}
	for i, l := range lines {
		if i > 0 && lines[i-1].path == l.path {
			continue // "a/b" as one step and as two read the same
		}
		switch v := l.value.(type) {
		case *Counter:
			out.count(l.path, "", v.Value())
		case *Gauge:
			out.number(l.path, "", float64(v.Value()))
		case *GaugeFunc:
			out.number(l.path, "", v.Value())
		case *Histogram:
			out.summary(l.path, v.Summary())
		}
	}
	if out.next == "{\n  " {
		out.w.WriteString("{") // all values were left out
	}
	out.w.WriteString("\n}\n")
	return out.w.Flush()
}

type flatMetric struct {
	path  string
	value any
}

// flat lists the metrics at or below a path by their flat names.
func (t *Tree) flat(under string) []flatMetric {
	metrics := t.list()
	out := make([]flatMetric, 0, len(metrics))
	for _, m := range metrics {
		path := m.Path()
		if rest, ok := strings.CutPrefix(path, under); ok && (under == "" || rest == "" || rest[0] == '/') {
			out = append(out, flatMetric{path, m.Value})
		}
	}
	slices.SortFunc(out, func(a, b flatMetric) int { return strings.Compare(a.path, b.path) })
	return out
}

// jsonWriter leaves errors to bufio.Writer, which keeps the first until Flush.
type jsonWriter struct {
	w    *bufio.Writer
	next string // what separates the next member from the one before
	buf  []byte
}

func (j *jsonWriter) key(path, suffix string) {
	j.w.WriteString(j.next)
	j.next = ",\n  "
	j.buf = appendJSONString(j.buf[:0], path, suffix)
	j.w.Write(j.buf)
	j.w.WriteString(": ")
}

func (j *jsonWriter) count(path, suffix string, v uint64) {
	j.key(path, suffix)
	j.w.Write(strconv.AppendUint(j.buf[:0], v, 10))
}

func (j *jsonWriter) number(path, suffix string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	j.key(path, suffix)
	j.w.Write(strconv.AppendFloat(j.buf[:0], v, 'f', -1, 64))
}

func (j *jsonWriter) summary(path string, s Summary) {
	if s.Count == 0 {
		j.count(path, ".count", 0)
		return
	}
	j.number(path, ".avg", s.Avg)
	j.count(path, ".count", s.Count)
	j.number(path, ".max", s.Max)
	j.number(path, ".min", s.Min)
	j.number(path, ".p50", s.P50)
	j.number(path, ".p90", s.P90)
	j.number(path, ".p95", s.P95)
	j.number(path, ".p99", s.P99)
	j.number(path, ".p9990", s.P9990)
	j.number(path, ".p9999", s.P9999)
	j.number(path, ".sum", s.Sum)
}

// appendJSONString quotes path and suffix as one string. Names come from requests, so they may hold any byte.
func appendJSONString(b []byte, parts ...string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, part := range parts {
		for _, r := range part { // an invalid byte arrives as U+FFFD
			switch {
			case r == '"' || r == '\\':
				b = append(b, '\\', byte(r))
			case r < ' ' || r == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
			default:
				b = utf8.AppendRune(b, r)
			}
		}
	}
	return append(b, '"')
}
