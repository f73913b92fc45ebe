package dtab

import (
	"math"
	"testing"
)

func mustTree(t testing.TB, s string) Tree {
	t.Helper()
	u, err := ParseTree(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func leaf(elems ...string) Tree { return Tree{Kind: Leaf, Path: elems} }

func one(t Tree) Weighted { return Weighted{Weight: 1, Tree: t} }

func TestParseTreeStructure(t *testing.T) {
	a, b, c := leaf("a"), leaf("b"), leaf("c")
	for _, x := range []struct {
		text string
		want Tree
	}{
		{"/", Tree{}},
		{"~", Tree{Kind: Neg}},
		{"!", Tree{Kind: Fail}},
		{"$", Tree{Kind: Empty}},
		{"/$", leaf("$")},
		{"/a | /b | /c", Tree{Kind: Alt, Branches: []Weighted{one(a), one(b), one(c)}}},
		{"/a | /b & /c", Tree{Kind: Alt, Branches: []Weighted{
			one(a), one(Tree{Kind: Union, Branches: []Weighted{one(b), one(c)}}),
		}}},
		{"(/a | /b) & .5*/c", Tree{Kind: Union, Branches: []Weighted{
			one(Tree{Kind: Alt, Branches: []Weighted{one(a), one(b)}}), {0.5, c},
		}}},
		{"2*/a&3 * (/b)", Tree{Kind: Union, Branches: []Weighted{{2, a}, {3, b}}}},
		{"7 * (/a | /b)", Tree{Kind: Alt, Branches: []Weighted{one(a), one(b)}}},
		{"7 * /a | /b", Tree{Kind: Alt, Branches: []Weighted{one(a), one(b)}}},
	} {
		if got := mustTree(t, x.text); !got.Equal(x.want) {
			t.Errorf("%s: got %+v, want %+v", x.text, got, x.want)
		}
	}
}

func TestTreeEqual(t *testing.T) {
	distinct := []string{
		"/", "/a", "/a/b", "~", "!", "$", "/a | /b", "/b | /a", "/a & /b", "2*/a & /b", "/a | /b | /c", "(/a | /b) | /c",
		"/a | (/b | /c)", "(/a & /b) & /c",
	}
	for i, s := range distinct {
		for j, u := range distinct {
			if got := mustTree(t, s).Equal(mustTree(t, u)); got != (i == j) {
				t.Errorf("%s equal to %s: %v", s, u, got)
			}
		}
	}
	x, y := mustTree(t, "/a"), mustTree(t, "/a")
	if y.Source.Index = 7; !x.Equal(y) {
		t.Error("the source must not count")
	}
}

func TestWeightShowForm(t *testing.T) {
	for _, c := range []struct {
		weight float64
		want   string
	}{
		{0, "0.00*/a & /b"},
		{1, "/a & /b"},
		{2, "2.00*/a & /b"},
		{0.5, "0.50*/a & /b"},
		{0.25, "0.25*/a & /b"},
		{0.001, "0.001*/a & /b"},
		{1.001, "1.001*/a & /b"},
		{1.0 / 3, "0.3333333333333333*/a & /b"},
		{MaxWeight, "1000000000.00*/a & /b"},
	} {
		tree := Tree{Kind: Union, Branches: []Weighted{{c.weight, leaf("a")}, one(leaf("b"))}}
		if got := tree.String(); got != c.want {
			t.Errorf("weight %v prints as %s, want %s", c.weight, got, c.want)
		}
		if back := mustTree(t, c.want); math.Abs(back.Branches[0].Weight-c.weight) != 0 {
			t.Errorf("%s reads back as %v, want %v", c.want, back.Branches[0].Weight, c.weight)
		}
	}
}

func TestSimplify(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"/a", "/a"},
		{"~ | ! | /a", "!"},
		{"/a | (~ | ~) | /b", "/a | /b"},
		{"/a | (! & ~) | /b", "/a | /b"},
		{"/a | ! | /b", "/a | !"},
		{"2*/a & 3*(! | /b) & 4*/c", "2.00*/a & 4.00*/c"},
		{"2*(~ | /a) & 3*$", "2.00*/a & 3.00*$"},
		{"! & ! & ~", "~"},
		{"(/a | ~) | (~ | /b)", "/a | /b"},
	} {
		if got := mustTree(t, c.in).Simplify().String(); got != c.want {
			t.Errorf("%s simplifies to %s, want %s", c.in, got, c.want)
		}
	}
	if got := (Tree{Kind: Alt}).Simplify(); got.Kind != Neg {
		t.Errorf("an alt without branches simplifies to %v", got.Kind)
	}
}

// The names are those of the playground's JSON.
func TestKindNames(t *testing.T) {
	want := []string{"leaf", "alt", "union", "neg", "fail", "empty", "kind(6)"}
	for i, name := range want {
		if got := Kind(i).String(); got != name {
			t.Errorf("kind %d is %q, want %q", i, got, name)
		}
	}
}
