package rewrite

import (
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
		{"/v-{x}.y", "/{x}", false, "/v-.y", ""}, // a variable takes at least one byte
		{"/v-{x}.y", "/{x}", false, "/v-.y.y", "/.y"},
		{"/{a}-{b}", "/{b}/{a}", false, "/one-two-three", "/two-three/one"}, // each takes as little as it can
		{"/{a}-{b}:http", "/{b}/{a}", false, "/one-two:http", "/two/one"},
		{"/{a}-{b}:http", "/{b}/{a}", false, "/one-:http", ""},
		{"/{a}-{b}:http", "/{b}/{a}", false, "/one-two", ""},
		{"/{a}{b}", "/{b}/{a}", false, "/xyz", "/yz/x"},
		{"/{a}{b}", "/{b}/{a}", false, "/x", ""},
		{"/{a}x{b}", "/{b}", false, "/xxx", "/x"},
		{"/{a}x{b}", "/{b}", false, "/xx", ""},
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
	} {
		if _, err := New(c.pattern, c.name, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: %v, want ...%s...", c.pattern, c.name, err, c.want)
		}
	}
}
