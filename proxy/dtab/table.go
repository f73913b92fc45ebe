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

// Compile returns the Table of d.
func Compile(d Dtab) *Table { return &Table{trie: newTrie(d)} }

// Dtab returns the dtab of which t is the compiled form, with all that With added.
func (t *Table) Dtab() Dtab { return t.trie.dentries.Concat(t.local) }

// Len returns the number of dentries.
func (t *Table) Len() int { return len(t.trie.dentries) + len(t.local) }

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
		return t.trie.dentries[found[0].dentry].hit(p, found[0].used).Tree
	}
	var hits []Weighted
	if len(found) > 0 {
		hits = make([]Weighted, 0, len(found)+len(local)+len(t.local))
	}
	hits = local.appendHits(hits, p)
	hits = t.local.appendHits(hits, p)
	for _, m := range found {
		hits = append(hits, t.trie.dentries[m.dentry].hit(p, m.used))
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
	dentries Dtab
	nodes    []node
	// edges are the labels between nodes: one map for all nodes, since most nodes have no child or one.
	edges map[edge]int32
	// earlier is for each dentry the next earlier one with the same prefix, or none.
	earlier []int32
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

func newTrie(d Dtab) *trie {
	var p pace.Pace
	p.Step()
	t := &trie{
		dentries: d,
		nodes:    make([]node, 1, len(d)+1),
		edges:    make(map[edge]int32, len(d)),
		earlier:  make([]int32, len(d)),
	}
	t.nodes[0] = node{any: none, last: none}
	for i := range d {
		if i%pacedBy == 0 {
			p.Step()
		}
		at := int32(0)
		for _, e := range d[i].Prefix {
			at = t.child(at, e)
		}
		t.earlier[i], t.nodes[at].last = t.nodes[at].last, int32(i)
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
