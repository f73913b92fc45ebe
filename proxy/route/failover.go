package route

import (
	"strings"
	"sync/atomic"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// Fall tells that a name falls over from an alternate without a live endpoint to another, or back.
type Fall struct {
	Name dtab.Path
	Back bool
	// From and To are bound names, several joined by " & ".
	From, To string
}

// pass keeps the leaves of the alternates that a tree was taken in the place of, or before, since they have no live endpoint. Requests for
// the leaves from the index on try them now and then.
func (d *distribution) pass(n *Name, t *naming.Tree, index int) {
	if len(t.Unwell) == 0 {
		return
	}
	before := len(d.passed)
	for i := range t.Unwell {
		d.keep(n, &t.Unwell[i])
	}
	for _, l := range d.leaves[index:] {
		if l != nil {
			l.passed = append(l.passed, d.passed[before:]...)
		}
	}
	d.fallen = d.fallen || t.Fallback
}

// keep makes leaves of what gets requests below a tree that is passed over. One for which there is no client is left out.
func (d *distribution) keep(n *Name, t *naming.Tree) {
	if t.Kind == dtab.Leaf && t.Bound.Status == 0 {
		if l, err := n.leaf(*t); err == nil {
			l.isTrial = true
			d.passed = append(d.passed, l)
		}
	}
	t.Weighed(func(b *naming.Tree) { d.keep(n, b) })
	for i := range t.Unwell {
		d.keep(n, &t.Unwell[i])
	}
}

// orTrial returns l, or a leaf that is passed over in its favour where this request is to try that.
func (l *Leaf) orTrial() *Leaf {
	if l == nil || len(l.passed) == 0 {
		return l
	}
	now := l.router.options.Clock()
	for _, p := range l.passed {
		if p.client.health.mayTry(now) {
			return p
		}
	}
	return l
}

// judged is told what became of an attempt of a request that tried a leaf.
func (l *Leaf) judged(c classify.Class) {
	if l.isTrial && (c == classify.Failure || c == classify.Retryable) {
		l.client.health.failed()
	}
}

// fell tells that the name fell over or back by a change of its distribution.
func (n *Name) fell(old, now *distribution) {
	if old.fallen == now.fallen {
		return
	}
	n.service.fell(n.router.options.Scope, now.fallen)
	if n.router.options.FellOver == nil || n.isLocal() {
		return
	}
	f := Fall{Name: n.path, Back: old.fallen, To: ids(now.leaves), From: ids(now.passed)}
	if f.Back {
		f.From = ids(old.leaves)
	}
	n.router.options.FellOver(f)
}

func ids(leaves []*Leaf) string {
	var out []string
	for _, l := range leaves {
		if l != nil && l.client != nil {
			out = append(out, l.client.id.String())
		}
	}
	return strings.Join(out, " & ")
}

// fallStats count how often names of a service fell over and back. They are there once one did.
type fallStats struct {
	active         atomic.Int64
	falls, returns *telemetry.Counter
}

func (s *service) fell(scope telemetry.Scope, over bool) {
	stats := s.falls.Load()
	if stats == nil {
		scope = scope.Scope("service", label(s.path), "failover")
		stats = &fallStats{falls: scope.Counter("falls"), returns: scope.Counter("returns")}
		if s.falls.CompareAndSwap(nil, stats) {
			scope.GaugeFunc("active", func() float64 { return float64(stats.active.Load()) })
		}
		stats = s.falls.Load()
	}
	if over {
		stats.active.Add(1)
		stats.falls.Incr(0)
	} else {
		stats.active.Add(-1)
		stats.returns.Incr(0)
	}
}
