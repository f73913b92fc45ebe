package conformance

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// The reference evaluator: delegation as the specification tells it, over a fixed set of names that exist.

var (
	errMaxDepth     = errors.New("max-depth")
	errUnknownNamer = errors.New("unknown-namer")
	errMaxVisits    = errors.New("max-visits")
)

// oracle delegates names by one dtab.
type oracle struct {
	t    testing.TB
	dtab dtab.Dtab
	// bound are the names below /#/ that exist.
	bound []string
	given []givenNamer
	// answers are what the namer of /# says of whole names, where such a namer was asked before bound.
	answers map[string]answer
	// maxVisits, where it is not 0, ends the delegation of a name that needs more lookups.
	maxVisits int

	// visits are the paths that were looked up, in order.
	visits   []string
	residual map[string]dtab.Path
}

// answer is what a namer says of a path. With bound, the tree is a leaf whose path is the bound name.
type answer struct {
	tree     dtab.Tree
	bound    bool
	residual dtab.Path
}

func only(k dtab.Kind) answer    { return answer{tree: dtab.Tree{Kind: k}} }
func reenter(p dtab.Path) answer { return answer{tree: dtab.Tree{Kind: dtab.Leaf, Path: p}} }
func bound(p dtab.Path, n int) answer {
	return answer{tree: dtab.Tree{Kind: dtab.Leaf, Path: p[:n]}, bound: true, residual: p[n:]}
}

// bind returns the tree of bound names that p delegates to. depth counts the lookups before this one.
func (o *oracle) bind(p dtab.Path, depth int) (dtab.Tree, error) {
	if depth > dtab.MaxDepth {
		return dtab.Tree{}, errMaxDepth
	}
	if o.maxVisits > 0 && len(o.visits) >= o.maxVisits {
		return dtab.Tree{}, errMaxVisits
	}
	o.visits = append(o.visits, p.String())
	// A single "~" cannot be told from no match at all: namers are asked in both cases.
	if t := o.lookup(p); t.Kind != dtab.Neg {
		return o.evalTree(t, depth+1)
	}
	a, err := o.namers(p)
	if err != nil {
		return dtab.Tree{}, err
	}
	if !a.bound {
		return o.evalTree(a.tree, depth+1)
	}
	if depth+1 > dtab.MaxDepth {
		return dtab.Tree{}, errMaxDepth
	}
	if o.residual == nil {
		o.residual = make(map[string]dtab.Path)
	}
	o.residual[a.tree.Path.String()] = a.residual
	return a.tree, nil
}

// lookup is one step (linkerd1.md section 4.2): what every dentry that matches makes of p, the last one first.
func (o *oracle) lookup(p dtab.Path) dtab.Tree {
	var hits []dtab.Weighted
	for i := len(o.dtab) - 1; i >= 0; i-- {
		if t, ok := rewritten(o.dtab[i], p); ok {
			hits = append(hits, dtab.Weighted{Weight: 1, Tree: t})
		}
	}
	switch len(hits) {
	case 0:
		return dtab.Tree{Kind: dtab.Neg}
	case 1:
		return hits[0].Tree
	}
	return dtab.Tree{Kind: dtab.Alt, Branches: hits}
}

// rewritten returns what one dentry makes of p.
func rewritten(d dtab.Dentry, p dtab.Path) (dtab.Tree, bool) {
	if len(p) < len(d.Prefix) {
		return dtab.Tree{}, false
	}
	for i, e := range d.Prefix {
		if !e.Any && e.Label != p[i] {
			return dtab.Tree{}, false
		}
	}
	return withSuffix(d.Dst, p[len(d.Prefix):]), true
}

// withSuffix returns the tree with the suffix behind every path in it.
func withSuffix(t dtab.Tree, suffix dtab.Path) dtab.Tree {
	out := dtab.Tree{Kind: t.Kind}
	if t.Kind == dtab.Leaf {
		out.Path = append(append(dtab.Path{}, t.Path...), suffix...)
	}
	for _, b := range t.Branches {
		out.Branches = append(out.Branches, dtab.Weighted{Weight: b.Weight, Tree: withSuffix(b.Tree, suffix)})
	}
	return out
}

func (o *oracle) evalTree(t dtab.Tree, depth int) (dtab.Tree, error) {
	if depth > dtab.MaxDepth {
		return dtab.Tree{}, errMaxDepth
	}
	switch t.Kind {
	case dtab.Leaf:
		return o.bind(t.Path, depth)
	case dtab.Alt:
		for _, b := range t.Branches {
			// An error ends the alt as any other result but Neg does.
			if got, err := o.evalTree(b.Tree, depth); err != nil || got.Kind != dtab.Neg {
				return got, err
			}
		}
		return dtab.Tree{Kind: dtab.Neg}, nil
	case dtab.Union:
		return o.evalUnion(t, depth)
	}
	return t, nil
}

