package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	rewriting "github.com/fairlead/fairlead/proxy/naming/rewrite"
	utilities "github.com/fairlead/fairlead/proxy/naming/utility"
)

// What the proxy serves by is held to the same cases as the reference evaluator, and to the reference evaluator itself.

// existing is the namer of all: of the names that exist, and of nothing else.
type existing []dtab.Path

func (e existing) lookup(whole dtab.Path) naming.Live[naming.Tree] {
	for _, id := range e {
		if whole.HasPrefix(id) {
			return naming.Fixed(naming.BoundLeaf(&naming.Bound{
				ID: id, Residual: whole[len(id):], Addrs: naming.Fixed(naming.Addrs{}),
			}))
		}
	}
	return naming.Fixed(naming.Neg())
}

// namerFunc is a namer by its Lookup. It is used by pointer, because namers are compared.
type namerFunc struct {
	lookup func(dtab.Path) naming.Live[naming.Tree]
}

func (n *namerFunc) Lookup(p dtab.Path) naming.Live[naming.Tree] { return n.lookup(p) }

// mountsOf returns the namers of a case.
func mountsOf(t *testing.T, names []string, given []givenNamer) []naming.Mount {
	t.Helper()
	resolver := dns.New(dns.Options{Lookup: func(context.Context, string) ([]netip.Addr, time.Duration, error) { return nil, 0, nil }})
	t.Cleanup(resolver.Close)
	var ids existing
	for _, s := range names {
		ids = append(ids, must(t, dtab.ParsePath, s))
	}
	mounts := append(utilities.Mounts(resolver), naming.Mount{Namer: &namerFunc{ids.lookup}})
	for _, g := range given {
		prefix := g.path(t)
		var namer naming.Namer = &namerFunc{func(p dtab.Path) naming.Live[naming.Tree] {
			v := naming.NewVar[naming.Tree]()
			v.Fail(fmt.Errorf("error naming %s", prefix.Append(p...)))
			return v
		}}
		if g.Kind == "io.l5d.rewrite" {
			r, err := rewriting.New(g.Pattern, g.Name, false)
			if err != nil {
				t.Fatal(err)
			}
			namer = r
		}
		mounts = append(mounts, naming.Mount{Prefix: prefix, Namer: namer})
	}
	return mounts
}

// served is what the proxy makes of a name.
type served struct {
	tree     dtab.Tree
	bound    bool
	residual map[string]dtab.Path
	err      error
}

// serve binds one name as the proxy does.
func serve(base dtab.Dtab, local dtab.Dtab, p dtab.Path, mounts []naming.Mount) served {
	in := naming.NewInterpreter()
	in.Set(dtab.Compile(base), mounts, time.Minute)
	name := in.Bind(p, local, func(naming.Tree, naming.State, error) {})
	defer name.Close()
	tree, _, err := name.Load()
	s := served{err: err, residual: make(map[string]dtab.Path)}
	if err == nil {
		s.tree = s.shown(tree)
	}
	return s
}

// shown returns the tree with the bound names in place of the leaves.
func (s *served) shown(t naming.Tree) dtab.Tree {
	out := dtab.Tree{Kind: t.Kind}
	if t.Kind == dtab.Leaf {
		out.Path = t.Bound.ID
		s.residual[t.Bound.ID.String()] = t.Bound.Residual
	}
	for _, b := range t.Branches {
		out.Branches = append(out.Branches, dtab.Weighted{Weight: b.Weight, Tree: s.shown(b.Tree)})
	}
	return out
}

// String returns the form of the cases.
func (s served) String() string {
	var rule *naming.RuleError
	switch {
	case s.err == nil:
		return s.tree.String()
	case errors.Is(s.err, naming.ErrMaxDepth):
		return "error:" + errMaxDepth.Error()
	case errors.As(s.err, &rule) && !errors.Is(s.err, naming.ErrMaxLookups):
		return "error:" + errUnknownNamer.Error()
	}
	return "error:" + s.err.Error()
}

func servedBind(t *testing.T, c dtabCase) {
	base, local := must(t, dtab.Parse, c.Dtab), dtab.Dtab(nil)
	if c.Kind == "override" {
		base = must(t, dtab.Parse, c.Base)
		local = must(t, dtab.Parse, c.CtxHeader).Concat(must(t, dtab.Parse, c.UserHeader))
	}
	got := serve(base, local, must(t, dtab.ParsePath, c.Path), mountsOf(t, c.Bound, c.Given.Namers))
	same(t, "served tree", got.String(), c.expected(t))
	for id, residual := range decode[map[string]string](t, c.Residual) {
		same(t, "served residual of "+id, got.residual[id].String(), residual)
	}
	if c.Fractions != nil {
		shares := make(map[string]float64)
		spread(got.tree, 1, shares)
		sameShares(t, "served fractions", shares, c.Fractions)
	}
}

func servedNamer(t *testing.T, c dtabCase) {
	p := must(t, dtab.ParsePath, c.Path)
	got := look(mountsOf(t, nil, nil), p)
	same(t, "served answer", got.String(), c.expected(t))
	if got.bound != c.BoundName {
		t.Errorf("served as a bound name: %v, want %v", got.bound, c.BoundName)
	}
	if want := decode[string](t, c.Residual); want != "" {
		same(t, "served residual", got.residual[c.expected(t)].String(), want)
	}
}

