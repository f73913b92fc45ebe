package rewrite

import (
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/dtab"
)

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		exact         bool
		path, want    string // want "" means Neg
	}{
		{"/{service}/api", "/srv/{service}", false, "/web/api", "/srv/web"},
		{"/{service}/api", "/srv/{service}", false, "/web/api/v1", "/srv/web"}, // what is beyond the pattern is dropped
		{"/{service}/api", "/srv/{service}", true, "/web/api/v1", ""},
		{"/{service}/api", "/srv/{service}", true, "/web/api", "/srv/web"},
		{"/{service}/api", "/srv/{service}", false, "/web", ""},
		{"/{service}/api", "/srv/{service}", false, "/web/apis", ""},
		{"/{ns}/{svc}", "/#/io.l5d.k8s/{ns}/http/{svc}", true, "/default/web", "/#/io.l5d.k8s/default/http/web"},
		{"/*/{b}", "/{b}", false, "/any/web", "/web"},
		{"/v-{x}.y", "/{x}", false, "/v-1.y", "/1"},
		{"/v-{x}.y", "/{x}", false, "/v-.y", ""}, // nothing is no element of a path
		{"/v-{x}.y", "/is{x}", false, "/v-.y", "/is"},
		{"/v-{x}.y", "/{x}", false, "/v-.y.y", "/.y"},
		{"/{a}-{b}", "/{b}/{a}", false, "/one-two-three", "/three/one-two"}, // each takes as much as it can
		{"/{a}-{b}:http", "/{b}/{a}", false, "/one-two:http", "/two/one"},
		{"/{a}-{b}:http", "/{b}/{a}", false, "/one-:http", ""},
		{"/{a}-{b}:http", "/{b}/{a}", false, "/one-two", ""},
		{"/{a}:http", "/{a}", false, "/web:https", "/web"}, // anywhere in the element
		{"/{a}:http", "/{a}", true, "/web:https", ""},
		{"/v{a}", "/{a}", false, "/dev1", "/1"},
		{"/v{a}", "/{a}", true, "/dev1", ""},
		{"/v{a}", "/{a}", true, "/v1", "/1"},
		{"/v", "/x", false, "/dev", ""}, // without a variable the element is whole
		{"/{a}.{b}", "/{b}/{a}", false, "/axb", ""},
		{"/{a}{b}", "/x{b}/{a}", false, "/xyz", "/x/xyz"},
		{"/{a}/{a}", "/{a}", false, "/x/y", "/y"}, // the last one counts
		{"/{a}x{b}", "/{a}y{b}", false, "/xxx", "/xxy"},
		{"/{a}", "/p{a}", false, `/a\x0ab`, `/\x70\x61\x0a\x62`},
		{`/a\x20b`, "/found", false, `/a\x20b`, "/found"},
		{"/{x}", "/pre-{x}.post", false, `/\xff\x2f`, `/\x70\x72\x65\x2d\xff\x2f\x2e\x70\x6f\x73\x74`}, // any bytes
		{"/{x}", "/{x}{x}/x", false, "/a", "/aa/x"},
		{"/", "/x", false, "/a", "/x"},
		{"/", "/x", true, "/a", ""},
		{"/{x}", "/", false, "/a", "/"},
	} {
		n, err := New(c.pattern, c.name, c.exact)
		if err != nil {
			t.Errorf("%s -> %s: %v", c.pattern, c.name, err)
			continue
		}
		p, err := dtab.ParsePath(c.path)
		if err != nil {
			t.Fatal(err)
		}
		tree, _, _ := n.Lookup(p).Load()
		got := ""
		if tree.Kind == dtab.Leaf {
			got = tree.Path.String()
		}
		if got != c.want {
			t.Errorf("%s -> %s of %s: %q, want %q", c.pattern, c.name, c.path, got, c.want)
		}
	}
}

// Linkerd makes a regular expression of each element that holds variables, with (.*) for each of them.
func TestElementsMatchAsRegularExpressionsDo(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(letters string, n int) string {
		b := make([]byte, random.IntN(n))
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		return string(b)
	}
	matched := 0
	for range 20_000 {
		e := element{texts: []string{word("a.", 3)}, whole: random.IntN(2) == 0}
		expr := regexp.QuoteMeta(e.texts[0])
		for range 1 + random.IntN(3) {
			e.variables = append(e.variables, string("uvw"[random.IntN(3)]))
			e.texts = append(e.texts, word("a.", 3))
			expr += "(.*)" + regexp.QuoteMeta(e.texts[len(e.texts)-1])
		}
		if e.whole {
			expr = "^" + expr + "$"
		}
		s := word("aa.b", 9)
		got, want := map[string]string{}, map[string]string{}
		found := regexp.MustCompile(expr).FindStringSubmatch(s)
		for i, v := range e.variables {
			if found != nil {
				want[v] = found[i+1]
			}
		}
		if ok := e.match(s, got); ok != (found != nil) || !maps.Equal(got, want) {
			t.Fatalf("%s in %q: %v %v, want %v", expr, s, ok, got, want)
		}
		matched += min(len(found), 1)
	}
	if matched < 2000 {
		t.Errorf("only %d matched", matched)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ pattern, name, want string }{
		{"{x}", "/{x}", "leading /"},
		{"/a//b", "/x", "text between slashes"},
		{"/{x", "/x", "expected a name and }"},
		{"/{}", "/x", "expected a name and }"},
		{"/{a{b}}", "/x", "expected a name and }"},
		{"/{a}", "/{b}", "{b} is not in pattern"},
		{"/{a}", "/*", "wildcard"},
		{"/a b", "/x", "pattern"},
		{"/{a}", "/b}", "name"},
		{"/ ", "/x", "without blanks"},
		{"/{a}", "/ #x", "without blanks"},
		{"/{a} ", "/x", "without blanks"},
	} {
		if _, err := New(c.pattern, c.name, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: %v, want ...%s...", c.pattern, c.name, err, c.want)
		}
	}
}
