package telemetry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Other is the name under which a full tree folds what it has no room for.
	Other = "other"
	// Window is the time over which histogram percentiles are taken, as in Linkerd.
	Window = time.Minute

	defaultMaxNodes = 100_000
	maxDepth        = 24
	maxName         = 1024
	maxBuckets      = 64
)

// Options of a Tree. The zero value of a field means its default.
type Options struct {
	// MaxNodes bounds the places and metrics of the tree together (a histogram is one); default 100,000. A router takes about
	// 40 + 15 per service + 60 per client, so the default has room for 1,000 services with a client each.
	MaxNodes int
	// DurationBuckets are the upper bounds of histograms that hold times, ascending, at most 64, as Totals reports them;
	// default 0.5 ms to 60 s.
	DurationBuckets []time.Duration
	// CountBuckets are the same for all other histograms; default 0 to 10 million.
	CountBuckets []int64
}

// bounds are the upper bounds of a histogram as added and in base units.
type bounds struct {
	raw  []uint64
	base []float64
}

// Tree is a metric tree; it is the Scope of its own root.
//
// A tree that is full (Options.MaxNodes) folds a new place or metric into one named "other" beside it and counts that in
// telemetry/folded: the sum over siblings stays right and only the name is lost. (A gauge that several Set is not a sum; Add
// is.) What was folded stays so when room comes back. A twentieth of MaxNodes is set aside for those others. When that is used
// up too, what is handed out works but is seen nowhere, and telemetry/unseen counts it; so it is with a function gauge in a
// full tree, a name used for two kinds of metric, and a place deeper than 24 steps. A name over 1,024 bytes is folded.
type Tree struct {
	node
	maxNodes       int
	durations      bounds
	numbers        bounds
	folded, unseen *Counter

	mu   sync.RWMutex // guards all nodes and size
	size int          // places and metrics, the root not among them
}

// node is a place in the tree.
type node struct {
	tree     *Tree
	parent   *node
	names    []string // from the root; immutable
	children []*node  // sorted by their last name
	metrics  []named  // sorted by name
	gone     bool     // closed, or never part of the tree
	other    bool     // shared by what was folded
}

type named struct {
	name  string
	value any // *Counter, *Gauge, *GaugeFunc or *Histogram
}

var (
	_ Scope = (*Tree)(nil)
	_ Scope = (*node)(nil)
)

// New returns an empty tree with default options.
func New() *Tree {
	t, err := NewTree(Options{})
	if err != nil {
		panic(err) // the defaults are valid
	}
	return t
}

// NewTree returns a tree that holds nothing but its own telemetry/{folded,unseen,nodes}. It refuses buckets that are not
// ascending, negative or too many.
func NewTree(o Options) (*Tree, error) {
	t := &Tree{maxNodes: o.MaxNodes}
	if t.maxNodes <= 0 {
		t.maxNodes = defaultMaxNodes
	}
	durations, numbers := o.DurationBuckets, o.CountBuckets
	if len(durations) == 0 {
		durations = defaultDurations()
	}
	if len(numbers) == 0 {
		numbers = []int64{0, 1, 2, 5, 10, 20, 50, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000}
	}
	var err error
	if t.durations, err = newBounds(durations, float64(time.Second)); err != nil {
		return nil, fmt.Errorf("duration buckets: %w", err)
	}
	if t.numbers, err = newBounds(numbers, 1); err != nil {
		return nil, fmt.Errorf("count buckets: %w", err)
	}
	t.tree = t
	own := t.Scope("telemetry")
	t.folded, t.unseen = own.Counter("folded"), own.Counter("unseen")
	own.GaugeFunc("nodes", func() float64 { return float64(t.Size()) })
	own.GaugeFunc("max_nodes", func() float64 { return float64(t.maxNodes) })
	return t, nil
}

func defaultDurations() []time.Duration {
	out := []time.Duration{500 * time.Microsecond}
	for _, ms := range []time.Duration{1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000} {
		out = append(out, ms*time.Millisecond)
	}
	return out
}

func newBounds[T ~int64](upper []T, unit float64) (bounds, error) {
	if len(upper) > maxBuckets {
		return bounds{}, fmt.Errorf("%d given, at most %d expected", len(upper), maxBuckets)
	}
	var b bounds
	for i, v := range upper {
		if v < 0 || i > 0 && v <= upper[i-1] {
			return bounds{}, fmt.Errorf("bucket %d: expected ascending bounds of 0 or more, found %v", i, v)
		}
		b.raw = append(b.raw, uint64(v))
		b.base = append(b.base, float64(v)/unit)
	}
	return b, nil
}

// Size returns the number of places and metrics in the tree.
func (t *Tree) Size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.size
}

// Run closes the histograms' window every minute until ctx ends. Without it percentiles cover the whole past.
func (t *Tree) Run(ctx context.Context) {
	tick := time.NewTicker(Window)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.roll()
		}
	}
}

func (t *Tree) roll() {
	t.Walk(func(m Metric) {
		if h, ok := m.Value.(*Histogram); ok {
			h.roll()
		}
	})
}

// full reports whether a new child or metric of n has no room. Others may use the room set aside for them.
func (t *Tree) full(other bool) bool {
	if other {
		return t.size >= t.maxNodes
	}
	return t.size >= t.maxNodes-t.maxNodes/20
}

// Scope implements Scope.
func (n *node) Scope(names ...string) Scope {
	if below := n.known(names); below != nil {
		return below
	}
	n.tree.mu.Lock()
	defer n.tree.mu.Unlock()
	return n.descend(names)
}

