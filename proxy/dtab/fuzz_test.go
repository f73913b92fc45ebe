package dtab

import (
	"errors"
	"hash/fnv"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzParse(f *testing.F) {
	for _, c := range lookupCases {
		f.Add(c.dtab)
		f.Add(c.path)
		f.Add(c.want)
	}
	for _, s := range []string{
		"\n# a comment\n /#foo => /biz  # another\n | ( /bliz & # more\n /bluth ) # end\n ; #finally\n #/ignore=>/me;\n",
		`/\x66oo/a\x20b/* => 0.001*(/a | /b) & .3333*$ & 1.*!`, "((((/a))))", "/a=>/b;;", "1e3*/a", "(", "/\\x", "/\xff", "/caf\u00e9",
		".00*/#/a/web & !",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		defer checkTime(t, time.Now(), s)
		d, err := Parse(s)
		checkRoundTrip(t, s, d, err, Parse, Dtab.Equal)
		for i, e := range d {
			if e.Source != (Source{Index: i}) {
				t.Fatalf("%q: dentry %d has source %+v", s, i, e.Source)
			}
			checkSimplify(t, e.Dst)
		}
		tree, err := ParseTree(s)
		checkRoundTrip(t, s, tree, err, ParseTree, Tree.Equal)
		if err == nil {
			checkSimplify(t, tree)
		}
		prefix, err := ParsePrefix(s)
		checkRoundTrip(t, s, prefix, err, ParsePrefix, Prefix.Equal)
		path, err := ParsePath(s)
		checkRoundTrip(t, s, path, err, ParsePath, Path.Equal)
	})
}

type shown interface{ String() string }

func checkRoundTrip[T shown](t *testing.T, in string, v T, err error, parse func(string) (T, error), equal func(T, T) bool) {
	t.Helper()
	if err != nil {
		checkError(t, in, err)
		return
	}
	text := v.String()
	back, err := parse(text)
	if err != nil {
		t.Fatalf("%q prints as %q, which does not parse: %v", in, text, err)
	}
	if !equal(v, back) || back.String() != text {
		t.Fatalf("%q prints as %q, which reads back as %q", in, text, back.String())
	}
}

// checkError checks that the error says where in the text it is.
func checkError(t *testing.T, in string, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Input != in || e.Offset < 0 || e.Offset > len(in) || !utf8.ValidString(e.Error()+e.Detail()) {
		t.Fatalf("%q: bad error %#v", in, err)
	}
	before := in[:e.Offset]
	line, column := 1+strings.Count(before, "\n"), 1+len(before[strings.LastIndexByte(before, '\n')+1:])
	if e.Line != line || e.Column != column {
		t.Fatalf("%q: offset %d is at %d:%d, and the error says %d:%d", in, e.Offset, line, column, e.Line, e.Column)
	}
	if (e.Found == "end of input") != (e.Offset == len(in)) || e.Expected == "" || strings.Contains(e.Detail(), "\n") {
		t.Fatalf("%q: bad error %q, %q", in, err, e.Detail())
	}
}

// checkTime fails for a text that takes longer than any should, on a busy machine too.
func checkTime(t *testing.T, start time.Time, in string) {
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%v for %d bytes: %.100q", took, len(in), in)
	}
}

// checkSimplify checks that a tree keeps its meaning when it is simplified, whatever its leaves come to.
func checkSimplify(t *testing.T, tree Tree) {
	t.Helper()
	simple := tree.Simplify()
	if !simple.Equal(simple.Simplify()) {
		t.Fatalf("%s simplifies to %s, and that further", tree, simple)
	}
	for seed := range 4 {
		got, want := make(shares), make(shares)
		kind, simpleKind := evaluate(tree, byte(seed), 1, want), evaluate(simple, byte(seed), 1, got)
		if kind != simpleKind || !got.equal(want) {
			t.Fatalf("%s is %v %v, and simplified to %s it is %v %v", tree, kind, want, simple, simpleKind, got)
		}
	}
}

// shares is what part of the requests goes where.
type shares map[string]float64

func (s shares) equal(u shares) bool {
	for _, both := range []shares{s, u} {
		for leaf := range both {
			if math.Abs(s[leaf]-u[leaf]) > 1e-6 {
				return false
			}
		}
	}
	return true
}

// evaluate is the meaning of a tree, told plainly. A leaf comes to one of three things that its path and the seed decide. Fail is none of
// them: a leaf that is left alone of a union takes the union's place, as in Finagle, and with it what a union makes of Fail is gone.
func evaluate(t Tree, seed byte, share float64, out shares) Kind {
	switch t.Kind {
	case Leaf:
		h := fnv.New32a()
		h.Write(append([]byte(t.Path.String()), seed))
		kind := []Kind{Leaf, Leaf, Neg, Empty}[h.Sum32()%4]
		if seed == 0 {
			kind = Leaf
		}
		if kind == Leaf {
			out[t.Path.String()] += share
		}
		return kind
	case Alt:
		for _, b := range t.Branches {
			if kind := evaluate(b.Tree, seed, share, out); kind != Neg {
				return kind
			}
		}
		return Neg
	case Union:
		return evaluateUnion(t, seed, share, out)
	}
	return t.Kind
}

