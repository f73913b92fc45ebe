package transformer_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/transformer"
	"github.com/fairlead/fairlead/proxy/naming/utility"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a namer whose answers a test sets; it counts those that are held.
type fake struct {
	mu    sync.Mutex
	names map[string]*naming.Var[naming.Tree]
	open  int
}

func (f *fake) at(path string) *naming.Var[naming.Tree] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[path] == nil {
		f.names[path] = naming.Fixed(naming.Neg())
	}
	return f.names[path]
}

type held struct {
	*naming.Var[naming.Tree]
	close func()
}

func (h *held) Close() { h.close() }

func (f *fake) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	v := f.at(p.String())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	return &held{v, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open--
	}}
}

// bind makes a name exist with endpoints that the caller may change.
func (f *fake) bind(path string, endpoints ...naming.Endpoint) *naming.Var[naming.Addrs] {
	addrs := naming.Fixed(naming.Addrs{Endpoints: endpoints})
	p, err := dtab.ParsePath("/#" + path)
	if err != nil {
		panic(err)
	}
	f.at(path).Set(naming.BoundLeaf(&naming.Bound{ID: p, Addrs: addrs}))
	return addrs
}

func newFake() *fake { return &fake{names: make(map[string]*naming.Var[naming.Tree])} }

// at is an endpoint of a node that serves.
func at(addr, node string) naming.Endpoint {
	return naming.Endpoint{Addr: netip.MustParseAddrPort(addr), Node: node, Weight: 1, Serving: true}
}

// show is a tree with its bound names and their endpoints.
func show(t naming.Tree) string {
	switch {
	case t.Kind == dtab.Union:
		var all []string
		for _, b := range t.Branches {
			all = append(all, show(b.Tree))
		}
		return strings.Join(all, " & ")
	case t.Kind != dtab.Leaf:
		return t.Kind.String()
	case t.Bound == nil:
		return "nothing"
	}
	return t.Bound.ID.String() + addresses(t.Bound.Addrs)
}

func addresses(l naming.Live[naming.Addrs]) string {
	a, _, _ := l.Load()
	out := ""
	for _, e := range a.Endpoints {
		out += " " + e.Addr.String()
	}
	return out
}

func ignore(naming.Tree, naming.State, error) {}

// interpreter binds by the rules over the fake at /#, whose names go through own, and all through every.
func interpreter(t *testing.T, f *fake, rules string, own, every []*naming.Transformer) *naming.Interpreter {
	t.Helper()
	d, err := dtab.Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	resolver := dns.New(dns.Options{})
	t.Cleanup(resolver.Close)
	in := naming.NewInterpreter()
	mounts := append(utility.Mounts(resolver), naming.Mount{Prefix: dtab.Path{"#"}, Namer: f, Transformers: own})
	in.Set(dtab.Compile(d), mounts, time.Minute, every...)
	return in
}

func bind(t *testing.T, in *naming.Interpreter, text, local string) *naming.Name {
	t.Helper()
	p, err := dtab.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := dtab.Parse(local)
	if err != nil {
		t.Fatal(err)
	}
	n := in.Bind(p, rules, ignore)
	t.Cleanup(n.Close)
	return n
}

