package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

var explainPairs = flag.Int("explain-pairs", 100_000, "random (dtab, path) pairs for which what is explained is held to what is served")

// ended is a context that does not wait for endpoints.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// explainDelegate holds the explained tree to the playground's.
func explainDelegate(t *testing.T, c dtabCase) {
	in := naming.NewInterpreter()
	in.Set(dtab.Compile(must(t, dtab.Parse, c.Dtab)), mountsOf(t, c.Bound, c.Given.Namers), time.Minute)
	e := in.Explain(ended(), must(t, dtab.ParsePath, c.Path), nil)
	data, err := json.Marshal(playgroundStep(e.Root))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(decode[any](t, data), decode[any](t, c.Expect)) {
		t.Errorf("got %s, want %s", data, c.Expect)
	}
}

// playgroundStep leaves out what Linkerd's playground does not have.
func playgroundStep(s *naming.Step) *step {
	if s == nil {
		return nil
	}
	out := &step{Type: s.Type, Path: s.Path, Message: s.Message, Delegate: playgroundStep(s.Delegate)}
	if s.Dentry != nil {
		out.Dentry = &shownDentry{Prefix: s.Dentry.Prefix, Dst: s.Dentry.Dst}
	}
	if s.Bound != nil {
		out.Bound = &shownBound{ID: s.Bound.ID, Path: s.Bound.Path}
	}
	for _, a := range s.Alt {
		out.Alt = append(out.Alt, playgroundStep(a))
	}
	for _, u := range s.Union {
		out.Union = append(out.Union, weighted{u.Weight, playgroundStep(u.Tree)})
	}
	return out
}

// winner is the tree that the marked steps make, as a reader of the explanation would draw it.
func winner(s *naming.Step, residual map[string]string) dtab.Tree {
	switch s.Type {
	case naming.StepLeaf:
		id, err := dtab.ParsePath(s.Bound.ID)
		if err != nil {
			panic(err)
		}
		residual[s.Bound.ID] = s.Bound.Path
		return dtab.Tree{Kind: dtab.Leaf, Path: id}
	case naming.StepDelegate:
		if s.Delegate.Primary {
			return winner(s.Delegate, residual)
		}
	case naming.StepTransformation:
		if s.Tree.Primary {
			return winner(s.Tree, residual)
		}
	case naming.StepAlt:
		for _, a := range s.Alt {
			if a.Primary {
				return winner(a, residual)
			}
		}
	case naming.StepUnion:
		var kept []dtab.Weighted
		for _, u := range s.Union {
			if u.Tree.Primary {
				kept = append(kept, dtab.Weighted{Weight: u.Weight, Tree: winner(u.Tree, residual)})
			}
		}
		switch len(kept) {
		case 0:
			return dtab.Tree{Kind: dtab.Neg}
		case 1:
			return kept[0].Tree
		}
		return dtab.Tree{Kind: dtab.Union, Branches: kept}
	case naming.StepFail:
		return dtab.Tree{Kind: dtab.Fail}
	case naming.StepEmpty:
		return dtab.Tree{Kind: dtab.Empty}
	}
	return dtab.Tree{Kind: dtab.Neg}
}

// markedException returns the message of the exception that requests end in, or "".
func markedException(s *naming.Step) string {
	if s == nil || !s.Primary {
		return ""
	}
	found := ""
	if s.Type == naming.StepException {
		found = s.Message
	}
	for _, c := range append(append([]*naming.Step{}, s.Alt...), s.Delegate, s.Tree) {
		found += markedException(c)
	}
	for _, u := range s.Union {
		found += markedException(u.Tree)
	}
	return found
}

func markedShares(s *naming.Step, shares map[string]float64) {
	if s == nil || !s.Primary {
		return
	}
	switch s.Type {
	case naming.StepLeaf:
		shares[s.Bound.ID] += s.Share
	case naming.StepEmpty:
		shares["$"] += s.Share
	}
	markedShares(s.Delegate, shares)
	markedShares(s.Tree, shares)
	for _, a := range s.Alt {
		markedShares(a, shares)
	}
	for _, u := range s.Union {
		markedShares(u.Tree, shares)
	}
}

