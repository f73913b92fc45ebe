package lint

import (
	"slices"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// way is one step from a path to the next that a rule makes of it. certain means that requests take it before any other.
type way struct {
	path    dtab.Path
	rule    int
	certain bool
}

// loops finds the ways from the leaves of a rule that come back to it with all of the path that they began with: what was looked up
// then is looked up again, until Linkerd's limit ends it with an error.
func (c *checker) loops(at int) {
	for _, l := range leavesOf(nil, &c.in.Dtab[at].Dst, true) {
		first := way{l.path, at, l.certain}
		if w := c.follow([]way{first}, make(map[string]bool)); w != nil {
			c.reportLoop(at, w)
			return
		}
	}
}

// leaf of a tree. certain means that it is evaluated first, and alone.
type leaf struct {
	path    dtab.Path
	certain bool
}

func leavesOf(out []leaf, t *dtab.Tree, certain bool) []leaf {
	switch t.Kind {
	case dtab.Leaf:
		return append(out, leaf{t.Path, certain})
	case dtab.Alt, dtab.Union:
		for i := range t.Branches {
			out = leavesOf(out, &t.Branches[i].Tree, certain && t.Kind == dtab.Alt && i == 0)
		}
	}
	return out
}

// follow returns the way back to where the trail began, or nil. Only rules that match whatever follows count, and none behind a rule
// that never falls through. seen are the paths from which there is no way back.
func (c *checker) follow(trail []way, seen map[string]bool) []way {
	last := trail[len(trail)-1]
	key := last.path.String()
	if seen[key] {
		return nil
	}
	seen[key] = true
	if c.work++; len(trail) > maxTrail || len(seen) > maxSeen || c.work > maxWork {
		c.cuts++
		return nil
	}
	for _, next := range c.onward(last.path) {
		if next.rule == trail[0].rule && next.path.HasPrefix(trail[0].path) && next.rule >= 0 {
			return append(trail, next)
		}
		if slices.ContainsFunc(trail, func(w way) bool { return w.rule == next.rule && next.path.HasPrefix(w.path) }) {
			continue // a loop that does not come back here: it is found from its own rules
		}
		if w := c.follow(append(trail[:len(trail):len(trail)], next), seen); w != nil {
			return w
		}
	}
	return nil
}

// onward returns the paths that the rules, or a rewriting namer (rule -1), make of a path.
func (c *checker) onward(p dtab.Path) (out []way) {
	hits := c.index.matches(nil, literal(p), true)
	slices.SortFunc(hits, func(a, b match) int { return b.rule - a.rule })
	c.work += len(hits)
	certain := true
	for _, h := range hits {
		d := &c.in.Dtab[h.rule]
		if !h.sure {
			certain = false
			continue
		}
		leaves := leavesOf(nil, &d.Dst, certain)
		c.work += len(leaves)
		for _, l := range leaves {
			out = append(out, way{l.path.Append(p[len(d.Prefix):]...), h.rule, l.certain})
		}
		certain = false
		if c.tree(&d.Dst, nil)&neg == 0 {
			break
		}
	}
	if len(hits) == 0 {
		if front, ok, all := c.rewritten(p); ok && !all {
			var known dtab.Path
			for _, e := range front {
				if e.Any {
					break
				}
				known = append(known, e.Label)
			}
			out = append(out, way{known, -1, false})
		}
	}
	return out
}

func (c *checker) reportLoop(at int, w []way) {
	certain, cycle := true, []string(nil)
	for _, step := range w {
		cycle = append(cycle, step.path.String())
		certain = certain && step.certain
	}
	severity, why := Error, "every name that comes here leads back to itself, until the limit of 100 look-ups ends it with an error"
	if !certain {
		severity, why = Warning, "where no other way exists, a name that comes here leads back to itself, until the limit of 100 look-ups ends it with an error"
	}
	code := Loop
	if len(w) == 2 {
		code = SelfReference
	}
	c.report(at, severity, code, why+": "+strings.Join(cycle, " -> "), "change the destination of one of the rules so that it leads on", cycle...)
}
