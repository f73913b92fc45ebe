package dtab

import (
	"cmp"
	"slices"
)

// Table is a compiled dtab: it looks up what its Dtab would, at a cost that grows with the length of the path and the number of
// dentries that match it, not with the number of dentries. It is immutable and may be used from any goroutine.
type Table struct {
	parts []*Rules
	// base finds the dentries of most parts, edits those of the parts that changed since base was made. Both may be empty.
	base, edits layer
	// local is the dentries that With put on top. They are few, so they are tried one by one.
	local Dtab
}

// layer is a trie of some parts of a Table.
type layer struct {
	*trie
	// parts holds for each dtab of the trie which part of the Table it is, or none for one that is no longer there.
	parts []int32
}

// editedShare is the part of all dentries that may be found through edits, or be in base and gone, before all are compiled anew.
const editedShare = 8

// Compile returns the Table of the parts, each following the one before. It shares their memory.
func Compile(parts ...Dtab) *Table {
	rules := make([]*Rules, len(parts))
	for i, d := range parts {
		rules[i] = RulesOf(d)
	}
	return new(Table).Recompile(rules...)
}

// Recompile returns the Table of the parts, each following the one before, at a cost that grows with those that t is not of. It shares
// memory with t and with the parts. What With added to t is left out.
func (t *Table) Recompile(parts ...*Rules) *Table {
	base, others := t.base.of(t.parts, parts)
	edited := make([]*Rules, len(others))
	for i, at := range others {
		edited[i] = parts[at]
	}
	if gone := base.len() + count(edited) - count(parts); (count(edited)+gone)*editedShare > count(parts) {
		return &Table{parts: parts, base: newLayer(parts)}
	}
	edits := newLayer(edited)
	edits.parts = others
	return &Table{parts: parts, base: base, edits: edits}
}

// newLayer returns the layer of the parts of a Table that has no others.
func newLayer(parts []*Rules) layer {
	l := layer{newTrie(parts), make([]int32, len(parts))}
	for i := range l.parts {
		l.parts[i] = int32(i)
	}
	return l
}

// of returns what l, a layer of a Table of the old parts, is in one of the new parts, and which of those it lacks.
func (l layer) of(old, parts []*Rules) (same layer, others []int32) {
	places := make(map[*Rules]int32, len(parts))
	for i, d := range parts {
		places[d] = int32(i)
	}
	same = layer{l.trie, slices.Clone(l.parts)}
	has := make([]bool, len(parts))
	for k, i := range l.parts {
		same.parts[k] = none
		if i == none {
			continue
		}
		if at, ok := places[old[i]]; ok && !has[at] {
			same.parts[k] = at
			has[at] = true
		}
	}
	for i, d := range parts {
		if d.Len() > 0 && !has[i] {
			others = append(others, int32(i))
		}
	}
	return same, others
}

// len returns the number of dentries, with those that are gone.
func (l layer) len() int {
	if l.trie == nil {
		return 0
	}
	return len(l.earlier)
}

// Dtab returns the dtab of which t is the compiled form, with all that With added.
func (t *Table) Dtab() Dtab {
	d := make(Dtab, 0, t.Len())
	for _, part := range t.parts {
		for _, e := range part.All() {
			d = append(d, e)
		}
	}
	return append(d, t.local...)
}

// Len returns the number of dentries.
func (t *Table) Len() int { return count(t.parts) + len(t.local) }

// LongestPrefix returns how many elements the longest prefix has.
func (t *Table) LongestPrefix() (n int) {
	var memory Parser
	for _, part := range append(slices.Clone(t.parts), RulesOf(t.local)) {
		for i := range part.Len() {
			n = max(n, len(part.prefix(&memory, i)))
		}
	}
	return n
}

// With returns the Table of t's dtab followed by local, as for the overrides of one request. It shares all of t, and costs what
// copying local costs; every Lookup of it tries each dentry of local.
func (t *Table) With(local Dtab) *Table {
	if len(local) == 0 {
		return t
	}
	out := *t
	out.local = t.local.Concat(local)
	return &out
}

// Lookup does one lookup step. See Dtab.Lookup.
func (t *Table) Lookup(p Path) Tree { return t.LookupWith(nil, p) }

// LookupWith does one lookup step in t's dtab followed by local.
func (t *Table) LookupWith(local Dtab, p Path) Tree {
	var buf [16]match
	found := t.find(buf[:0], p)
	if len(found) == 1 && len(local) == 0 && len(t.local) == 0 {
		// By far the most frequent case: no slice of hits is needed.
		return t.hit(found[0], p).Tree
	}
	var hits []Weighted
	if len(found) > 0 {
		hits = make([]Weighted, 0, len(found)+len(local)+len(t.local))
	}
	hits = local.appendHits(hits, p)
	hits = t.local.appendHits(hits, p)
	for _, m := range found {
		hits = append(hits, t.hit(m, p))
	}
	return join(hits)
}

// match is one dentry whose prefix matches, and how many elements of the path the prefix used.
type match struct {
	// part is the part of the Table that the dentry is in, index its place there.
	part, index int32
	used        int
}

// hit returns the dst of a match for p.
func (t *Table) hit(m match, p Path) Weighted {
	part, i := t.parts[m.part], int(m.index)
	return Weighted{Weight: 1, Tree: part.dst(i).rewrite(behind(p, m.used), part.source(i))}
}

// find appends the matches of p, last dentry first.
func (t *Table) find(found []match, p Path) []match {
	found = t.edits.find(t.base.find(found, p), p)
	if len(found) > 1 {
		slices.SortFunc(found, func(a, b match) int { return cmp.Or(cmp.Compare(b.part, a.part), cmp.Compare(b.index, a.index)) })
	}
	return found
}

// find appends the matches of p, in no order.
func (l layer) find(found []match, p Path) []match {
	if l.trie == nil {
		return found
	}
	have := len(found)
	all := l.walk(found, 0, p, 0)
	found = all[:have]
	for _, m := range all[have:] {
		part, index := l.place(m.index)
		if part = l.parts[part]; part != none {
			found = append(found, match{part, index, m.used})
		}
	}
	return found
}
