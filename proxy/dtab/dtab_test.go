package dtab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustParse(t testing.TB, s string) Dtab {
	t.Helper()
	d, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// lookupCases are the single lookup steps behind the worked results of the Linkerd documentation.
var lookupCases = []struct{ dtab, path, want string }{
	{"", "/svc/web", "~"},
	{"/a=>/x; /a/b=>/y; /=>/z", "/a/b/c", "/z/a/b/c | /y/c | /x/b/c"},
	{"/a/b=>/y; /a=>/x", "/a/b/c", "/x/b/c | /y/c"},
	{"/svc/* => /x", "/svc", "~"},
	{"/svc/* => /x", "/svc/foo/bar", "/x/bar"},
	{"/svc=>/#/a; /svc=>/#/b", "/svc/web", "/#/b/web | /#/a/web"},
	{"/svc=>/#/a | /#/b", "/svc/web", "/#/a/web | /#/b/web"},
	{"/svc=>/#/a; /svc=>/#/b | !", "/svc/web", "(/#/b/web | !) | /#/a/web"},
	{"/svc=>9*/#/a & 1*/#/b", "/svc/web", "9.00*/#/a/web & /#/b/web"},
	{"/svc=>9*/#/a & 1*$", "/svc/web", "9.00*/#/a/web & $"},
	{"/svc=>/#/z; /svc=>/$/fail & /$/fail", "/svc/web", "/$/fail/web & /$/fail/web | /#/z/web"},
	{"/svc=>/#/a; /svc=>/loop; /loop=>/loop/x", "/svc/web", "/loop/web | /#/a/web"},
	{"/svc=>/#/a; /svc=>/loop; /loop=>/loop/x", "/loop/web", "/loop/x/web"},
	{"/ => /$/inet/127.1/80", "/$/inet/127.1/80/web", "/$/inet/127.1/80/$/inet/127.1/80/web"},
	{"/#/fs => ~", "/#/fs/web", "~"},
	{"/#/fs => ~; /#/fs => ~", "/#/fs/web", "~ | ~"},
	{"/#/fs => !", "/#/fs/web", "!"},
	{"/svc=>/#/fs; /svc/web=>~", "/svc/web", "~ | /#/fs/web"},
	{"/svc=>/#/fs; /svc/web=>!", "/svc/web", "! | /#/fs/web"},
	{"/svc=>/", "/svc/web", "/web"},
	{"/svc=>/", "/svc", "/"},
	{"/*/*=>/x; /*/b=>/y; /a/*=>/z; /a/b=>/w", "/a/b/c", "/w/c | /z/c | /y/c | /x/c"},
	{"/a/*/c=>/x", "/a/b/d", "~"},
	{`/\x2a=>/x`, "/a", "~"},
}

func TestLookup(t *testing.T) {
	for _, c := range lookupCases {
		d, p := mustParse(t, c.dtab), mustPath(t, c.path)
		if got := d.Lookup(p).String(); got != c.want {
			t.Errorf("%s in %q: %s, want %s", c.path, c.dtab, got, c.want)
		}
	}
}

func TestLookupPutsSourceOnEveryLeaf(t *testing.T) {
	d := mustParse(t, "/svc => /a | (2*/b & 3*!); /svc/web => /c & ~; /svc => $")
	for i := range d {
		d[i].Source = Source{Object: "shop/web", Index: 10 + i}
	}
	src := func(i int) Source { return d[i].Source }
	want := Tree{Kind: Alt, Branches: []Weighted{
		one(Tree{Kind: Empty, Source: src(2)}),
		one(Tree{Kind: Union, Source: src(1), Branches: []Weighted{
			one(Tree{Kind: Leaf, Path: Path{"c"}, Source: src(1)}), one(Tree{Kind: Neg, Source: src(1)}),
		}}),
		one(Tree{Kind: Alt, Source: src(0), Branches: []Weighted{
			one(Tree{Kind: Leaf, Path: Path{"a", "web"}, Source: src(0)}),
			one(Tree{Kind: Union, Source: src(0), Branches: []Weighted{
				{2, Tree{Kind: Leaf, Path: Path{"b", "web"}, Source: src(0)}}, {3, Tree{Kind: Fail, Source: src(0)}},
			}}),
		}}),
	}}
	// The Equal methods leave sources out, so they are not what is wanted here.
	if diff := cmp.Diff(exact(want), exact(d.Lookup(Path{"svc", "web"}))); diff != "" {
		t.Error(diff)
	}
}

// A lookup must not write into the dtab, and a later lookup must not change an earlier result.
func TestLookupResultsShareNothingThatChanges(t *testing.T) {
	d := mustParse(t, "/svc => /a & /b; / => /c")
	before := d.String()
	first := d.Lookup(Path{"svc", "x"})
	shown := first.String()
	d.Lookup(Path{"svc", "y", "z"})
	if d.String() != before || first.String() != shown {
		t.Fatalf("changed: %s, %s", d, first)
	}
	if d[0].Dst.Branches[0].Tree.Source != (Source{}) {
		t.Fatal("the source was written into the dtab")
	}
}

// A leaf may share the memory of the path that was looked up, but growing it must not write there.
func TestLookupResultDoesNotGrowIntoThePath(t *testing.T) {
	whole := Path{"svc", "web", "users", "1"}
	for name, tree := range map[string]Tree{
		"dtab":  mustParse(t, "/svc => /").Lookup(whole[:2]),
		"table": Compile(mustParse(t, "/svc => /")).Lookup(whole[:2]),
	} {
		if grown := append(tree.Path, "x"); grown[1] != "x" || whole.String() != "/svc/web/users/1" {
			t.Errorf("%s: the path became %s", name, whole)
		}
	}
}

func TestParseNumbersDentries(t *testing.T) {
	for i, e := range mustParse(t, "/a=>/b; /c=>/d\n;/e=>/f;") {
		if e.Source != (Source{Index: i}) {
			t.Errorf("dentry %d has source %+v", i, e.Source)
		}
	}
}

func TestParseEmpty(t *testing.T) {
	for _, s := range []string{"", " \t\r\n", "# nothing", "\n# a\n# b\n"} {
		if d, err := Parse(s); err != nil || len(d) != 0 {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
}

func TestConcatCopies(t *testing.T) {
	base := append(make(Dtab, 0, 8), mustParse(t, "/a=>/b")...)
	x := base.Concat(mustParse(t, "/c=>/d"), mustParse(t, "/e=>/f"))
	y := base.Concat(mustParse(t, "/g=>/h"))
	if x.String() != "/a=>/b;/c=>/d;/e=>/f" || y.String() != "/a=>/b;/g=>/h" {
		t.Fatalf("%s and %s", x, y)
	}
}

func TestStripPrefix(t *testing.T) {
	for _, c := range []struct{ dtab, prefix, want string }{
		{"/a=>/b;/c=>/d", "/a=>/b", "/c=>/d"},
		{"/a=>/b;/c=>/d", "", "/a=>/b;/c=>/d"},
		{"/a=>/b;/c=>/d", "/c=>/d", "/a=>/b;/c=>/d"},
		{"/a=>/b", "/a=>/b;/c=>/d", "/a=>/b"},
		{"/a=>/b", "/a=>/b", ""},
	} {
		if got := mustParse(t, c.dtab).StripPrefix(mustParse(t, c.prefix)).String(); got != c.want {
			t.Errorf("%q without %q: %q, want %q", c.dtab, c.prefix, got, c.want)
		}
	}
}

func TestDtabSimplify(t *testing.T) {
	d := mustParse(t, "/a=>~ | ~; /b=>~ | /c; /d=>/e | ! | /f; /g=>!")
	got := d.Simplify()
	if got.String() != "/b=>/c;/d=>/e | !;/g=>!" {
		t.Errorf("got %s", got)
	}
	if got[0].Source.Index != 1 || d[1].Dst.Kind != Alt {
		t.Errorf("the kept dentries must keep their sources (%+v), and the dtab its trees (%s)", got[0].Source, d)
	}
}

// exactTree mirrors Tree without its methods, so that go-cmp compares every field, sources too.
type exactTree struct {
	Kind     Kind
	Path     []string
	Source   Source
	Weights  []float64
	Branches []exactTree
}

func exact(t Tree) exactTree {
	e := exactTree{Kind: t.Kind, Path: append([]string{}, t.Path...), Source: t.Source}
	for _, b := range t.Branches {
		e.Weights = append(e.Weights, b.Weight)
		e.Branches = append(e.Branches, exact(b.Tree))
	}
	return e
}
