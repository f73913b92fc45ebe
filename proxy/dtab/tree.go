package dtab

import (
	"strconv"
	"strings"
)

// Kind is the kind of a tree node.
type Kind uint8

const (
	// Leaf is a path.
	Leaf Kind = iota
	// Alt is "a | b": the first branch that is not Neg wins.
	Alt
	// Union is "a & b": requests are spread over the branches by weight.
	Union
	// Neg is "~": the name does not exist here, go on with the alternates.
	Neg
	// Fail is "!": stop, try no alternate.
	Fail
	// Empty is "$": the name exists and has no endpoint.
	Empty
)

// String returns the lower case name of the kind.
func (k Kind) String() string {
	switch k {
	case Leaf:
		return "leaf"
	case Alt:
		return "alt"
	case Union:
		return "union"
	case Neg:
		return "neg"
	case Fail:
		return "fail"
	case Empty:
		return "empty"
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Source says which dentry a tree came from.
type Source struct {
	// Object is the namespace/name of a Dtab object, or "" for the base dtab of the Mesh and for dtabs of request headers.
	Object string
	// Index counts the dentries of that object or text from 0.
	Index int
}

// Tree is a name tree whose leaves are paths. A Tree is never modified once made.
type Tree struct {
	// Kind says which other fields count: a Leaf has Path, an Alt and a Union have Branches.
	Kind     Kind
	Path     Path
	Branches []Weighted
	// Source is the dentry whose lookup gave this node. It is the zero value in a tree that was only parsed, and in the Alt that
	// joins the trees of several dentries.
	Source Source
}

// Weighted is one branch. Weight counts only in a Union; the parser sets it to 1 in an Alt.
type Weighted struct {
	Weight float64
	Tree   Tree
}

// ParseTree reads one name tree, with blanks and comments around it allowed. The error is an *Error.
func ParseTree(s string) (Tree, error) {
	p := parser{memory: new(Parser), in: s}
	t := p.wholeTree()
	p.end("'|', '&' or the end")
	if p.err != nil {
		return Tree{}, p.err
	}
	return t, nil
}

// Equal reports whether both trees have the same structure, paths and weights. Sources do not count.
func (t Tree) Equal(u Tree) bool {
	if t.Kind != u.Kind {
		return false
	}
	switch t.Kind {
	case Leaf:
		return t.Path.Equal(u.Path)
	case Alt, Union:
		if len(t.Branches) != len(u.Branches) {
			return false
		}
		for i, b := range t.Branches {
			c := u.Branches[i]
			if t.Kind == Union && b.Weight != c.Weight || !b.Tree.Equal(c.Tree) {
				return false
			}
		}
	}
	return true
}

// Simplify returns the smallest tree that evaluates alike: an Alt loses its Neg branches and all that follows its first Fail, a
// Union loses its Neg and Fail branches, and a node with one branch left becomes that branch (Finagle: NameTree.simplified). A leaf
// that comes to Fail is the exception: left alone of a Union it no longer counts as Neg.
func (t Tree) Simplify() Tree {
	if t.Kind != Alt && t.Kind != Union {
		return t
	}
	var kept []Weighted
	for _, b := range t.Branches {
		s := b.Tree.Simplify()
		if s.Kind == Neg || t.Kind == Union && s.Kind == Fail {
			continue
		}
		kept = append(kept, Weighted{Weight: b.Weight, Tree: s})
		if s.Kind == Fail {
			break
		}
	}
	switch len(kept) {
	case 0:
		return Tree{Kind: Neg, Source: t.Source}
	case 1:
		return kept[0].Tree
	}
	return Tree{Kind: t.Kind, Branches: kept, Source: t.Source}
}

// String returns the show form, which ParseTree reads back as an equal tree. Parentheses stand only where the structure needs
// them. A weight of 1 is left out; others have two decimals as in Finagle, or as many more as their value needs.
func (t Tree) String() string { return string(t.appendShow(nil, Leaf)) }

// appendShow prints t as a branch of a node of kind outer, where Leaf stands for no node at all.
func (t Tree) appendShow(b []byte, outer Kind) []byte {
	switch t.Kind {
	case Leaf:
		return t.Path.appendShow(b)
	case Neg:
		return append(b, '~')
	case Fail:
		return append(b, '!')
	case Empty:
		return append(b, '$')
	}
	// "&" binds closer than "|", so only a union directly inside an alt needs no parentheses.
	parens := outer == Union || outer == t.Kind
	if parens {
		b = append(b, '(')
	}
	for i, w := range t.Branches {
		switch {
		case i == 0:
		case t.Kind == Alt:
			b = append(b, " | "...)
		default:
			b = append(b, " & "...)
		}
		if t.Kind == Union && w.Weight != 1 {
			b = append(appendWeight(b, w.Weight), '*')
		}
		b = w.Tree.appendShow(b, t.Kind)
	}
	if parens {
		b = append(b, ')')
	}
	return b
}

// appendWeight prints the shortest decimals that read back as the same weight, padded to two. Finagle cuts at two decimals,
// which would turn a canary of 0.001 into none at the next hop.
func appendWeight(b []byte, w float64) []byte {
	s := strconv.FormatFloat(w, 'f', -1, 64)
	b = append(b, s...)
	switch _, frac, found := strings.Cut(s, "."); {
	case !found:
		b = append(b, ".00"...)
	case len(frac) == 1:
		b = append(b, '0')
	}
	return b
}

// rewrite returns t with suffix appended to every leaf, and with src on every node.
func (t Tree) rewrite(suffix Path, src Source) Tree {
	t.Source = src
	switch t.Kind {
	case Leaf:
		switch {
		case len(suffix) == 0:
		case len(t.Path) == 0:
			t.Path = suffix
		default:
			t.Path = t.Path.Append(suffix...)
		}
	case Alt, Union:
		branches := make([]Weighted, len(t.Branches))
		for i, b := range t.Branches {
			branches[i] = Weighted{Weight: b.Weight, Tree: b.Tree.rewrite(suffix, src)}
		}
		t.Branches = branches
	}
	return t
}
