package prometheus

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// labelOf names the label that takes its value from the step after the given one.
func labelOf(step string) string {
	switch step {
	case "rt", "server", "service", "client", "namer", "interpreter":
		return step
	case "bindcache":
		return "cache"
	}
	return ""
}

// A breakdown is a step below which names are values: failures/ConnectTimeout. It renders under a name of its own, because a
// total and its parts in one family would be added up twice.
type breakdown struct{ name, label string }

func breakdownOf(step, first string) (breakdown, bool) {
	switch step {
	case "status":
		if len(first) == 3 && strings.HasSuffix(first, "XX") {
			return breakdown{"response_classes", "class"}, true
		}
		return breakdown{"responses", "code"}, true
	case "failures":
		return breakdown{"failures_by_reason", "reason"}, true
	case "refused":
		return breakdown{"refused_by_reason", "reason"}, true
	case "sourcedfailures":
		return breakdown{"failures_by_source", "source"}, true
	case "algorithm":
		return breakdown{"algorithm", "algorithm"}, true
	}
	return breakdown{}, false
}

// place is what the metrics of one scope have in common, worked out once for all of them.
type place struct {
	scope  []string
	name   string // the steps that are part of the name
	labels []*dto.LabelPair
	parts  string // the step of a breakdown, if the scope lies below one
	above  string // then: the values above the metric's own name
}

// is reports whether p is the place of a scope, told by the slice, which Walk shares among the metrics of a place.
func (p *place) is(scope []string) bool {
	return p.scope != nil && len(p.scope) == len(scope) && (len(scope) == 0 || &p.scope[0] == &scope[0])
}

func newPlace(scope []string) place {
	p := place{scope: scope}
	if scope == nil {
		p.scope = []string{}
	}
	var steps []string
	for i := 0; i < len(scope); i++ {
		if b, ok := breakdownOf(scope[i], ""); ok && !p.has(b.label) {
			p.parts, p.above = scope[i], strings.Join(scope[i+1:], ":")
			break
		}
		steps = append(steps, scope[i])
		if label := labelOf(scope[i]); label != "" && i+1 < len(scope) && !p.has(label) {
			p.labels = append(p.labels, pair(label, scope[i+1]))
			i++
		}
	}
	p.name = strings.Join(steps, "/")
	sortLabels(p.labels)
	return p
}

func (p *place) has(label string) bool {
	return slices.ContainsFunc(p.labels, func(l *dto.LabelPair) bool { return l.GetName() == label })
}

func pair(name, value string) *dto.LabelPair {
	value = strings.ToValidUTF8(value, "\uFFFD")
	return &dto.LabelPair{Name: &name, Value: &value}
}

func sortLabels(labels []*dto.LabelPair) {
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
}

// name is what metrics of one family have in common in the tree.
type name struct {
	steps, leaf string
	kind        dto.MetricType
}

// resolve returns the name of a metric of this place, and its labels.
func (p *place) resolve(m telemetry.Metric) (name, []*dto.LabelPair) {
	n := name{steps: p.name, leaf: m.Name, kind: kindOf(m.Value)}
	if p.parts == "" {
		return n, p.labels
	}
	value := m.Name
	if p.above != "" {
		value = p.above + ":" + value
	}
	b, _ := breakdownOf(p.parts, value)
	n.leaf = b.name
	labels := append(slices.Clone(p.labels), pair(b.label, value))
	sortLabels(labels)
	return n, labels
}

func (n name) path() string { return strings.TrimPrefix(n.steps+"/"+n.leaf, "/") }

// render returns the family of a name.
func (n name) render(prefix string) *family {
	f := &family{kind: n.kind, scale: 1, help: helpOf(n.steps, n.leaf)}
	if f.help == "" {
		f.help = "Metric " + n.path() + " of the tree."
	}
	base, perSecond := inSeconds(n.path(), n.kind == dto.MetricType_HISTOGRAM)
	if perSecond > 0 {
		f.scale = perSecond
	}
	f.name = prefix + metricName(base, perSecond > 0, n.kind)
	return f
}

// metricName joins the steps by Prometheus's conventions: snake case, base unit, _total on counters and on nothing else.
func metricName(path string, seconds bool, kind dto.MetricType) string {
	name := sanitize(path)
	name = strings.TrimSuffix(name, "_total")
	if seconds {
		name += "_seconds"
	}
	switch kind {
	case dto.MetricType_COUNTER:
		name += "_total"
	case dto.MetricType_GAUGE:
		for _, reserved := range []string{"_count", "_sum", "_bucket", "_info"} {
			if strings.HasSuffix(name, reserved) {
				name += "_value"
			}
		}
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}

func kindOf(value any) dto.MetricType {
	switch value.(type) {
	case *telemetry.Counter:
		return dto.MetricType_COUNTER
	case *telemetry.Histogram:
		return dto.MetricType_HISTOGRAM
	}
	return dto.MetricType_GAUGE
}

// sanitize keeps letters, digits and underscores, lowers capitals (maxEffort becomes max_effort) and joins runs of the rest
// to one underscore.
func sanitize(s string) string {
	var b strings.Builder
	lower := false // the last character was a small letter or digit
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
			lower = true
			continue
		case r >= 'A' && r <= 'Z':
			if lower {
				b.WriteByte('_')
			}
			b.WriteRune(r + 'a' - 'A')
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
		lower = false
	}
	return b.String()
}
