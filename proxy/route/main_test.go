package route

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is the namer of /#: each name has an answer that a test sets. Lookups of a name in slow block until it is closed.
type fake struct {
	mu    sync.Mutex
	names map[string]*naming.Var[naming.Tree]
	slow  map[string]chan struct{}
}

func newFake() *fake {
	return &fake{names: make(map[string]*naming.Var[naming.Tree]), slow: make(map[string]chan struct{})}
}

func (f *fake) at(path string) *naming.Var[naming.Tree] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[path] == nil {
		f.names[path] = naming.Fixed(naming.Neg())
	}
	return f.names[path]
}

func (f *fake) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	f.mu.Lock()
	slow := f.slow[p.String()]
	f.mu.Unlock()
	if slow != nil {
		<-slow
	}
	return f.at(p.String())
}

// bind makes a name exist with endpoints that the caller may change.
func (f *fake) bind(path string, endpoints ...naming.Endpoint) *naming.Var[naming.Addrs] {
	addrs := naming.Fixed(naming.Addrs{Endpoints: endpoints})
	f.lead(path, "/#"+path, addrs)
	return addrs
}

// lead makes a name lead to a bound name with the given endpoints.
func (f *fake) lead(path, id string, addrs naming.Live[naming.Addrs]) {
	p, err := dtab.ParsePath(id)
	if err != nil {
		panic(err)
	}
	f.at(path).Set(naming.BoundLeaf(&naming.Bound{ID: p, Addrs: addrs}))
}

func endpoint(i int) naming.Endpoint {
	return naming.Endpoint{
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80), Weight: 1, Serving: true,
	}
}

// house is a router with its namer.
type house struct {
	*Router
	fake *fake
	t    testing.TB
	tree *telemetry.Tree
	// open counts what NewConns made and CloseConns did not end, by address.
	mu   sync.Mutex
	open map[string]int
}

func newHouse(t testing.TB, rules string) *house {
	t.Helper()
	h := &house{t: t, fake: newFake(), tree: telemetry.New(), open: make(map[string]int)}
	h.Router = New(Options{
		Clock: func() int64 { return 1 },
		Scope: h.tree.Scope("rt", "http"),
		NewConns: func(_ dtab.Path, e naming.Endpoint) any {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.open[e.Addr.String()]++
			return e.Addr.String()
		},
		CloseConns: func(c any) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.open[c.(string)]--
		},
	})
	h.rules(rules)
	return h
}

func (h *house) rules(text string) {
	h.t.Helper()
	h.configure(&config.Router{Dtab: dtab.RulesOf(parse(h.t, text)), BindingTimeout: 10 * time.Second})
}

func (h *house) configure(cfg *config.Router) {
	h.Set(cfg, []naming.Mount{{Prefix: dtab.Path{"#"}, Namer: h.fake}}, time.Minute)
}

func parse(t testing.TB, text string) dtab.Dtab {
	t.Helper()
	d, err := dtab.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// name returns the name of a path, as a request would ask for it.
func (h *house) name(text string) *Name {
	if n := h.Lookup([]byte(text)); n != nil {
		return n
	}
	p, err := dtab.ParsePath(text)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.Bind([]byte(text), p, nil)
}

// leaf returns where one request for the path goes.
func (h *house) leaf(text string) *Leaf {
	h.t.Helper()
	l, err := h.name(text).Choose(0)
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

// ids counts to which bound names n requests for the path go; failures by their reason.
func (h *house) ids(text string, n int) map[string]int {
	out := make(map[string]int)
	name := h.name(text)
	for range n {
		l, err := name.Choose(0)
		if err != nil {
			out[err.Reason]++
		} else {
			out[l.client.id.String()]++
		}
	}
	return out
}

// metric returns the value of a metric by its flat name below rt/http, or "none".
func (h *house) metric(name string) string {
	h.t.Helper()
	var b bytes.Buffer
	if err := h.tree.WriteJSON(&b, ""); err != nil {
		h.t.Fatal(err)
	}
	all := make(map[string]json.Number)
	if err := json.Unmarshal(b.Bytes(), &all); err != nil {
		h.t.Fatal(err)
	}
	if v, ok := all["rt/http/"+name]; ok {
		return v.String()
	}
	return "none"
}
