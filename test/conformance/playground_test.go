package conformance

import "github.com/fairlead/fairlead/proxy/dtab"

// step is one node of the playground's tree, in the form of delegator.json.
type step struct {
	Type     string       `json:"type"`
	Path     string       `json:"path"`
	Dentry   *shownDentry `json:"dentry,omitempty"`
	Delegate *step        `json:"delegate,omitempty"`
	Alt      []*step      `json:"alt,omitempty"`
	Union    []weighted   `json:"union,omitempty"`
	Bound    *shownBound  `json:"bound,omitempty"`
	Message  string       `json:"message,omitempty"`
}

type weighted struct {
	Weight float64 `json:"weight"`
	Tree   *step   `json:"tree"`
}

type shownDentry struct {
	Prefix string `json:"prefix"`
	Dst    string `json:"dst"`
}

type shownBound struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

// hit is one tree and the dentry that gave it.
type hit struct {
	tree dtab.Tree
	from *shownDentry
}

// explore follows every branch from p, also those that a delegation would not reach. from is the dentry that led to p.
func (o *oracle) explore(p dtab.Path, from *shownDentry, depth int) *step {
	s := &step{Path: p.String(), Dentry: from}
	if depth > dtab.MaxDepth {
		s.Type, s.Message = "exception", "Max recursion level reached."
		return s
	}
	if hits := o.hits(p); len(hits) > 0 {
		return o.join(s, hits, depth)
	}
	a, err := o.namers(p)
	switch {
	case err != nil:
		s.Type, s.Message = "exception", err.Error()
	case a.bound:
		s.Type, s.Bound = "leaf", &shownBound{ID: a.tree.Path.String(), Path: a.residual.String()}
	case a.tree.Kind == dtab.Leaf:
		s.Type, s.Delegate = "delegate", o.explore(a.tree.Path, from, depth+1)
	default:
		s.Type = a.tree.Kind.String()
	}
	return s
}

// hits returns the trees for p, last dentry first. Alternates inside one dentry stand beside those of other dentries.
func (o *oracle) hits(p dtab.Path) (hits []hit) {
	for i := len(o.dtab) - 1; i >= 0; i-- {
		d := o.dtab[i]
		t, ok := rewritten(d, p)
		if !ok {
			continue
		}
		hits = appendFlat(hits, t, &shownDentry{Prefix: d.Prefix.String(), Dst: d.Dst.String()})
	}
	return hits
}

func appendFlat(hits []hit, t dtab.Tree, from *shownDentry) []hit {
	if t.Kind != dtab.Alt {
		return append(hits, hit{t, from})
	}
	for _, b := range t.Branches {
		hits = appendFlat(hits, b.Tree, from)
	}
	return hits
}

// join makes s the node of the hits.
func (o *oracle) join(s *step, hits []hit, depth int) *step {
	switch {
	case len(hits) > 1:
		s.Type = "alt"
		for _, h := range hits {
			s.Alt = append(s.Alt, o.follow(h, s.Path, depth))
		}
	case hits[0].tree.Kind == dtab.Union:
		s.Type, s.Union = "union", o.follow(hits[0], s.Path, depth).Union
	default:
		s.Type, s.Delegate = "delegate", o.follow(hits[0], s.Path, depth)
	}
	return s
}

// follow returns the node of one tree of a dentry. path is what was looked up: nodes that are no path themselves are shown with it, but
// for "~" and "!".
func (o *oracle) follow(h hit, path string, depth int) *step {
	switch h.tree.Kind {
	case dtab.Leaf:
		return o.explore(h.tree.Path, h.from, depth+1)
	case dtab.Alt:
		return o.join(&step{Path: path, Dentry: h.from}, appendFlat(nil, h.tree, h.from), depth)
	case dtab.Union:
		s := &step{Type: "union", Path: path, Dentry: h.from}
		for _, b := range h.tree.Branches {
			s.Union = append(s.Union, weighted{b.Weight, o.follow(hit{b.Tree, h.from}, path, depth)})
		}
		return s
	case dtab.Neg, dtab.Fail:
		path = h.tree.String()
	}
	return &step{Type: h.tree.Kind.String(), Path: path, Dentry: h.from}
}