func TestTransformers(t *testing.T) {
	list := func(ts ...*naming.Transformer) []*naming.Transformer { return ts }
	host, away := transformer.SpecificHost(netip.MustParseAddr("10.0.0.2")), dtab.Path{"$", "inet", "127.0.0.9", "4141"}
	for name, c := range map[string]struct {
		rules, local string
		own, every   []*naming.Transformer
		want         string
	}{
		"host": {every: list(host), want: "/%/io.l5d.specificHost/#/web 10.0.0.2:80 10.0.0.2:81"},
		"port": {every: list(transformer.Port(4141)), want: "/%/io.l5d.port/4141/#/web 127.0.0.1:4141 10.0.0.2:4141"},
		"own first, the last outermost": {
			own: list(transformer.Port(1), host), every: list(transformer.Port(2)),
			want: "/%/io.l5d.port/2/%/io.l5d.specificHost/%/io.l5d.port/1/#/web 10.0.0.2:2",
		},
		"localhost":          {every: list(transformer.Localhost()), want: "/%/io.l5d.localhost/#/web 127.0.0.1:80"},
		"node":               {every: list(transformer.LocalNode("a", false)), want: "/%/io.l5d.k8s.localnode/a/#/web 127.0.0.1:80 10.0.0.2:81"},
		"nobody on the node": {every: list(transformer.LocalNode("c", false)), want: "/%/io.l5d.k8s.localnode/c/#/web"},
		"all where nobody is on the node": {
			every: list(transformer.LocalNode("c", true)), want: "/%/io.l5d.k8s.localnode/c/#/web 127.0.0.1:80 10.0.0.2:80 10.0.0.2:81",
		},
		"replace": {every: list(transformer.Replace(away)), want: "/%/io.l5d.replace/$/inet/127.0.0.9/4141 127.0.0.9:4141"},
		"replace, and what follows": {
			own: list(transformer.Port(1), transformer.Replace(away)), every: list(transformer.Port(7)),
			want: "/%/io.l5d.port/7/%/io.l5d.replace/$/inet/127.0.0.9/4141 127.0.0.9:7",
		},
		"replace of nothing":              {rules: "/svc => /#/none", every: list(transformer.Replace(away)), want: "neg"},
		"replace of each":                 {rules: "/svc => /#/web & ! & $", every: list(transformer.Replace(away)), want: "/%/io.l5d.replace/$/inet/127.0.0.9/4141 127.0.0.9:4141 & empty"},
		"const of nothing":                {rules: "/svc => /#/none", every: list(transformer.Const(away)), want: "/%/io.l5d.const/$/inet/127.0.0.9/4141 127.0.0.9:4141"},
		"const of a namer":                {rules: "/svc => /#/none | !", own: list(transformer.Const(away)), want: "/%/io.l5d.const/$/inet/127.0.0.9/4141 127.0.0.9:4141"},
		"const of what the namer has not": {rules: "/svc => ~", own: list(transformer.Const(away)), want: "neg"},
		"const of a loop":                 {rules: "/svc => /svc", every: list(transformer.Const(dtab.Path{"#", "web"})), want: "/%/io.l5d.const/#/web 127.0.0.1:80 10.0.0.2:80 10.0.0.2:81"},
		"a name of itself":                {own: list(transformer.Replace(dtab.Path{"#", "web"})), want: "max recursion level"},
		"an address of the mesh for a request": {
			local: "/svc => /#/web", every: list(transformer.Replace(away)), want: "/%/io.l5d.replace/$/inet/127.0.0.9/4141 127.0.0.9:4141",
		},
		"no address of the request": {local: "/svc => /$/inet/127.0.0.9/1", every: list(host), want: "may not lead to an address"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.bind("/web", at("127.0.0.1:80", "a"), at("10.0.0.2:80", "b"), at("10.0.0.2:81", "a"))
			if c.rules == "" {
				c.rules = "/svc => /#/web"
			}
			n := bind(t, interpreter(t, f, c.rules, c.own, c.every), "/svc", c.local)
			tree, _, err := n.Load()
			got := show(tree)
			if err != nil {
				got = err.Error()
			}
			if got != c.want && !(err != nil && strings.Contains(got, c.want)) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			n.Close()
			if f.open != 0 {
				t.Errorf("%d watches are left", f.open)
			}
		})
	}
}

