package naming_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a namer whose answers a test sets. A name that was not set is Neg.
type fake struct {
	mu    sync.Mutex
	names map[string]*naming.Var[naming.Tree]
	open  map[string]int
}

func newFake() *fake {
	return &fake{names: make(map[string]*naming.Var[naming.Tree]), open: make(map[string]int)}
}

// at returns what the namer answers for a path below its prefix.
func (f *fake) at(path string) *naming.Var[naming.Tree] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[path] == nil {
		f.names[path] = naming.Fixed(naming.Neg())
	}
	return f.names[path]
}

// pending makes the namer's answer for a path one that has not arrived.
func (f *fake) pending(path string) *naming.Var[naming.Tree] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[path] = naming.NewVar[naming.Tree]()
	return f.names[path]
}

// watches returns how many answers for the path are held; "" asks for all paths.
func (f *fake) watches(path string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, count := range f.open {
		if path == "" || p == path {
			n += count
		}
	}
	return n
}

func (f *fake) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	v := f.at(p.String())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[p.String()]++
	return &held{Var: v, fake: f, path: p.String()}
}

type held struct {
	*naming.Var[naming.Tree]
	fake *fake
	path string
}

func (h *held) Close() {
	h.fake.mu.Lock()
	defer h.fake.mu.Unlock()
	h.fake.open[h.path]--
}

func leaf(id string) naming.Tree {
	p, err := dtab.ParsePath(id)
	if err != nil {
		panic(err)
	}
	return naming.BoundLeaf(&naming.Bound{ID: p, Addrs: naming.Fixed(naming.Addrs{})})
}

func table(t *testing.T, text string) *dtab.Table {
	t.Helper()
	d, err := dtab.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return dtab.Compile(d)
}

func path(t *testing.T, text string) dtab.Path {
	t.Helper()
	p, err := dtab.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// show is a tree with the bound names as its leaves.
func show(t naming.Tree) string {
	switch t.Kind {
	case dtab.Leaf:
		if t.Bound == nil {
			return "nothing"
		}
		return t.Bound.ID.String()
	case dtab.Union:
		out := ""
		for _, b := range t.Branches {
			out += fmt.Sprintf("%g*%s ", b.Weight, show(b.Tree))
		}
		return out
	}
	return t.Kind.String()
}

// await waits until the value is as ok wants it.
func await[T any](t *testing.T, l naming.Live[T], ok func(T, naming.State, error) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		changed := l.Changed()
		v, s, err := l.Load()
		if ok(v, s, err) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("still %v, state %d, error %v", v, s, err)
		}
	}
}

func awaitTree(t *testing.T, n naming.Live[naming.Tree], want string) {
	t.Helper()
	await(t, n, func(tree naming.Tree, s naming.State, _ error) bool { return s == naming.Ok && show(tree) == want })
}

func ignore(naming.Tree, naming.State, error) {}