func evaluateUnion(t Tree, seed byte, share float64, out shares) Kind {
	var kept []Weighted
	sum := 0.0
	for _, b := range t.Branches {
		if kind := evaluate(b.Tree, seed, 1, make(shares)); kind != Neg && kind != Fail {
			kept = append(kept, b)
			sum += b.Weight
		}
	}
	outcome := Neg
	for _, b := range kept {
		part := 1 / float64(len(kept))
		if sum > 0 {
			part = b.Weight / sum
		}
		// One branch alone is that branch. With others, a branch that is Empty keeps its share.
		kind := evaluate(b.Tree, seed, share*part, out)
		if len(kept) == 1 {
			return kind
		}
		if kind == Empty {
			out["$"] += share * part
		}
		outcome = Union
	}
	return outcome
}

// FuzzParseDentry holds the two sides of a dentry, parsed apart, to the dentry parsed as one text.
func FuzzParseDentry(f *testing.F) {
	for _, c := range [][2]string{
		{"/svc", "/host"}, {"/svc/*", "9*/a & 1*$ # canary"}, {"/ # all", "/a;"}, {"/a => /b", "/c"}, {"", ""}, {"/*a", "("}, {`/\x2a`, "\n!"},
	} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, prefix, dst string) {
		defer checkTime(t, time.Now(), prefix+dst)
		d, err := ParseDentry(prefix, dst)
		var e *Error
		switch {
		case err == nil:
		case !errors.As(err, &e) || e.Field != "prefix" && e.Field != "dst":
			t.Fatalf("%q and %q: bad error %#v", prefix, dst, err)
		case e.Field == "prefix":
			checkError(t, prefix, err)
			return
		default:
			checkError(t, dst, err)
			return
		}
		whole, err := Parse(prefix + "\n=>" + dst)
		if err != nil || len(whole) != 1 || !whole[0].Equal(d) {
			t.Fatalf("%q and %q are %s, and as one text %s, %v", prefix, dst, d, whole, err)
		}
		if shown := d.String(); shown != whole.String() {
			t.Fatalf("a dentry prints as %s, and its dtab as %s", shown, whole)
		}
	})
}

// FuzzLookup holds the compiled table to the plain lookup, with the last dentries as overrides.
func FuzzLookup(f *testing.F) {
	for i, c := range lookupCases {
		f.Add(c.dtab, c.path, uint8(i))
	}
	f.Fuzz(func(t *testing.T, text, name string, split uint8) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		p, err := ParsePath(name)
		if err != nil {
			return
		}
		defer checkTime(t, time.Now(), text)
		for i := range d {
			d[i].Source.Object = "o"
		}
		at := int(split) % (len(d) + 1)
		want := d.Lookup(p)
		if naive := naiveLookup(d, p); !reflect.DeepEqual(exact(naive), exact(want)) {
			t.Fatalf("%s in %s: got %s, want %s", p, d, want, naive)
		}
		table := Compile(d[:at])
		for _, got := range []Tree{table.With(d[at:]).Lookup(p), table.LookupWith(d[at:], p), Compile(d).Lookup(p)} {
			if !reflect.DeepEqual(exact(got), exact(want)) {
				t.Fatalf("%s in %s cut at %d: got %s, want %s", p, d, at, got, want)
			}
		}
	})
}

// naiveLookup is one lookup step as the specification tells it (linkerd1.md section 4.2).
func naiveLookup(d Dtab, p Path) Tree {
	var hits []Weighted
	for i := len(d) - 1; i >= 0; i-- {
		matches := len(d[i].Prefix) <= len(p)
		for k := 0; matches && k < len(d[i].Prefix); k++ {
			matches = d[i].Prefix[k].Any || d[i].Prefix[k].Label == p[k]
		}
		if matches {
			hits = append(hits, Weighted{Weight: 1, Tree: naiveRewrite(d[i].Dst, p[len(d[i].Prefix):], d[i].Source)})
		}
	}
	switch len(hits) {
	case 0:
		return Tree{Kind: Neg}
	case 1:
		return hits[0].Tree
	}
	return Tree{Kind: Alt, Branches: hits}
}

func naiveRewrite(t Tree, rest Path, from Source) Tree {
	out := Tree{Kind: t.Kind, Source: from}
	if t.Kind == Leaf {
		out.Path = append(append(Path{}, t.Path...), rest...)
	}
	for _, b := range t.Branches {
		out.Branches = append(out.Branches, Weighted{Weight: b.Weight, Tree: naiveRewrite(b.Tree, rest, from)})
	}
	return out
}