// known finds a place that exists, with a lock that readers share: a request that fails looks its reason's counter up.
func (n *node) known(names []string) *node {
	n.tree.mu.RLock()
	defer n.tree.mu.RUnlock()
	for _, name := range names {
		if name = strings.Trim(name, "/"); name == "" {
			continue
		}
		i, found := n.find(name)
		if !found {
			return nil
		}
		n = n.children[i]
	}
	return n
}

// knownMetric finds a metric that exists, as known does; nil if there is none.
func (n *node) knownMetric(name string) any {
	n.tree.mu.RLock()
	defer n.tree.mu.RUnlock()
	if i, found := n.findMetric(name); found {
		return n.metrics[i].value
	}
	return nil
}

func (n *node) descend(names []string) *node {
	for _, name := range names {
		if name = strings.Trim(name, "/"); name != "" {
			n = n.child(name)
		}
	}
	return n
}

func (n *node) child(name string) *node {
	if n.gone {
		return n.newChild(name, true)
	}
	i, found := n.find(name)
	if found {
		return n.children[i]
	}
	if len(n.names) >= maxDepth {
		n.tree.unseen.Incr(0)
		return n.newChild(name, true)
	}
	fold := n.tree.full(n.other) || len(name) > maxName
	if fold {
		n.tree.folded.Incr(0)
		if i, found = n.find(Other); found {
			return n.children[i]
		}
		if name = Other; n.tree.full(true) {
			n.tree.unseen.Incr(0)
			return n.newChild(name, true)
		}
	}
	c := n.newChild(name, false)
	c.other = n.other || fold
	n.children = slices.Insert(n.children, i, c)
	n.tree.size++
	return c
}

func (n *node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.children, name, func(c *node, name string) int {
		return strings.Compare(c.names[len(c.names)-1], name)
	})
}

func (n *node) newChild(name string, gone bool) *node {
	names := append(n.names[:len(n.names):len(n.names)], strings.Clone(name))
	return &node{tree: n.tree, parent: n, names: names, gone: gone}
}

// Counter implements Scope.
func (n *node) Counter(name string) *Counter {
	return metricOf(n, name, func(string) *Counter { return new(Counter) })
}

// Gauge implements Scope.
func (n *node) Gauge(name string) *Gauge {
	return metricOf(n, name, func(string) *Gauge { return new(Gauge) })
}

// Histogram implements Scope.
func (n *node) Histogram(name string) *Histogram {
	return metricOf(n, name, n.tree.newHistogram)
}

// GaugeFunc implements Scope.
func (n *node) GaugeFunc(name string, value func() float64) {
	n.tree.mu.Lock()
	defer n.tree.mu.Unlock()
	n, name = n.split(name)
	if n.gone {
		return
	}
	i, found := n.findMetric(name)
	switch {
	case found:
		if _, same := n.metrics[i].value.(*GaugeFunc); same {
			n.metrics[i].value = &GaugeFunc{value: value}
			return
		}
		n.tree.unseen.Incr(0)
	case n.other || len(name) > maxName || n.tree.full(false):
		n.tree.unseen.Incr(0)
	default:
		n.insert(i, name, &GaugeFunc{value: value})
	}
}

// metricOf finds or makes a metric of one kind.
func metricOf[T any](n *node, path string, build func(name string) T) T {
	if m, ok := n.knownMetric(path).(T); ok {
		return m
	}
	n.tree.mu.Lock()
	defer n.tree.mu.Unlock()
	n, name := n.split(path)
	if n.gone {
		return build(name)
	}
	i, found := n.findMetric(name)
	if !found && (n.tree.full(n.other) || len(name) > maxName) {
		n.tree.folded.Incr(0)
		// The unit is part of the name and has to survive.
		name = Other + unitSuffix(name)
		i, found = n.findMetric(name)
		if !found && n.tree.full(true) {
			n.tree.unseen.Incr(0)
			return build(name)
		}
	}
	if found {
		if m, same := n.metrics[i].value.(T); same {
			return m
		}
		n.tree.unseen.Incr(0)
		return build(name)
	}
	m := build(name)
	n.insert(i, name, m)
	return m
}

// split walks to the place a metric's path names and returns it with the metric's own name.
func (n *node) split(path string) (*node, string) {
	path = strings.Trim(path, "/")
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return n, path
	}
	return n.descend(strings.Split(path[:i], "/")), path[i+1:]
}

func (n *node) findMetric(name string) (int, bool) {
	return slices.BinarySearchFunc(n.metrics, name, func(m named, name string) int { return strings.Compare(m.name, name) })
}

func (n *node) insert(i int, name string, value any) {
	n.metrics = slices.Insert(n.metrics, i, named{strings.Clone(name), value})
	n.tree.size++
}

// Close implements Scope. What is shared by folded places stays: one of them does not close it for the rest.
func (n *node) Close() {
	n.tree.mu.Lock()
	defer n.tree.mu.Unlock()
	if n.gone || n.other {
		return
	}
	if p := n.parent; p != nil {
		if i, found := p.find(n.names[len(n.names)-1]); found {
			p.children = slices.Delete(p.children, i, i+1)
			n.tree.size--
		}
	}
	n.remove()
}

// remove takes everything below n out of the tree.
func (n *node) remove() {
	n.gone = true
	n.tree.size -= len(n.metrics) + len(n.children)
	for _, c := range n.children {
		c.remove()
	}
	n.metrics, n.children = nil, nil
}
