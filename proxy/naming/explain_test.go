package naming_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// find returns the steps that ok is true for, in the order they are shown.
func find(s *naming.Step, ok func(*naming.Step) bool) (out []*naming.Step) {
	if s == nil {
		return nil
	}
	if ok(s) {
		out = append(out, s)
	}
	out = append(out, find(s.Delegate, ok)...)
	for _, a := range s.Alt {
		out = append(out, find(a, ok)...)
	}
	for _, u := range s.Union {
		out = append(out, find(u.Tree, ok)...)
	}
	return out
}

// Every branch is tried, also below what decides, and each step names its rule.
func TestExplainTriesEveryBranch(t *testing.T) {
	f, in := newFake(), naming.NewInterpreter()
	rules, err := dtab.Parse("/old => /#/a; /host => /#/b; /svc => /old; /svc => 3 * /host & 1 * /none | /old")
	if err != nil {
		t.Fatal(err)
	}
	for i := range rules {
		rules[i].Source = dtab.Source{Object: "prod/web", Index: i}
	}
	in.Set(dtab.Compile(rules), []naming.Mount{{Prefix: dtab.Path{"#"}, Namer: f}}, time.Minute)
	f.at("/a/web").Set(leaf("/#/a/web"))
	bound := leaf("/#/b/web")
	bound.Bound.Addrs = naming.Fixed(naming.Addrs{Endpoints: []naming.Endpoint{
		{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Node: "n1", Weight: 1, Serving: true},
		{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Weight: 1},
	}})
	f.at("/b/web").Set(bound)
	e := in.Explain(t.Context(), path(t, "/svc/web"), nil)
	leaves := find(e.Root, func(s *naming.Step) bool { return s.Type == naming.StepLeaf })
	if len(leaves) != 3 || !leaves[0].Primary || leaves[1].Primary || leaves[2].Primary {
		t.Fatalf("leaves %+v, want the first of three marked", leaves)
	}
	first := leaves[0]
	if first.Share != 1 || first.Bound.ID != "/#/b/web" || first.Bound.Addr.Available != 1 || first.Bound.Addr.Total != 2 {
		t.Errorf("the leaf is %+v of %+v", first, first.Bound.Addr)
	}
	if d := first.Dentry; d.Object != "prod/web" || d.Index != 1 || d.Prefix != "/host" || d.Dst != "/#/b" {
		t.Errorf("the leaf came from %+v", d)
	}
	if none := find(e.Root, func(s *naming.Step) bool { return s.Path == "/none/web" }); len(none) != 1 || none[0].Outcome != "neg" || none[0].Primary {
		t.Errorf("the dropped branch of the union is %+v", none)
	}
	if n := f.watches(""); n != 0 {
		t.Errorf("%d answers are still held", n)
	}
}

// A name below /# that no namer could have known says so, with the namer that was meant; one that its namer does not know does not.
func TestExplainMissesANamer(t *testing.T) {
	f, in := newFake(), naming.NewInterpreter()
	in.Set(table(t, "/a => /#/io.l5d.fss; /b => /#/nothing; /c => /#/io.l5d.fs"), []naming.Mount{{Prefix: dtab.Path{"#", "io.l5d.fs"}, Namer: f}}, 0)
	f.at("/#/io.l5d.fs/web").Set(naming.Tree{Kind: dtab.Neg})
	for at, want := range map[string]string{
		"/a/web": `no namer has this prefix, did you mean "/#/io.l5d.fs"?`, "/b/web": "no namer has this prefix", "/d": "",
	} {
		steps := find(in.Explain(t.Context(), path(t, at), nil).Root, func(s *naming.Step) bool { return s.Type == naming.StepNeg })
		if len(steps) != 1 || steps[0].Message != want || steps[0].Outcome != "neg" {
			t.Errorf("%s: %+v, want the message %q", at, steps, want)
		}
	}
}