// look asks the namers once, as a delegation does for a name that no rule speaks of.
func look(mounts []naming.Mount, p dtab.Path) served {
	s := served{tree: dtab.Tree{Kind: dtab.Neg}, residual: make(map[string]dtab.Path)}
	for _, m := range slices.Backward(mounts) {
		if !p.HasPrefix(m.Prefix) {
			continue
		}
		live := m.Namer.Lookup(p[len(m.Prefix):])
		defer live.Close()
		tree, _, err := live.Load()
		switch {
		case err != nil:
			s.err = err
			return s
		case tree.Kind == dtab.Leaf && tree.Bound == nil:
			s.tree = dtab.Tree{Kind: dtab.Leaf, Path: tree.Path}
			return s
		case tree.Kind != dtab.Neg:
			s.bound = tree.Kind == dtab.Leaf
			s.tree = s.shown(tree)
			return s
		}
	}
	return s
}

func servedRewrite(t *testing.T, c dtabCase) {
	n, err := rewriting.New(c.Pattern, c.Template, false)
	if err != nil {
		t.Fatal(err)
	}
	tree, _, _ := n.Lookup(must(t, dtab.ParsePath, c.Path)).Load()
	same(t, "answer", dtab.Tree{Kind: tree.Kind, Path: tree.Path}.String(), c.expected(t))
}

// servedMatch asks for each variable of a pattern by a name made of it alone.
func servedMatch(t *testing.T, c dtabCase) {
	want := decode[map[string]string](t, c.Expect)
	name := "/matched"
	for v := range want {
		name += "/v{" + v + "}" // a variable may stand for nothing
	}
	n, err := rewriting.New(c.Pattern, name, false)
	if err != nil {
		t.Fatal(err)
	}
	tree, _, _ := n.Lookup(must(t, dtab.ParsePath, c.Path)).Load()
	if (tree.Kind == dtab.Leaf) != (want != nil) {
		t.Fatalf("%s is %s, want match: %v", c.Path, tree.Kind, want != nil)
	}
	for i, v := range strings.Split(name, "/")[2:] {
		same(t, v, tree.Path[i+1], "v"+want[strings.Trim(v, "v{}")])
	}
}

// servedEval takes each leaf for a name that exists and has itself as its endpoint.
func servedEval(t *testing.T, c dtabCase) {
	d := dtab.Dtab{{Prefix: must(t, dtab.ParsePrefix, "/svc"), Dst: must(t, dtab.ParseTree, c.Dtab)}}
	all := &namerFunc{func(p dtab.Path) naming.Live[naming.Tree] {
		if p[0] == "svc" {
			return naming.Fixed(naming.Neg())
		}
		return naming.Fixed(naming.BoundLeaf(&naming.Bound{ID: p, Addrs: naming.Fixed(naming.Addrs{})}))
	}}
	got := serve(d, nil, dtab.Path{"svc"}, []naming.Mount{{Namer: all}})
	if got.err != nil {
		t.Fatal(got.err)
	}
	want := decode[[]string](t, c.Expect)
	shares := make(map[string]float64)
	spread(got.tree, 1, shares)
	delete(shares, "$")
	leads := got.tree.Kind != dtab.Neg && got.tree.Kind != dtab.Fail
	if leads != (want != nil) || leads && len(shares) != len(want) {
		t.Fatalf("tree %s, want endpoints %v", got.tree, want)
	}
	for _, w := range want {
		if _, ok := shares[w]; !ok {
			t.Errorf("tree %s leads to %v, want %v", got.tree, shares, want)
		}
	}
}

// servedDelegate compares where the playground's tree ends with what is served, and the tree with what is explained.
func servedDelegate(t *testing.T, c dtabCase) {
	d, p := must(t, dtab.Parse, c.Dtab), must(t, dtab.ParsePath, c.Path)
	checkServed(t, &oracle{t: t, dtab: d, bound: c.Bound, given: c.Given.Namers}, p, mountsOf(t, c.Bound, c.Given.Namers))
	explainDelegate(t, c)
}

// checkServed compares the proxy's answer with the reference evaluator's, and reports whether both bound the name.
func checkServed(t *testing.T, o *oracle, p dtab.Path, mounts []naming.Mount) (compared bool) {
	t.Helper()
	o.maxVisits = 2 * naming.MaxLookups
	tree, err := o.bind(p, 0)
	got := serve(o.dtab, nil, p, mounts)
	switch visits := len(o.visits); {
	case visits >= o.maxVisits:
		if !errors.Is(got.err, naming.ErrMaxLookups) {
			t.Errorf("%s by %s: %s, want the error of too many lookups", p, o.dtab, got)
		}
		return true
	case visits > naming.MaxLookups/2:
		return false // the two do not count alike
	}
	want := tree.String()
	if err != nil {
		want = "error:" + err.Error()
	}
	if s := got.String(); s != want && !(err != nil && got.err != nil && strings.HasSuffix(s, want[len("error:"):])) {
		t.Errorf("%s by %s:\n got %s\nwant %s", p, o.dtab, s, want)
		return true
	}
	if err == nil {
		for id := range got.residual {
			same(t, "residual of "+id, got.residual[id].String(), o.residual[id].String())
		}
	}
	return true
}