// checkExplained holds what is explained to what is served.
func checkExplained(t *testing.T, in *naming.Interpreter, d dtab.Dtab, p dtab.Path) *naming.Explanation {
	t.Helper()
	name := in.Bind(p, nil, func(naming.Tree, naming.State, error) {})
	tree, state, err := name.Load()
	name.Close()
	e := in.Explain(ended(), p, nil)
	if e.State != state || (err == nil) != (e.Err == nil) || err != nil && err.Error() != e.Err.Error() {
		t.Fatalf("%s by %s: served state %d, error %v; explained state %d, error %v", p, d, state, err, e.State, e.Err)
	}
	if !e.Root.Primary {
		t.Fatalf("%s by %s: the root is not marked", p, d)
	}
	if err != nil {
		if !errors.Is(err, naming.ErrMaxLookups) && markedException(e.Root) == "" {
			t.Fatalf("%s by %s: no exception is marked, served %v", p, d, err)
		}
		return e
	}
	live := served{residual: map[string]dtab.Path{}}
	want := live.shown(tree)
	explained := served{residual: map[string]dtab.Path{}}
	if got := explained.shown(e.Tree); !got.Equal(want) || !reflect.DeepEqual(explained.residual, live.residual) {
		t.Fatalf("%s by %s:\nserved    %s\nexplained %s", p, d, want, got)
	}
	residual := map[string]string{}
	if truncated(e.Root) {
		return e
	}
	if got := winner(e.Root, residual); !got.Equal(want) {
		t.Fatalf("%s by %s:\nserved %s\nmarked %s", p, d, want, got)
	}
	for id, rest := range residual {
		if live.residual[id].String() != rest {
			t.Fatalf("%s by %s: residual of %s: served %s, explained %s", p, d, id, live.residual[id], rest)
		}
	}
	checkShares(t, e, want)
	return e
}

func checkShares(t *testing.T, e *naming.Explanation, want dtab.Tree) {
	t.Helper()
	marked, reference := map[string]float64{}, map[string]float64{}
	markedShares(e.Root, marked)
	if spread(want, 1, reference); want.Kind == dtab.Neg || want.Kind == dtab.Fail {
		clear(reference)
	}
	for id, share := range reference {
		if math.Abs(marked[id]-share) > 1e-9 {
			t.Fatalf("share of %s: explained %v, want %v", id, marked, reference)
		}
	}
	if len(marked) != len(reference) {
		t.Fatalf("shares explained %v, want %v", marked, reference)
	}
}

func truncated(s *naming.Step) bool {
	if s == nil {
		return false
	}
	cut := s.Truncated || truncated(s.Delegate) || truncated(s.Tree)
	for _, a := range s.Alt {
		cut = cut || truncated(a)
	}
	for _, u := range s.Union {
		cut = cut || truncated(u.Tree)
	}
	return cut
}

// transformers returns up to n of all sorts.
func transformers(r *rand.Rand, n int) (out []*naming.Transformer) {
	for range n {
		t := &naming.Transformer{Prefix: dtab.Path{"%", "change"}, Change: func(e []naming.Endpoint) []naming.Endpoint { return e }}
		switch r.IntN(8) {
		case 0:
			t = &naming.Transformer{Prefix: dtab.Path{"%", "replace"}, Path: dtab.Path{"#", "b", "c", "x"}}
		case 1:
			t = &naming.Transformer{Prefix: dtab.Path{"%", "replace"}, Path: dtab.Path{"#", "none"}}
		case 2:
			t = &naming.Transformer{Prefix: dtab.Path{"%", "const"}, Path: dtab.Path{"#", "a"}, Always: true}
		}
		out = append(out, t)
	}
	return out[:r.IntN(n+1)]
}

func withTransformers(r *rand.Rand, mounts []naming.Mount, n int) []naming.Mount {
	mounts = slices.Clone(mounts)
	for i := range mounts {
		mounts[i].Transformers = transformers(r, n)
	}
	return mounts
}

// layers are the first elements of names: rules lead from one to a later one.
var layers = []string{"svc", "host", "canary", "stable"}