// An explanation waits for answers and endpoints that are on their way, and says what did not come.
func TestExplainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, in := newFake(), naming.NewInterpreter()
		in.Set(table(t, "/svc => /#/a"), []naming.Mount{{Prefix: dtab.Path{"#"}, Namer: f}}, 0)
		answer := f.pending("/a/web")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begin := time.Now()
		if e := in.Explain(ctx, path(t, "/svc/web"), nil); e.State != naming.Pending || e.Root.Outcome != "pending" || time.Since(begin) != 2*time.Second {
			t.Errorf("after %s: state %d, %+v", time.Since(begin), e.State, e.Root)
		}
		addrs := naming.NewVar[naming.Addrs]()
		go func() {
			time.Sleep(time.Second) // the bubble's clock
			late := leaf("/#/a/web")
			late.Bound.Addrs = addrs
			answer.Set(late)
			time.Sleep(time.Second) // the bubble's clock
			addrs.Set(naming.Addrs{Endpoints: []naming.Endpoint{{Serving: true}}})
		}()
		e := in.Explain(t.Context(), path(t, "/svc/web"), nil)
		if e.State != naming.Ok || e.Root.Delegate.Bound.Addr.Available != 1 {
			t.Errorf("state %d, root %+v", e.State, e.Root)
		}
	})
}

// What fans out is cut and says so; what requests get is told all the same.
func TestExplainIsBounded(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => /#/b | /0"+wide(10))
	f.at("/b/web").Set(leaf("/#/b/web"))
	e := in.Explain(t.Context(), path(t, "/svc/web"), nil)
	all := find(e.Root, func(*naming.Step) bool { return true })
	cut := find(e.Root, func(s *naming.Step) bool { return s.Truncated })
	if len(all) > naming.MaxSteps || len(cut) == 0 {
		t.Errorf("%d steps, %d of them cut, want at most %d", len(all), len(cut), naming.MaxSteps)
	}
	if show(e.Tree) != "/#/b/web" || e.Root.Outcome != "bound" {
		t.Errorf("leads to %s, %s", show(e.Tree), e.Root.Outcome)
	}
}

// A request's own rules are told as such, and may not lead to an address.
func TestExplainRulesOfARequest(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => /#/a")
	f.at("/a/web").Set(leaf("/#/a/web"))
	local, err := dtab.Parse("/svc => /$/inet/10.0.0.1/80")
	if err != nil {
		t.Fatal(err)
	}
	e := in.Explain(t.Context(), path(t, "/svc/web"), local)
	refused := find(e.Root, func(s *naming.Step) bool { return s.Type == naming.StepException })
	if len(refused) != 1 || !refused[0].Primary || refused[0].Dentry.Object != naming.LocalObject || refused[0].Message != naming.ErrLocalAddress.Error() {
		t.Errorf("the step is %+v", refused)
	}
}

// Transformers are steps around what they make of a name.
func TestExplainTransformers(t *testing.T) {
	f, in := newFake(), naming.NewInterpreter()
	drop := &naming.Transformer{Prefix: dtab.Path{"%", "drop"}, Change: func([]naming.Endpoint) []naming.Endpoint { return nil }}
	other := &naming.Transformer{Prefix: dtab.Path{"%", "replace"}, Path: dtab.Path{"#", "b"}}
	f.at("/b").Set(leaf("/#/b"))
	bound := leaf("/#/a/web")
	bound.Bound.Addrs = naming.Fixed(naming.Addrs{Endpoints: []naming.Endpoint{{Serving: true}}})
	f.at("/a/web").Set(bound)
	mounts := []naming.Mount{{Prefix: dtab.Path{"#"}, Namer: f, Transformers: []*naming.Transformer{drop}}}
	in.Set(table(t, "/svc => /#/a"), mounts, 0)
	s := in.Explain(t.Context(), path(t, "/svc/web"), nil).Root.Delegate
	if s.Type != naming.StepTransformation || s.Name != "/%/drop" || s.Tree.Bound.ID != "/%/drop/#/a/web" || s.Tree.Bound.Addr.Total != 0 || s.Tree.Share != 1 {
		t.Errorf("changed: %+v, %+v", s, s.Tree)
	}
	in.Set(table(t, "/svc => /#/a"), mounts, 0, other)
	s = in.Explain(t.Context(), path(t, "/svc/web"), nil).Root.Delegate
	if s.Tree.Name != "/%/replace" || s.Tree.Tree.Path != "/#/b" || !s.Tree.Tree.Primary {
		t.Errorf("replaced: %+v, %+v", s, s.Tree)
	}
}

