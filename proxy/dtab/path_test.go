package dtab

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func mustPath(t testing.TB, s string) Path {
	t.Helper()
	p, err := ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPathShowForm(t *testing.T) {
	for _, c := range []struct {
		path Path
		want string
	}{
		{nil, "/"},
		{Path{}, "/"},
		{Path{"svc", "web"}, "/svc/web"},
		{Path{"$", "inet", "127.0.0.1", "80"}, "/$/inet/127.0.0.1/80"},
		{Path{"%", "#", "a_b:c-D"}, "/%/#/a_b:c-D"},
		{Path{"a b", "c"}, `/\x61\x20\x62/c`},
		{Path{"a/b"}, `/\x61\x2f\x62`},
		{Path{"*"}, `/\x2a`},
		{Path{"caf\u00e9"}, `/\x63\x61\x66\xc3\xa9`},
		{Path{"\xff\x00"}, `/\xff\x00`},
	} {
		if got := c.path.String(); got != c.want {
			t.Errorf("%q prints as %s, want %s", []string(c.path), got, c.want)
		}
		if back := mustPath(t, c.want); !back.Equal(c.path) {
			t.Errorf("%s reads back as %q, want %q", c.want, []string(back), []string(c.path))
		}
	}
}

func TestPathAppendCopies(t *testing.T) {
	base := make(Path, 1, 8)
	base[0] = "svc"
	web := base.Append("web")
	api := base.Append("api")
	if web.String() != "/svc/web" || api.String() != "/svc/api" {
		t.Fatalf("two paths made from one share a tail: %s, %s", web, api)
	}
	if got := Path(nil).Append(); got != nil {
		t.Fatalf("root appended with nothing is %q, want nil", []string(got))
	}
}

func TestPathHasPrefix(t *testing.T) {
	for _, c := range []struct {
		path, prefix string
		want         bool
	}{
		{"/a/b", "/", true},
		{"/a/b", "/a", true},
		{"/a/b", "/a/b", true},
		{"/a/b", "/a/b/c", false},
		{"/a/b", "/b", false},
		{"/ab", "/a", false},
		{"/", "/", true},
	} {
		if got := mustPath(t, c.path).HasPrefix(mustPath(t, c.prefix)); got != c.want {
			t.Errorf("%s has prefix %s: %v, want %v", c.path, c.prefix, got, c.want)
		}
	}
}

func TestPrefixMatches(t *testing.T) {
	for _, c := range []struct {
		prefix, path string
		n            int
		ok           bool
	}{
		{"/", "/", 0, true},
		{"/", "/a/b", 0, true},
		{"/a", "/a/b", 1, true},
		{"/a/*", "/a/b/c", 2, true},
		{"/a/*", "/a", 0, false},
		{"/*/b", "/a/b", 2, true},
		{"/*/b", "/a/c", 0, false},
		{"/A", "/a", 0, false},
		{`/\x2a`, "/a", 0, false},
	} {
		prefix, err := ParsePrefix(c.prefix)
		if err != nil {
			t.Fatal(err)
		}
		n, ok := prefix.Matches(mustPath(t, c.path))
		if n != c.n || ok != c.ok {
			t.Errorf("%s on %s: %d, %v, want %d, %v", c.prefix, c.path, n, ok, c.n, c.ok)
		}
		if got := prefix.String(); got != c.prefix {
			t.Errorf("%s prints as %s", c.prefix, got)
		}
	}
}

// A literal "*" is a label like any other: it must not become the wildcard on its way through the show form.
func TestPrefixLiteralStarIsNoWildcard(t *testing.T) {
	literal, _ := ParsePrefix(`/a/\x2A`)
	wildcard, _ := ParsePrefix(`/a/*`)
	if literal.Equal(wildcard) {
		t.Fatal("literal and wildcard are equal")
	}
	if n, ok := literal.Matches(Path{"a", "*"}); n != 2 || !ok {
		t.Fatalf("literal on itself: %d, %v", n, ok)
	}
	if literal.String() != `/a/\x2a` || wildcard.String() != "/a/*" {
		t.Fatalf("show forms: %s, %s", literal, wildcard)
	}
}

func TestPathElementLimit(t *testing.T) {
	longest := strings.Repeat("/a", MaxPathElements)
	if p := mustPath(t, longest); len(p) != MaxPathElements {
		t.Fatalf("%d elements", len(p))
	}
	parsers := map[string]func(string) error{
		"path":   func(s string) error { _, err := ParsePath(s); return err },
		"prefix": func(s string) error { _, err := ParsePrefix(s); return err },
		"tree":   func(s string) error { _, err := ParseTree(s); return err },
	}
	for name, parse := range parsers {
		var e *Error
		if err := parse(longest + "/b"); !errors.As(err, &e) || e.Limit != "MaxPathElements" || e.Offset != len(longest)+1 {
			t.Errorf("%s: one element too many: %v", name, err)
		}
	}
}

func TestUntransformed(t *testing.T) {
	for text, want := range map[string]string{
		"/":                                 "/ []",
		"/#/io.l5d.fs/web":                  "/#/io.l5d.fs/web []",
		"/%/io.l5d.port/80/#/io.l5d.fs/web": "/#/io.l5d.fs/web [io.l5d.port]",
		"/%/io.l5d.localhost/%/io.l5d.k8s.daemonset/a/b/c/$/inet/h/80": "/$/inet/h/80 [io.l5d.localhost io.l5d.k8s.daemonset]",
		"/%/io.l5d.localhost": "/%/io.l5d.localhost []",
		"/svc/%/#/a":          "/svc/%/#/a []",
	} {
		p, err := ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.Untransformed(), " ", p.Transformers()); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
