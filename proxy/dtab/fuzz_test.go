package dtab

import (
	"errors"
	"reflect"
	"testing"
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
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		checkRoundTrip(t, s, d, err, Parse, Dtab.Equal)
		tree, err := ParseTree(s)
		checkRoundTrip(t, s, tree, err, ParseTree, Tree.Equal)
		if err == nil {
			simple := tree.Simplify()
			if !simple.Equal(simple.Simplify()) {
				t.Fatalf("%s simplifies to %s, and that further", tree, simple)
			}
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
		var e *Error
		if !errors.As(err, &e) || e.Offset > len(in) || e.Line < 1 || e.Column < 1 || !utf8.ValidString(e.Error()+e.Detail()) {
			t.Fatalf("%q: bad error %#v", in, err)
		}
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
		at := int(split) % (len(d) + 1)
		want := d.Lookup(p)
		table := Compile(d[:at])
		for _, got := range []Tree{table.With(d[at:]).Lookup(p), table.LookupWith(d[at:], p), Compile(d).Lookup(p)} {
			if !reflect.DeepEqual(exact(got), exact(want)) {
				t.Fatalf("%s in %s cut at %d: got %s, want %s", p, d, at, got, want)
			}
		}
	})
}
