package telemetry

import "strings"

// Metric is one metric of a tree, as Walk shows it.
type Metric struct {
	Scope []string // the steps from the root; shared, not to be changed
	Name  string
	Value any // *Counter, *Gauge, *GaugeFunc or *Histogram
}

// Path returns the flat name, as in metrics.json.
func (m Metric) Path() string {
	if len(m.Scope) == 0 {
		return m.Name
	}
	return strings.Join(m.Scope, "/") + "/" + m.Name
}

// Walk calls visit for each metric in a stable order: place by place, the names of a place sorted. It works on a copy of the
// tree's structure, so a slow visitor keeps nobody from adding metrics, and visit may use the tree.
func (t *Tree) Walk(visit func(Metric)) {
	for _, m := range t.list() {
		visit(m)
	}
}

func (t *Tree) list() []Metric {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.appendTo(make([]Metric, 0, t.size))
}

func (n *node) appendTo(out []Metric) []Metric {
	for _, m := range n.metrics {
		out = append(out, Metric{Scope: n.names, Name: m.name, Value: m.value})
	}
	for _, c := range n.children {
		out = c.appendTo(out)
	}
	return out
}
