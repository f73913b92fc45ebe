package dnssrv

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/test/testkit/freeport"
	"github.com/fairlead/fairlead/test/testkit/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func await[T any](t *testing.T, l naming.Live[T], want string, show func(T, naming.State) string) {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		changed := l.Changed()
		v, s, err := l.Load()
		got := show(v, s)
		if got == want {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("still %s, error %v; want %s", got, err, want)
		}
	}
}

func shown(tree naming.Tree, s naming.State) string {
	switch {
	case s == naming.Pending:
		return "pending"
	case tree.Bound == nil:
		return tree.Kind.String()
	}
	return tree.Bound.ID.String() + " " + tree.Bound.Residual.String()
}

func endpoints(a naming.Addrs, _ naming.State) string {
	var out []string
	for _, e := range a.Endpoints {
		out = append(out, fmt.Sprintf("%s*%g", e.Addr, e.Weight))
	}
	return strings.Join(out, " ")
}

// Records become endpoints by weight; those of a later priority count where no earlier one has an address.
func TestLookup(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("a.test.", "1 IN A 10.0.0.1", "1 IN A 10.0.0.2")
	z.Set("b.test.", "1 IN A 10.0.0.3")
	z.Set("_weighted.test.", "1 IN SRV 1 3 80 a.test.", "1 IN SRV 1 0 81 b.test.", "1 IN SRV 2 9 82 b.test.")
	z.Set("_alike.test.", "1 IN SRV 1 0 80 a.test.", "1 IN SRV 1 0 81 b.test.")
	z.Set("_later.test.", "1 IN SRV 1 0 80 none.test.", "1 IN SRV 7 2 81 b.test.", "1 IN SRV 9 2 82 a.test.")
	z.Set("_off.test.", "1 IN SRV 0 0 0 .")
	n := New(dtab.Path{"#", "io.l5d.dnssrv"}, dns.Options{Servers: []string{z.Addr}})
	t.Cleanup(n.Close)
	for name, want := range map[string]string{
		"_weighted.test": "10.0.0.1:80*3 10.0.0.2:80*3 10.0.0.3:81*0.01", "_alike.test": "10.0.0.1:80*1 10.0.0.2:80*1 10.0.0.3:81*1",
		"_later.test.": "10.0.0.3:81*2", "_off.test": "", "_none.test": "",
	} {
		live := n.Lookup(dtab.Path{name, "rest"})
		if want == "" {
			await(t, live, "neg", shown)
		} else {
			await(t, live, "/#/io.l5d.dnssrv/"+name+" /rest", shown)
			tree, _, _ := live.Load()
			await(t, tree.Bound.Addrs, want, endpoints)
		}
		live.Close()
	}
	for _, p := range []dtab.Path{nil, {""}, {strings.Repeat("a", 255)}} {
		if tree, s, _ := n.Lookup(p).Load(); shown(tree, s) != "neg" {
			t.Errorf("%s: %s", p, shown(tree, s))
		}
	}
	if s := n.Resolver().Stats(); s.Names != 0 || len(n.names) != 0 {
		t.Errorf("%d names kept that nobody uses, %d here", s.Names, len(n.names))
	}
}

// A name that cannot be asked for lets an alternate take over until it is known, and keeps its endpoints after that.
func TestChangesAndFailures(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Break(true)
	z.Set("a.test.", "1 IN A 10.0.0.1")
	z.Set("_web.test.", "1 IN SRV 1 1 80 a.test.")
	n := New(dtab.Path{"#", "srv"}, dns.Options{Servers: []string{z.Addr}})
	t.Cleanup(n.Close)
	one, two := n.Lookup(dtab.Path{"_web.test"}), n.Lookup(dtab.Path{"_web.test"})
	t.Cleanup(two.Close)
	await(t, one, "neg", shown)
	one.Close() // takes nothing from the other
	z.Break(false)
	await(t, two, "/#/srv/_web.test /", shown)
	tree, _, _ := two.Load()
	await(t, tree.Bound.Addrs, "10.0.0.1:80*1", endpoints)
	z.Set("_web.test.", "1 IN SRV 1 1 80 a.test.", "1 IN SRV 1 1 81 a.test.")
	await(t, tree.Bound.Addrs, "10.0.0.1:80*1 10.0.0.1:81*1", endpoints)
	if again, _, _ := two.Load(); again.Bound != tree.Bound {
		t.Error("a change of records bound the name anew")
	}
	failures := n.Resolver().Stats().Failures
	z.Break(true)
	for deadline := time.Now().Add(20 * time.Second); n.Resolver().Stats().Failures < failures+2; {
		if time.Now().After(deadline) {
			t.Fatal("the server was not asked again")
		}
		time.Sleep(10 * time.Millisecond) // the step of a poll
	}
	if got := endpoints(first(tree.Bound.Addrs.Load())); got != "10.0.0.1:80*1 10.0.0.1:81*1" {
		t.Errorf("after failures: %s", got)
	}
}

// Until a name is known every failure to ask for it is Neg, as in Linkerd, be it that the server says so or that there is none: an alternate
// takes over at once, and no request waits for a name server that is ill.
func TestFirstAnswerIsAFailure(t *testing.T) {
	t.Parallel()
	ill := zone.New(t)
	ill.Break(true)
	for name, server := range map[string]string{"server failure": ill.Addr, "no server": fmt.Sprintf("127.0.0.1:%d", freeport.Get(t))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := New(dtab.Path{"#", "srv"}, dns.Options{Servers: []string{server}})
			t.Cleanup(n.Close)
			live := n.Lookup(dtab.Path{"_web.test"})
			t.Cleanup(live.Close)
			await(t, live, "neg", shown)
			if _, s, err := live.Load(); s != naming.Ok || err != nil {
				t.Errorf("state %v, error %v: who binds would wait", s, err)
			}
			if s := n.Resolver().Stats(); s.Failures != 1 {
				t.Errorf("Neg after %d failures", s.Failures)
			}
		})
	}
}

func first(a naming.Addrs, s naming.State, _ error) (naming.Addrs, naming.State) { return a, s }

// A name that comes is waited for: until the hosts of its records are resolved nobody can say that there are no endpoints.
func TestNameThatComesHasNoEmptySet(t *testing.T) {
	t.Parallel()
	z := zone.New(t)
	z.Set("a.test.", "1 IN A 10.0.0.1")
	z.Set("_web.test.", "1 IN SRV 1 1 80 a.test.")
	n := New(dtab.Path{"#", "srv"}, dns.Options{Servers: []string{z.Addr}})
	t.Cleanup(n.Close)
	live := n.Lookup(dtab.Path{"_web.test"})
	t.Cleanup(live.Close)
	await(t, live, "/#/srv/_web.test /", shown)
	n.mu.Lock()
	e := n.names["/_web.test"]
	n.mu.Unlock()
	e.stop() // its updates are made here
	for range 10 {
		n.update(e, nil, naming.Ok)
		n.update(e, []dns.SRV{{Target: "a.test", Port: 80}}, naming.Ok)
		tree, _, _ := live.Load()
		if a, s, _ := tree.Bound.Addrs.Load(); s == naming.Ok && len(a.Endpoints) == 0 {
			t.Fatal("bound to no endpoints before its host was resolved")
		}
		await(t, tree.Bound.Addrs, "10.0.0.1:80*1", endpoints)
	}
}
