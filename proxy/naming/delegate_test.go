package naming_test

import (
	"errors"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// alt and union are trees that a namer answers.
func alt(trees ...naming.Tree) naming.Tree { return branches(dtab.Alt, trees) }

func union(trees ...naming.Tree) naming.Tree { return branches(dtab.Union, trees) }

func branches(k dtab.Kind, trees []naming.Tree) naming.Tree {
	t := naming.Tree{Kind: k}
	for i, b := range trees {
		t.Branches = append(t.Branches, naming.Weighted{Weight: float64(i + 1), Tree: b})
	}
	return t
}

// A namer may answer any tree: its paths go through the rules again, its branches are taken as those of a rule.
func TestAnswersOfNamersAreDelegated(t *testing.T) {
	neg, fail, empty := naming.Neg(), naming.Tree{Kind: dtab.Fail}, naming.Tree{Kind: dtab.Empty}
	again := naming.PathLeaf(path(t, "/again"))
	for _, c := range []struct {
		what   string
		answer naming.Tree
		want   string
	}{
		{"a path that a rule rewrites", again, "/#/b"},
		{"the root, which no rule rewrites", naming.PathLeaf(dtab.Path{}), "neg"},
		{"an alternate that begins with Neg", alt(neg, again, fail), "/#/b"},
		{"an alternate that begins with Fail", alt(fail, again), "fail"},
		{"an alternate that begins with Empty", alt(empty, again), "empty"},
		{"an alternate of nothing", alt(), "neg"},
		{"a union of a path and a bound name", union(again, leaf("/#/c")), "1*/#/b 2*/#/c "},
		{"a union that drops Neg and Fail", union(neg, leaf("/#/c"), fail, again), "2*/#/c 4*/#/b "},
		{"a union that keeps Empty", union(empty, leaf("/#/c")), "1*empty 2*/#/c "},
		{"a union of which one branch is left", union(fail, neg, leaf("/#/c")), "/#/c"},
		{"a union of which none is left", union(fail, neg), "/#/fallback/web"}, // Neg: the earlier rule
		{"a union of unions", union(union(again, leaf("/#/c")), again), "1*1*/#/b 2*/#/c  2*/#/b "},
		{"a union of nothing", union(), "/#/fallback/web"},
	} {
		in, f, _ := interpreter(t, "/svc => /#/fallback; /svc => /#/a; /again => /#/b")
		f.at("/a/web").Set(c.answer)
		f.at("/b").Set(leaf("/#/b"))
		if c.want == "/#/fallback/web" {
			f.at("/fallback/web").Set(leaf("/#/fallback/web"))
		}
		n := in.Bind(path(t, "/svc/web"), nil, ignore)
		if tree, state, err := n.Load(); show(tree) != c.want || state != naming.Ok {
			t.Errorf("%s: %s, state %d, %v; want %s", c.what, show(tree), state, err, c.want)
		}
		n.Close()
		if f.watches("") != 0 {
			t.Errorf("%s: watches left open: %v", c.what, f.open)
		}
	}
}

// A namer whose answer leads back to itself ends as a rule that does.
func TestANamerThatLeadsToItselfIsTooDeep(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => /#/a; /back => /#/a/web")
	f.at("/a/web").Set(leaf("/#/a/web"))
	n := bindNow(t, in)
	f.at("/a/web").Set(naming.PathLeaf(path(t, "/back")))
	await(t, n, func(tree naming.Tree, s naming.State, err error) bool {
		return s == naming.Failed && errors.Is(err, naming.ErrMaxDepth) && show(tree) == "nothing"
	})
	f.at("/a/web").Set(leaf("/#/a/web"))
	awaitTree(t, n, "/#/a/web")
}

// The share of a branch goes to the others while it has none, comes back with it, and stays its own while it is Empty.
func TestSharesFollowTheBranches(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => 6*/#/a & 3*/#/b & 1*/#/c")
	for _, name := range []string{"a", "b", "c"} {
		f.at("/" + name + "/web").Set(leaf("/#/" + name))
	}
	n := bindNow(t, in)
	for _, step := range []struct {
		name   string
		answer naming.Tree
		want   string
	}{
		{"a", naming.Neg(), "3*/#/b 1*/#/c "},
		{"b", naming.Tree{Kind: dtab.Fail}, "/#/c"},
		{"c", naming.Neg(), "neg"},
		{"a", naming.Tree{Kind: dtab.Empty}, "empty"},
		{"b", leaf("/#/b"), "6*empty 3*/#/b "},
		{"c", union(leaf("/#/d"), leaf("/#/e")), "6*empty 3*/#/b 1*1*/#/d 2*/#/e  "},
		{"a", leaf("/#/a"), "6*/#/a 3*/#/b 1*1*/#/d 2*/#/e  "},
	} {
		f.at("/" + step.name + "/web").Set(step.answer)
		awaitTree(t, n, step.want)
	}
	// A branch whose watch breaks is what it was last.
	f.at("/b/web").Fail(errors.New("watch broke"))
	f.at("/c/web").Set(naming.Neg())
	awaitTree(t, n, "6*/#/a 3*/#/b ")
}

// Of namers mounted at prefixes of one name the last is asked first, and the next one where it has no such name.
func TestTheLastNamerIsAskedFirst(t *testing.T) {
	in := naming.NewInterpreter()
	all, short, long := newFake(), newFake(), newFake()
	mounts := []naming.Mount{
		{Namer: all}, {Prefix: dtab.Path{"#", "a", "b"}, Namer: long}, {Prefix: dtab.Path{"#", "a"}, Namer: short},
	}
	in.Set(table(t, "/svc => /#/a/b; /#/a => ~"), mounts, time.Minute) // one "~" hides no namer
	n := bindNow(t, in)
	awaitTree(t, n, "neg")
	all.at("/#/a/b/web").Set(leaf("/all"))
	awaitTree(t, n, "/all")
	long.at("/web").Set(leaf("/long"))
	awaitTree(t, n, "/long")
	short.at("/b/web").Set(leaf("/short"))
	awaitTree(t, n, "/short")
	if all.watches("") != 0 || long.watches("") != 0 || short.watches("") != 1 {
		t.Errorf("watches: %v, %v, %v; want the one of the namer that answered", all.open, long.open, short.open)
	}
	short.at("/b/web").Set(naming.Tree{Kind: dtab.Fail})
	awaitTree(t, n, "fail")
}

// A namer that answered the root and fails then goes on to have answered it.
func TestTheRootIsAnAnswer(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => /#/root | /#/a")
	f.at("/root/web").Set(naming.PathLeaf(nil))
	f.at("/a/web").Set(leaf("/#/a/web"))
	n := bindNow(t, in)
	awaitTree(t, n, "/#/a/web")
	f.at("/root/web").Fail(errors.New("watch broke"))
	f.at("/a/web").Set(leaf("/#/a/web-2"))
	awaitTree(t, n, "/#/a/web-2")
}

// Each name holds what it needs: a watch ends with the last name that needs it, also where rules change in between.
func TestWatchesEndWithTheLastName(t *testing.T) {
	in, f, mounts := interpreter(t, "/svc => /#/a | /#/b; /other => /#/b")
	f.at("/b/web").Set(leaf("/#/b/web"))
	first, second := in.Bind(path(t, "/svc/web"), nil, ignore), in.Bind(path(t, "/other/web"), nil, ignore)
	if f.watches("/a/web") != 1 || f.watches("/b/web") != 2 {
		t.Fatalf("watches %v", f.open)
	}
	f.at("/a/web").Set(leaf("/#/a/web"))
	awaitTree(t, first, "/#/a/web")
	if f.watches("/b/web") != 1 {
		t.Errorf("the alternate that is not needed any more is watched: %v", f.open)
	}
	first.Close()
	if f.watches("/a/web") != 0 || f.watches("/b/web") != 1 {
		t.Errorf("after one name went: %v", f.open)
	}
	in.Set(table(t, "/other => /#/c & /#/d"), mounts, time.Minute)
	if f.watches("/b/web") != 0 || f.watches("/c/web") != 1 || f.watches("/d/web") != 1 {
		t.Errorf("after other rules: %v", f.open)
	}
	second.Close()
	second.Close()
	if f.watches("") != 0 {
		t.Errorf("after the last name went: %v", f.open)
	}
}

// What is left of a path beyond the bound name reaches the leaf, whichever rules led there.
func TestResidualIsKept(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => /host; /host/* => /#/a & /#/b")
	rest := path(t, "/users/1")
	for _, name := range []string{"a", "b"} {
		f.at("/" + name + "/users/1").Set(naming.BoundLeaf(&naming.Bound{
			ID: dtab.Path{"#", name}, Residual: rest, Addrs: naming.Fixed(naming.Addrs{}),
		}))
	}
	n := in.Bind(path(t, "/svc/web/users/1"), nil, ignore)
	defer n.Close()
	tree, _, _ := n.Load()
	if len(tree.Branches) != 2 {
		t.Fatalf("tree %s", show(tree))
	}
	for i, b := range tree.Branches {
		if !b.Tree.Bound.Residual.Equal(rest) || b.Tree.Path.String() != []string{"/#/a/users/1", "/#/b/users/1"}[i] {
			t.Errorf("branch %d: residual %s of %s", i, b.Tree.Bound.Residual, b.Tree.Path)
		}
	}
}