func layeredPath(r *rand.Rand, n int) dtab.Path {
	return dtab.Path{layers[r.IntN(2)]}.Append(randomPath(r, n)...)
}

func layeredDtab(r *rand.Rand) (d dtab.Dtab) {
	for i := range 2 + r.IntN(8) {
		layer := r.IntN(len(layers))
		x := dtab.Prefix{{Label: layers[layer]}}
		for range max(0, r.IntN(4)-1) {
			x = append(x, dtab.Elem{Label: []string{"a", "b", "c", "d"}[r.IntN(4)], Any: r.IntN(3) == 0})
		}
		d = append(d, dtab.Dentry{Prefix: x, Dst: layeredTree(r, layer, 2), Source: dtab.Source{Object: "test/rules", Index: i}})
	}
	return d
}

func layeredTree(r *rand.Rand, layer, depth int) dtab.Tree {
	t := randomTree(r, depth)
	onward(r, layer, &t)
	return t
}

// onward makes each leaf one of a later layer, or of a namer.
func onward(r *rand.Rand, layer int, t *dtab.Tree) {
	if t.Kind == dtab.Leaf {
		if next := layer + 1 + r.IntN(3); next < len(layers) {
			t.Path = dtab.Path{layers[next]}.Append(t.Path...)
		} else {
			t.Path = dtab.Path{"#"}.Append([]string{"a", "a", "a", "turn", "broken", "none"}[r.IntN(6)]).Append(randomPath(r, r.IntN(2))...)
		}
	}
	for i := range t.Branches {
		onward(r, layer, &t.Branches[i].Tree)
	}
}

// What is explained is what is served, for any rules and any name, and both are what the reference evaluator says.
func TestExplainedAsServed(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	given := []givenNamer{
		{Kind: "error", Prefix: "/#/broken"},
		{Kind: "io.l5d.rewrite", Prefix: "/#/turn", Pattern: "/{x}/{y}", Name: "/{y}/{x}"},
	}
	names := []string{"/#/a", "/#/b/c", "/#/c/a/b"}
	mounts := mountsOf(t, names, given)
	outcomes := map[string]int{}
	wide, referenced := 0, 0
	for n := 0; n < *explainPairs; {
		// Rules that loop make many steps of long paths: most pairs are of rules that lead on.
		d, name := layeredDtab(random), layeredPath
		if n%100 == 0 {
			d, name = randomDtab(random), randomPath
		}
		in := naming.NewInterpreter()
		changes := 0
		if n%4 == 1 {
			changes = 1 + random.IntN(3)
		}
		in.Set(dtab.Compile(d), withTransformers(random, mounts, changes), time.Minute, transformers(random, changes)...)
		for range 5 {
			p := name(random, 1+random.IntN(3))
			// Rules that fan out without end take long and are all alike: a few will do.
			o := &oracle{t: t, dtab: d, bound: names, given: given, maxVisits: 300}
			tree, err := o.bind(p, 0)
			if len(o.visits) >= o.maxVisits {
				if wide++; wide > 20 {
					continue
				}
			}
			n++
			e := checkExplained(t, in, d, p)
			outcomes[e.Root.Outcome]++
			if len(o.visits) >= o.maxVisits || changes > 0 {
				continue // the reference evaluator knows no transformers
			}
			referenced++
			got := served{err: e.Err, residual: map[string]dtab.Path{}}
			if e.Err == nil {
				got.tree = got.shown(e.Tree)
			}
			want := tree.String()
			if err != nil {
				want = "error:" + err.Error()
			}
			if s := got.String(); s != want && !(err != nil && e.Err != nil && strings.HasSuffix(s, want[len("error:"):])) {
				t.Fatalf("%s by %s:\nexplained %s\nreference %s", p, d, s, want)
			}
		}
	}
	for _, o := range []string{"bound", "neg", "fail", "empty", "error"} {
		if outcomes[o] < *explainPairs/200 {
			t.Errorf("only %d pairs come to %s: %v", outcomes[o], o, outcomes)
		}
	}
	t.Logf("%d pairs, %d with the reference evaluator: %v", *explainPairs, referenced, outcomes)
}
