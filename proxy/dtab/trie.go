package dtab

import (
	"slices"

	"github.com/fairlead/fairlead/proxy/pace"
)

// none marks the absence of a node, a dentry or a part.
const none = int32(-1)

// pacedBy is how many dentries are compiled at a time, which takes some 20 us.
const pacedBy = 32

// trie finds dentries by prefix, in dtabs that follow each other: their number counts through all of them. Node 0 is "/".
type trie struct {
	// ends holds for each dtab the number of dentries up to its end.
	ends  []int32
	nodes []node
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

// newTrie returns the trie of dtabs that follow each other: to put hundreds of thousands of dentries side by side would cost memory, and
// the collector of garbage time, at each edit of one.
func newTrie(parts []*Rules) *trie {
	n := count(parts)
	var p pace.Pace
	p.Step()
	t := &trie{
		ends:    make([]int32, len(parts)),
		nodes:   make([]node, 1, n+1),
		edges:   make(map[edge]int32, n),
		earlier: make([]int32, n),
	}
	t.nodes[0] = node{any: none, last: none}
	i := int32(0)
	var memory Parser
	for k, part := range parts {
		for d := range part.Len() {
			if i%pacedBy == 0 {
				p.Step()
			}
			at := int32(0)
			for _, e := range part.prefix(&memory, d) {
				at = t.child(at, e)
			}
			t.earlier[i], t.nodes[at].last = t.nodes[at].last, i
			i++
		}
		t.ends[k] = i
	}
	return t
}

func count(parts []*Rules) (n int) {
	for _, d := range parts {
		n += d.Len()
	}
	return n
}

// place returns in which dtab dentry i is, and where in it.
func (t *trie) place(i int32) (part, index int32) {
	k, _ := slices.BinarySearch(t.ends, i+1) // the first that ends behind it
	if k > 0 {
		i -= t.ends[k-1]
	}
	return int32(k), i
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

// walk appends the matches at and below node at, which the first used elements of p lead to, in no order. It recurses only at wildcards.
// The index of a match is here the number of its dentry.
func (t *trie) walk(found []match, at int32, p Path, used int) []match {
	for {
		n := &t.nodes[at]
		for i := n.last; i != none; i = t.earlier[i] {
			found = append(found, match{index: i, used: used})
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