// A set that changes changes what was made of it, at once; and names that lead to one set share what was made of it.
func TestTransformedIsLive(t *testing.T) {
	f := newFake()
	addrs := f.bind("/web", at("10.0.0.1:80", "a"), at("10.0.0.2:80", "b"))
	node := transformer.LocalNode("b", true)
	in := interpreter(t, f, "/svc => /#/web; /other => 1 * /#/web & 2 * /#/web", nil, []*naming.Transformer{node})
	one, two := bind(t, in, "/svc", ""), bind(t, in, "/other", "")
	tree, _, _ := one.Load()
	other, _, _ := two.Load()
	live := tree.Bound.Addrs
	for _, b := range other.Branches {
		if b.Tree.Bound.Addrs != live {
			t.Error("two leaves of one set have two sets")
		}
	}
	for _, c := range []struct {
		endpoints []naming.Endpoint
		want      string
	}{
		{[]naming.Endpoint{at("10.0.0.1:80", "a")}, " 10.0.0.1:80"},
		{[]naming.Endpoint{at("10.0.0.1:80", "a"), at("10.0.0.3:80", "b")}, " 10.0.0.3:80"},
		{[]naming.Endpoint{at("10.0.0.1:80", "a"), {Addr: netip.MustParseAddrPort("10.0.0.3:80"), Node: "b", Weight: 1}}, " 10.0.0.1:80 10.0.0.3:80"},
		{nil, ""},
	} {
		changed := live.Changed()
		addrs.Set(naming.Addrs{Endpoints: c.endpoints})
		select {
		case <-changed:
		default:
			t.Errorf("%s: no change told", c.want)
		}
		if got := addresses(live); got != c.want {
			t.Errorf("got%s, want%s", got, c.want)
		}
	}
	addrs.Set(naming.Addrs{Endpoints: []naming.Endpoint{at("10.0.0.1:80", "a"), at("10.0.0.3:80", "b")}})
	addrs.Fail(fmt.Errorf("broken"))
	if _, state, err := live.Load(); state != naming.Failed || err == nil || addresses(live) != " 10.0.0.3:80" {
		t.Errorf("after a failure: state %d, error %v,%s", state, err, addresses(live))
	}
	if got := addresses(naming.Whole(live)); got != " 10.0.0.1:80 10.0.0.3:80" {
		t.Errorf("whole:%s", got)
	}
}

func TestDaemonSet(t *testing.T) {
	f := newFake()
	d := transformer.NewDaemonSet(f, "mesh", "incoming", "demo-proxy")
	endpoints := []naming.Endpoint{at("10.1.0.1:80", "a"), at("10.1.0.2:80", "b"), at("10.1.0.3:80", "b"), at("10.1.0.4:80", "")}
	given := d.Change(endpoints)
	if endpoints[0].Hop != nil {
		t.Error("the endpoints it was given were changed")
	}
	a, b := given[0].Hop, given[1].Hop
	if a == nil || b == nil || a == b || given[2].Hop != b || given[3].Hop != nil || a.Node != "a" || a.Via().IsValid() {
		t.Fatalf("hops %+v", given)
	}
	proxies := naming.NewVar[naming.Addrs]()
	p, _ := dtab.ParsePath("/#/mesh/incoming/demo-proxy")
	f.at("/mesh/incoming/demo-proxy").Set(naming.BoundLeaf(&naming.Bound{ID: p, Addrs: proxies}))
	first, second := at("10.2.0.1:4141", "a"), at("10.2.0.9:4141", "a")
	unready, ending := at("10.2.0.2:4141", "b"), at("10.2.0.3:4141", "b")
	unready.Serving, ending.Terminating = false, true
	for _, c := range []struct {
		name    string
		proxies []naming.Endpoint
		a, b    string
	}{
		{"one is ready", []naming.Endpoint{first, unready, ending}, "10.2.0.1:4141", "invalid AddrPort"},
		{"two on one node: nobody moves", []naming.Endpoint{second, first, at("10.2.0.4:4141", "b")}, "10.2.0.1:4141", "10.2.0.4:4141"},
		{"the old one ends", []naming.Endpoint{second, at("10.2.0.4:4141", "b")}, "10.2.0.9:4141", "10.2.0.4:4141"},
		{"none", nil, "invalid AddrPort", "invalid AddrPort"},
		{"back", []naming.Endpoint{first}, "10.2.0.1:4141", "invalid AddrPort"},
	} {
		proxies.Set(naming.Addrs{Endpoints: c.proxies})
		eventually(t, c.name, func() bool { return a.Via().String() == c.a && b.Via().String() == c.b })
		if again := d.Change(endpoints); again[0].Hop != a || again[1].Hop != b {
			t.Errorf("%s: the hops themselves changed", c.name)
		}
	}
	silent := first
	silent.Serving = false
	proxies.Set(naming.Addrs{Endpoints: []naming.Endpoint{silent}})
	eventually(t, "not ready", func() bool { return !a.Via().IsValid() })
	if !a.Lost(first.Addr) || a.Lost(second.Addr) || a.Lost(netip.AddrPort{}) {
		t.Error("a proxy that is not ready is lost")
	}
	silent.Serving, silent.Terminating = true, true
	proxies.Set(naming.Addrs{Endpoints: []naming.Endpoint{first}})
	eventually(t, "ready", func() bool { return a.Via().IsValid() })
	proxies.Set(naming.Addrs{Endpoints: []naming.Endpoint{silent}})
	eventually(t, "ending", func() bool { return !a.Via().IsValid() })
	if a.Lost(first.Addr) {
		t.Error("a proxy that ends is not lost")
	}
	proxies.Set(naming.Addrs{Endpoints: []naming.Endpoint{first}})
	eventually(t, "ready again", func() bool { return a.Via() == first.Addr })
	proxies.Fail(fmt.Errorf("broken"))
	f.at("/mesh/incoming/demo-proxy").Fail(fmt.Errorf("broken"))
	if a.Via().String() != "10.2.0.1:4141" {
		t.Error("a failure took the hop away")
	}
	f.at("/mesh/incoming/demo-proxy").Set(naming.Neg())
	eventually(t, "the Service is gone", func() bool { return !a.Via().IsValid() })
	d.Close()
	if f.open != 0 {
		t.Errorf("%d watches are left", f.open)
	}
}

