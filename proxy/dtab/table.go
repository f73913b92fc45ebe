package dtab

import (
	"slices"

	"github.com/fairlead/fairlead/proxy/pace"
)

// Table is a compiled dtab: it looks up what its Dtab would, at a cost that grows with the length of the path and the number of
// dentries that match it, not with the number of dentries. It is immutable and may be used from any goroutine.
type Table struct {
	trie *trie
	// local is the dentries that With put on top. They are few, so they are tried one by one.
	local Dtab
}

// Compile returns the Table of the parts, each following the one before. It shares their memory.
func Compile(parts ...Dtab) *Table { return &Table{trie: newTrie(joined(parts))} }

// Dtab returns the dtab of which t is the compiled form, with all that With added.
func (t *Table) Dtab() Dtab {
	return slices.Concat(append(slices.Clone(t.trie.dentries.parts), t.local)...)
}

// Len returns the number of dentries.
func (t *Table) Len() int { return t.trie.dentries.len() + len(t.local) }

// With returns the Table of t's dtab followed by local, as for the overrides of one request. It shares all of t, and costs what
// copying local costs; every Lookup of it tries each dentry of local.
func (t *Table) With(local Dtab) *Table {
	if len(local) == 0 {
		return t
	}
	return &Table{trie: t.trie, local: t.local.Concat(local)}
}

// Lookup does one lookup step. See Dtab.Lookup.
func (t *Table) Lookup(p Path) Tree { return t.LookupWith(nil, p) }

// LookupWith does one lookup step in t's dtab followed by local.
func (t *Table) LookupWith(local Dtab, p Path) Tree {
	var buf [16]match
	found := t.trie.find(buf[:0], p)
	if len(found) == 1 && len(local) == 0 && len(t.local) == 0 {
		// By far the most frequent case: no slice of hits is needed.
		return t.trie.dentries.at(found[0].dentry).hit(p, found[0].used).Tree
	}
	var hits []Weighted
	if len(found) > 0 {
		hits = make([]Weighted, 0, len(found)+len(local)+len(t.local))
	}
	hits = local.appendHits(hits, p)
	hits = t.local.appendHits(hits, p)
	for _, m := range found {
		hits = append(hits, t.trie.dentries.at(m.dentry).hit(p, m.used))
	}
	return join(hits)
}

// match is one dentry whose prefix matches, and how many elements of the path the prefix used.
type match struct {
	dentry int32
	used   int
}

// none marks the absence of a node or a dentry.
const none = int32(-1)

// pacedBy is how many dentries are compiled at a time, which takes some 20 us.
const pacedBy = 32

// trie finds dentries by prefix. Node 0 is "/".
type trie struct {
	dentries sequence
	nodes    []node
	// edges are the labels between nodes: one map for all nodes, since most nodes have no child or one.
	edges map[edge]int32
	// earlier is for each dentry the next earlier one with the same prefix, or none.
	earlier []int32
}

// sequence is dtabs that follow each other: putting hundreds of thousands of dentries side by side would cost memory, and the
// collector of garbage time, at each edit of one.
type sequence struct {
	parts []Dtab
	// ends holds for each part the number of dentries up to its end.
	ends []int32
}

func joined(parts []Dtab) sequence {
	s := sequence{parts: parts, ends: make([]int32, len(parts))}
	n := 0
	for i, d := range parts {
		n += len(d)
		s.ends[i] = int32(n)
	}
	return s
}

func (s *sequence) len() int {
	if len(s.ends) == 0 {
		return 0
	}
	return int(s.ends[len(s.ends)-1])
}

func (s *sequence) at(i int32) *Dentry {
	part, _ := slices.BinarySearch(s.ends, i+1) // the first that ends behind it
	d := s.parts[part]
	return &d[int(i-s.ends[part])+len(d)]
}

// node is one prefix.
type node struct {
	// any is the node that a wildcard leads to, or none.
	any int32
	// last is the last dentry with this prefix, or none.
	last int32
	// labels is the number of edges that leave this node.
	labels int32
}

type edge struct {
	from  int32
	label string
}

func newTrie(d sequence) *trie {
	n := d.len()
	var p pace.Pace
	p.Step()
	t := &trie{
		dentries: d,
		nodes:    make([]node, 1, n+1),
		edges:    make(map[edge]int32, n),
		earlier:  make([]int32, n),
	}
	t.nodes[0] = node{any: none, last: none}
	i := int32(0)
	for _, part := range d.parts {
		for k := range part {
			if i%pacedBy == 0 {
				p.Step()
			}
			at := int32(0)
			for _, e := range part[k].Prefix {
				at = t.child(at, e)
			}
			t.earlier[i], t.nodes[at].last = t.nodes[at].last, i
			i++
		}
	}
	return t
}

// child returns the node below from, which it makes where there is none.
func (t *trie) child(from int32, e Elem) int32 {
	next := int32(len(t.nodes))
	if e.Any {
		if at := t.nodes[from].any; at != none {
			return at
		}
		t.nodes[from].any = next
	} else {
		key := edge{from, e.Label}
		if at, ok := t.edges[key]; ok {
			return at
		}
		t.edges[key] = next
		t.nodes[from].labels++
	}
	t.nodes = append(t.nodes, node{any: none, last: none})
	return next
}

// find appends the matches of p, last dentry first.
func (t *trie) find(found []match, p Path) []match {
	found = t.walk(found, 0, p, 0)
	if len(found) > 1 {
		slices.SortFunc(found, func(a, b match) int { return int(b.dentry) - int(a.dentry) })
	}
	return found
}

// walk appends the matches at and below node at, which the first used elements of p lead to. It recurses only at wildcards.
func (t *trie) walk(found []match, at int32, p Path, used int) []match {
	for {
		n := &t.nodes[at]
		for i := n.last; i != none; i = t.earlier[i] {
			found = append(found, match{i, used})
		}
		if used == len(p) {
			return found
		}
		if n.any != none {
			found = t.walk(found, n.any, p, used+1)
		}
		if n.labels == 0 {
			return found
		}
		next, ok := t.edges[edge{at, p[used]}]
		if !ok {
			return found
		}
		at = next
		used++
	}
}