// wide are rules whose names branch threefold at each step.
func wide(steps int) string {
	var b strings.Builder
	for i := range steps {
		fmt.Fprintf(&b, "; /%d => /%d & /%d & /%d", i, i+1, i+1, i+1)
	}
	return b.String()
}

// A circle is shown once around and named, and nothing else is taken for one.
func TestExplainCircles(t *testing.T) {
	for _, c := range []struct{ rules, local, steps, want string }{
		{"/svc => /svc", "", "2", "/svc /svc"},
		{"/svc => /svc; /svc => /svc", "", "3", "/svc /svc; /svc /svc"},
		{"/svc => /a; /a => /b | /svc", "", "4", "/svc /a /svc"},
		{"/svc => /svc/x", "", "2", "/svc/x /svc/x/x"},
		{"/svc => /svc/x; /k/k/k => !", "", "4", "/svc/x /svc/x/x"}, // until no prefix can tell the names apart
		{"/svc => /svc/x; /svc/x/x => /#/b", "", "5", "/svc/x /svc/x/x"},
		{"/svc => /svc/x; /svc/x/x => /#/b", "/svc/x/x => !", "6", "/svc/x /svc/x/x"},
		{"/svc/* => /svc", "", "2", ""}, // the name gets shorter
		{"/svc/*/y => /svc; /svc => /svc/z/y", "", "4", "/svc/z/y /svc/z/y/z/y; /svc /svc/z/y /svc"},
		{"/svc => /#/again", "", "3", "/svc/web /#/again/web /svc/web"},
		{"/svc => /svc", "/svc => /#/b", "3", "/svc /svc"},
		{"/svc => /#/b & /svc", "", "3", "/svc /svc"},
		{"/ => /x", "", "3", "/x /x/x"},
	} {
		in, f, _ := interpreter(t, c.rules)
		f.at("/b/web").Set(leaf("/#/b/web"))
		f.at("/b/x/web").Set(leaf("/#/b/x/web"))
		f.at("/b").Set(leaf("/#/b"))
		f.at("/again/web").Set(naming.PathLeaf(path(t, "/svc/web")))
		local, err := dtab.Parse(c.local)
		if err != nil {
			t.Fatal(err)
		}
		e := in.Explain(t.Context(), path(t, "/svc/web"), local)
		var cycles []string
		for _, s := range find(e.Root, func(s *naming.Step) bool { return s.Cycle != nil }) {
			cycles = append(cycles, strings.Join(s.Cycle, " "))
		}
		steps := strconv.Itoa(len(find(e.Root, func(*naming.Step) bool { return true })))
		if got := strings.Join(cycles, "; "); got != c.want || steps != c.steps {
			t.Errorf("%s, %s: %s steps, circles %q, want %s, %q", c.rules, c.local, steps, got, c.steps, c.want)
		}
		name := in.Bind(path(t, "/svc/web"), local, func(naming.Tree, naming.State, error) {})
		if tree, state, _ := name.Load(); state != e.State || show(tree) != show(e.Tree) && state == naming.Ok {
			t.Errorf("%s, %s: leads to %s (%d), requests to %s (%d)", c.rules, c.local, show(e.Tree), e.State, show(tree), state)
		}
		name.Close()
	}
}
