package naming_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// TestRulesOfARequestFanOutLess: what the rules of a request make a proxy do is bounded tighter than what those of the mesh do, which
// go on to be followed whole when a request brings a rule of its own.
func TestRulesOfARequestFanOutLess(t *testing.T) {
	var wide strings.Builder
	wide.WriteString("/wide => /#/none")
	for i := range 1000 {
		fmt.Fprintf(&wide, " | /#/none%d", i)
	}
	wide.WriteString(" | /#/a; /svc => /#/b")
	in, f, _ := interpreter(t, wide.String())
	f.at("/a/web").Set(leaf("/#/a/web"))
	f.at("/b/web").Set(leaf("/#/b/web"))
	for _, c := range []struct {
		local, want string
		is          error
	}{
		{"/other => /#/a", "/#/b/web", nil},
		{"/svc => /#/a", "/#/a/web", nil},
		{doubling(6, "/#/a"), "/#/a/web", nil},
		{doubling(8, "/#/a"), "nothing", naming.ErrMaxLocalLookups},
		{doubling(12, "/#/a"), "nothing", naming.ErrMaxLocalLookups},
		{"/svc/web => /#/b/web", "/#/b/web", nil},
	} {
		local, err := dtab.Parse(c.local)
		if err != nil {
			t.Fatal(err)
		}
		n := in.Bind(dtab.Path{"svc", "web"}, local, func(naming.Tree, naming.State, error) {})
		tree, _, err := n.Load()
		if got := show(tree); !strings.Contains(got, c.want) || !errors.Is(err, c.is) {
			t.Errorf("%.60s: %.60s, error %v; want %s, %v", c.local, got, err, c.want, c.is)
		}
		n.Close()
	}
	local, err := dtab.Parse("/other => /#/a")
	if err != nil {
		t.Fatal(err)
	}
	n := in.Bind(dtab.Path{"wide", "web"}, local, func(naming.Tree, naming.State, error) {})
	defer n.Close()
	if tree, _, err := n.Load(); show(tree) != "/#/a/web" || err != nil {
		t.Errorf("rules of the mesh with an override of something else: %s, %v", show(tree), err)
	}
}
