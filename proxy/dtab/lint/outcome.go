package lint

import (
	"slices"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// outcomes are what a name may come to, as a set.
type outcomes uint8

const (
	bound outcomes = 1 << iota
	neg
	fail
	empty
	broken

	anything = bound | neg | fail | empty | broken
)

// Limits of what is followed. Beyond them anything is possible, which finds nothing.
const (
	maxWork = 4_000_000
	// shadowWork and reachWork are where the passes after the first one end, so that it leaves them some.
	shadowWork = 2 * maxWork
	reachWork  = 3 * maxWork
	maxTrail   = 32
	// maxSeen bounds the paths of one search for a loop.
	maxSeen = 500
)

// tree returns what a tree of a rule may come to, for whatever is appended to its leaves. trail holds the paths above it.
func (c *checker) tree(t *dtab.Tree, trail []string) outcomes {
	switch t.Kind {
	case dtab.Leaf:
		return c.path(t.Path, trail)
	case dtab.Neg:
		return neg
	case dtab.Fail:
		return fail
	case dtab.Empty:
		return empty
	case dtab.Alt:
		var out outcomes
		for i := range t.Branches {
			o := c.tree(&t.Branches[i].Tree, trail)
			if out |= o &^ neg; o&neg == 0 {
				return out
			}
		}
		return out | neg
	}
	return c.union(t, trail)
}

// union drops Neg and Fail, tolerates what is broken where a branch is good, and is Neg where all are dropped.
func (c *checker) union(t *dtab.Tree, trail []string) outcomes {
	const dropped = neg | fail
	var out outcomes
	allMayGo, anyDrops, allMayBreak := true, false, true
	for i := range t.Branches {
		o := c.tree(&t.Branches[i].Tree, trail)
		out |= o & (bound | empty)
		allMayGo = allMayGo && o&(dropped|broken) != 0
		anyDrops = anyDrops || o&dropped != 0
		allMayBreak = allMayBreak && o&broken != 0
	}
	if allMayGo && anyDrops {
		out |= neg
	}
	if allMayBreak {
		out |= broken
	}
	return out
}

// path returns what a path may come to, for whatever is appended to it.
func (c *checker) path(p dtab.Path, trail []string) outcomes {
	c.work++
	key := p.String()
	if o, ok := c.known[key]; ok {
		return o
	}
	if len(trail) >= maxTrail || c.work > maxWork || slices.Contains(trail, key) {
		c.cuts++
		return anything
	}
	cuts := c.cuts
	hits := c.index.matches(nil, literal(p), true)
	c.work += len(hits)
	slices.SortFunc(hits, func(a, b match) int { return b.rule - a.rule })
	trail = append(trail, key)
	var out outcomes
	open := true
	for _, h := range hits {
		o := c.tree(&c.in.Dtab[h.rule].Dst, trail)
		out |= o &^ neg
		if h.sure && o&neg == 0 {
			open = false
			break
		}
	}
	// Namers are asked where no rule matches, or only a single "~" does.
	sure := slices.ContainsFunc(hits, func(h match) bool { return h.sure && c.in.Dtab[h.rule].Dst.Kind != dtab.Neg })
	switch {
	case open && sure:
		out |= neg
	case open:
		out |= c.namers(p)
		if len(hits) > 0 {
			out |= neg
		}
	}
	if c.cuts == cuts || len(trail) == 1 {
		c.known[key] = out // it does not depend on the way here
	}
	return out
}

// namers returns what the namers may answer for a path.
func (c *checker) namers(p dtab.Path) outcomes {
	if len(p) == 0 {
		return anything
	}
	switch p[0] {
	case "$":
		return utility(p)
	case "#", "%":
		for _, n := range c.in.Namers {
			if k := min(len(p), len(n.Prefix)); slices.Equal(p[:k], n.Prefix[:k]) {
				return anything
			}
		}
	}
	return neg
}

// utility returns what a name below /$/ may come to, where what follows it is text: other bytes make it Neg.
func utility(p dtab.Path) outcomes {
	if len(p) < 2 {
		return anything
	}
	switch p[1] {
	case "nil":
		return empty
	case "fail":
		return fail
	case "inet", "fixedinet":
		return bound | broken // a name without addresses is bound all the same
	}
	return anything
}

// rewritten returns where a path that a rewriting namer answers for leads: what its answer begins with. ok is false for paths that
// are no such names, and all where nothing is known of the answer.
func (c *checker) rewritten(p dtab.Path) (front dtab.Prefix, ok, all bool) {
	for _, n := range c.in.Namers {
		if n.Rewrite != "" && p.HasPrefix(n.Prefix) {
			return templateFront(n.Rewrite), true, false
		}
		if n.Rewrite != "" && n.Prefix.HasPrefix(p) {
			return nil, true, true // what follows may make it one
		}
	}
	if len(p) < 2 || p[0] != "$" || !strings.HasPrefix(p[1], "io.buoyant.") || p[1] == "io.buoyant.rinet" || p[1] == "io.buoyant.http.status" {
		return nil, false, false
	}
	at := 2
	switch {
	case !strings.HasSuffix(p[1], "Pfx"):
		return nil, true, true
	case strings.HasSuffix(p[1], "subdomainOfPfx"):
		at = 3
	}
	if len(p) <= at {
		return nil, true, true
	}
	return dtab.Prefix{{Label: p[at]}}, true, false
}

// templateFront is what names made by a template begin with. A variable may be anything.
func templateFront(template string) dtab.Prefix {
	var out dtab.Prefix
	for _, s := range strings.Split(strings.Trim(template, "/"), "/") {
		if s == "" {
			break
		}
		out = append(out, dtab.Elem{Label: s, Any: strings.ContainsAny(s, "{\\")})
	}
	return out
}
