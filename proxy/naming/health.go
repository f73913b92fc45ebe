package naming

import "github.com/fairlead/fairlead/proxy/dtab"

// Health returns whether a bound name, which no status answers for, has a live endpoint, and keeps that up to date. It is asked for
// alternates alone. A name whose endpoints are not known yet is well. It is always Ok. The caller closes what it was given.
type Health func(b *Bound) Live[bool]

// choice is what alternates come to: the outcome of the one at index.
type choice struct {
	outcome
	index int
	// unwell are those before which the walk did not end, since they have no live endpoint.
	unwell []int
}

// alt returns the first branch that is not Neg; the branches after it are not looked at.
//
// Where health is known, a bound branch without a live endpoint is passed over as if it were Neg, for the first after it that has one, but
// never for what gives requests no endpoint either: !, $, and an error end the walk. Then, and where no branch has one, it is the first of
// them all the same. One that is pending is waited for only where none of those before it has an endpoint to ask.
func (e *evaluation) alt(n int, branch func(i int) outcome) choice {
	c := choice{outcome: outcome{verdict: neg, tree: Neg()}, index: -1}
	var unwell []Tree
walk:
	for i := range n {
		out := branch(i)
		first := len(unwell) == 0
		switch {
		case out.verdict == neg:
		case first && (e.rules.health == nil || out.verdict != bound || i == n-1 || e.isLive(&out.tree)):
			return choice{outcome: out, index: i} // the last is not asked: there is nothing to take in its place
		case out.verdict == bound && !first && e.isLive(&out.tree):
			out.tree.Unwell, out.tree.Fallback = append(unwell, out.tree.Unwell...), true
			return choice{outcome: out, index: i, unwell: c.unwell}
		case out.verdict == bound:
			if first {
				c.outcome, c.index = out, i
			}
			unwell, c.unwell = append(unwell, out.tree), append(c.unwell, i)
			if c.ends = out.ends; c.ends {
				break walk
			}
		case out.verdict == pending && !anyEndpoint(unwell):
			return choice{outcome: out, index: i, unwell: c.unwell}
		default:
			c.ends = true
			break walk
		}
	}
	if len(unwell) > 1 {
		c.tree.Unwell = append(unwell[1:], c.tree.Unwell...)
	}
	return c
}

// isLive reports whether requests that go by a bound tree may find a live endpoint.
func (e *evaluation) isLive(t *Tree) bool {
	if t.Kind == dtab.Leaf {
		return t.Bound.Status != 0 || e.deps.isWell(e.rules.health, t.Bound)
	}
	live := false
	t.Weighed(func(b *Tree) { live = e.isLive(b) || live }) // all are asked, so that all are followed
	return live
}

// Weighed calls fn with the branches of a union that get requests: those with a weight, and all where none has one.
func (t *Tree) Weighed(fn func(b *Tree)) {
	total := 0.0
	for i := range t.Branches {
		total += t.Branches[i].Weight
	}
	for i := range t.Branches {
		if b := &t.Branches[i]; b.Weight > 0 || total == 0 {
			fn(&b.Tree)
		}
	}
}

// anyEndpoint reports whether any leaf of the trees has an endpoint, live or not.
func anyEndpoint(trees []Tree) (any bool) {
	for i := range trees {
		if b := trees[i].Bound; b != nil {
			addrs, _, _ := b.Addrs.Load()
			any = any || len(addrs.Endpoints) > 0
		}
		trees[i].Weighed(func(t *Tree) { any = any || anyEndpoint([]Tree{*t}) })
	}
	return any
}

// isWell returns whether the bound name has a live endpoint, and follows that. Within one round it stays the same.
func (ds *deps) isWell(health Health, b *Bound) bool {
	key := depKey{path: b.ID.String(), addrs: b.Addrs}
	d := ds.held[key]
	if d == nil {
		d = &dep{well: health(b)}
		ds.held[key] = d
	}
	if d.round != ds.round {
		d.round = ds.round
		d.changed = d.well.Changed()
		d.isWell, _, _ = d.well.Load()
	}
	return d.isWell
}