// TestHopsOfNodesThatAreGone: nodes come and go for months; what nobody's endpoint is on leaves nothing behind.
func TestHopsOfNodesThatAreGone(t *testing.T) {
	f := newFake()
	proxies := f.bind("/mesh/incoming/demo-proxy", at("10.2.0.1:4141", "kept"))
	d := transformer.NewDaemonSet(f, "mesh", "incoming", "demo-proxy")
	defer d.Close()
	kept := d.Change([]naming.Endpoint{at("10.1.0.1:80", "kept")})
	for i := range 1000 {
		d.Change([]naming.Endpoint{at("10.1.0.2:80", fmt.Sprint("gone", i))})
	}
	eventually(t, "only one is left", func() bool {
		runtime.GC()
		proxies.Set(naming.Addrs{Endpoints: []naming.Endpoint{at("10.2.0.1:4141", "kept")}})
		return transformer.Hops(d) == 1
	})
	if kept[0].Hop.Via().String() != "10.2.0.1:4141" {
		t.Errorf("kept hop at %v", kept[0].Hop.Via())
	}
}

func TestNamesSayWhatWasDone(t *testing.T) {
	for text, want := range map[string]struct{ narrows, invents bool }{
		"/#/io.l5d.k8s/a/http/b": {false, false},
		"/%/io.l5d.k8s.daemonset/fairlead/incoming/demo-proxy/#/io.l5d.k8s/a/b/c": {false, false},
		"/%/io.l5d.k8s.localnode/n1/#/io.l5d.k8s/a/b/c":                           {true, false},
		"/%/io.l5d.k8s.daemonset/a/b/c/%/io.l5d.port/80/#/io.l5d.k8s/a/b/c":       {false, true},
		"/%/io.l5d.specificHost/%/io.l5d.localhost/$/inet/a/80":                   {true, false},
		"/%/io.l5d.const/$/inet/a/80":                                             {false, false},
		"/%/io.l5d.some.other/#/a":                                                {false, true},
	} {
		p, err := dtab.ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		if transformer.Narrows(p) != want.narrows || transformer.Invents(p) != want.invents {
			t.Errorf("%s: narrows %t, invents %t", text, transformer.Narrows(p), transformer.Invents(p))
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not come", what)
		}
		time.Sleep(time.Millisecond) // the step of a poll
	}
}