func (o *oracle) evalUnion(t dtab.Tree, depth int) (dtab.Tree, error) {
	var (
		kept  []dtab.Weighted
		first error
		ok    bool
	)
	for _, b := range t.Branches {
		got, err := o.evalTree(b.Tree, depth)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		ok = true
		if got.Kind != dtab.Neg && got.Kind != dtab.Fail {
			kept = append(kept, dtab.Weighted{Weight: b.Weight, Tree: got})
		}
	}
	switch {
	case !ok:
		return dtab.Tree{}, first
	case len(kept) == 0:
		return dtab.Tree{Kind: dtab.Neg}, nil
	case len(kept) == 1:
		return kept[0].Tree, nil
	}
	return dtab.Tree{Kind: dtab.Union, Branches: kept}, nil
}

// namers asks the given namers, last configured first, then the names that exist, then the utility namers.
func (o *oracle) namers(p dtab.Path) (answer, error) {
	for i := len(o.given) - 1; i >= 0; i-- {
		n := o.given[i]
		prefix := n.path(o.t)
		if !p.HasPrefix(prefix) {
			continue
		}
		if n.Kind != "io.l5d.rewrite" {
			return answer{}, fmt.Errorf("error naming %s", p)
		}
		if a := n.rewrite(p[len(prefix):]); a.tree.Kind != dtab.Neg {
			return a, nil
		}
	}
	if a, ok := o.answers[p.String()]; ok && a.tree.Kind != dtab.Neg {
		return a, nil
	}
	for _, s := range o.bound {
		id, err := dtab.ParsePath(s)
		if err != nil {
			return answer{}, err
		}
		if p.HasPrefix(id) {
			return bound(p, len(id)), nil
		}
	}
	return utility(p)
}

// spread adds to shares what part of the requests each leaf gets, where share is what the whole tree gets.
func spread(t dtab.Tree, share float64, shares map[string]float64) {
	if t.Kind != dtab.Union {
		shares[t.String()] += share
		return
	}
	sum := 0.0
	for _, b := range t.Branches {
		sum += b.Weight
	}
	for _, b := range t.Branches {
		part := 1 / float64(len(t.Branches))
		if sum > 0 {
			part = b.Weight / sum
		}
		spread(b.Tree, share*part, shares)
	}
}

// eval returns the endpoints of a tree whose leaves are endpoints: nil for Neg and Fail, empty for Empty.
func eval(t dtab.Tree) []string {
	endpoints, kind := evalKind(t)
	if kind == dtab.Neg || kind == dtab.Fail {
		return nil
	}
	return append([]string{}, endpoints...)
}

// evalKind returns the endpoints, and Neg or Fail where that is the outcome.
func evalKind(t dtab.Tree) (endpoints []string, outcome dtab.Kind) {
	switch t.Kind {
	case dtab.Leaf:
		return []string{t.Path.String()}, dtab.Leaf
	case dtab.Alt:
		for _, b := range t.Branches {
			if endpoints, outcome = evalKind(b.Tree); outcome != dtab.Neg {
				return endpoints, outcome
			}
		}
		return nil, dtab.Neg
	case dtab.Union:
		outcome = dtab.Neg
		for _, b := range t.Branches {
			if e, k := evalKind(b.Tree); k != dtab.Neg && k != dtab.Fail {
				endpoints, outcome = append(endpoints, e...), dtab.Union
			}
		}
		return endpoints, outcome
	}
	return nil, t.Kind
}

// headerDtab returns what the headers of a request add to the dtab: the context first, so that the user's own wins.
func headerDtab(t *testing.T, h http.Header) dtab.Dtab {
	t.Helper()
	return must(t, dtab.Parse, h.Get("L5d-Ctx-Dtab")).Concat(must(t, dtab.Parse, h.Get("L5d-Dtab")))
}

// A name may be rewritten 99 times before a namer binds it; one rewrite more is an error.
func TestOracleDepth(t *testing.T) {
	for _, c := range []struct {
		rewrites int
		want     error
	}{{0, nil}, {1, nil}, {dtab.MaxDepth - 1, nil}, {dtab.MaxDepth, errMaxDepth}} {
		var text strings.Builder
		for i := range c.rewrites {
			fmt.Fprintf(&text, "/%d=>/%d;", i, i+1)
		}
		fmt.Fprintf(&text, "/none=>~")
		o := &oracle{t: t, dtab: must(t, dtab.Parse, text.String()), bound: []string{fmt.Sprintf("/%d", c.rewrites)}}
		if _, err := o.bind(dtab.Path{"0"}, 0); !errors.Is(err, c.want) {
			t.Errorf("%d rewrites: %v, want %v", c.rewrites, err, c.want)
		}
	}
}
