package naming_test

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// vitals is the health of bound names as a test sets it: all are well at first.
type vitals struct {
	mu    sync.Mutex
	names map[string]*naming.Var[bool]
	open  map[string]int
}

func newVitals(unwell ...string) *vitals {
	v := &vitals{names: make(map[string]*naming.Var[bool]), open: make(map[string]int)}
	for _, id := range unwell {
		v.at(id).Set(false)
	}
	return v
}

func (v *vitals) at(id string) *naming.Var[bool] {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.names[id] == nil {
		v.names[id] = naming.Fixed(true)
	}
	return v.names[id]
}

func (v *vitals) health(b *naming.Bound) naming.Live[bool] {
	id := b.ID.String()
	at := v.at(id)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open[id]++
	return &watched{at, v, id}
}

// watches returns the names that are asked about.
func (v *vitals) watches() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for _, id := range []string{"/#/a", "/#/b", "/#/c", "/#/d"} {
		if v.open[id] > 0 {
			out = append(out, id)
		}
	}
	return strings.Join(out, " ")
}

type watched struct {
	*naming.Var[bool]
	vitals *vitals
	id     string
}

func (w *watched) Close() {
	w.vitals.mu.Lock()
	defer w.vitals.mu.Unlock()
	w.vitals.open[w.id]--
}

// asked is a leaf with one endpoint.
func asked(id string) naming.Tree {
	t := leaf(id)
	t.Bound.Addrs = naming.Fixed(naming.Addrs{Endpoints: []naming.Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, Serving: true}}})
	return t
}

// passed is show with what is passed over, and "all" where that is since nothing is live.
func passed(t naming.Tree) string {
	out := strings.TrimSpace(show(t))
	if t.Kind == dtab.Union {
		out = ""
		for _, b := range t.Branches {
			out += passed(b.Tree) + " "
		}
		out = strings.TrimSpace(out)
	}
	if len(t.Unwell) == 0 {
		return out
	}
	var unwell []string
	for _, u := range t.Unwell {
		unwell = append(unwell, passed(u))
	}
	word := " over "
	if !t.Fallback {
		word = " all "
	}
	return out + word + strings.Join(unwell, ",")
}

// failover binds /svc by rules. Names a to d exist and have an endpoint; empty has none, slow is pending, dead fails.
func failover(t *testing.T, rules string, v *vitals) (*naming.Interpreter, *fake, *naming.Name) {
	t.Helper()
	in, f, mounts := interpreter(t, rules)
	for _, name := range []string{"/a", "/b", "/c", "/d"} {
		f.at(name).Set(asked("/#" + name))
	}
	f.at("/empty").Set(leaf("/#/empty"))
	f.at("/dead").Reset(errors.New("no such thing"))
	f.pending("/slow")
	in.SetHealth(v.health, v.health)
	in.Set(table(t, rules), mounts, time.Minute)
	n := in.Bind(path(t, "/svc"), nil, ignore)
	t.Cleanup(n.Close)
	return in, f, n
}

// TestFailover: which alternate is taken by the health of those before it, and which are kept to be tried.
func TestFailover(t *testing.T) {
	for _, c := range []struct{ rules, unwell, want string }{
		{"/svc => /#/a | /#/b", "", "/#/a"},
		{"/svc => /#/a | /#/b", "/#/a", "/#/b over /#/a"},
		{"/svc => /#/a | /#/b", "/#/b", "/#/a"},
		{"/svc => /#/a | /#/b", "/#/a /#/b", "/#/a all /#/b"},
		{"/svc => /#/a", "/#/a", "/#/a"},
		{"/svc => /#/none | /#/a", "/#/a", "/#/a"},
		{"/svc => /#/a | /#/none | /#/b", "/#/a", "/#/b over /#/a"},
		{"/svc => /#/a | /#/none", "/#/a", "/#/a"},
		{"/svc => /#/a | /#/b | /#/c", "/#/a /#/b", "/#/c over /#/a,/#/b"},
		{"/svc => /#/a | /#/b | /#/c", "/#/a /#/b /#/c", "/#/a all /#/b,/#/c"},
		{"/svc => /#/b; /svc => /#/a", "/#/a", "/#/b over /#/a"}, // rules of one prefix are alternates
		{"/svc => /host | /#/b; /host => /#/a", "/#/a", "/#/b over /#/a"},
		{"/svc => /#/a | /$/io.buoyant.http.status/503", "/#/a", "/$/io.buoyant.http.status/503 over /#/a"},
		// What has no endpoint to offer is no better, and ends the walk as it ends alternates.
		{"/svc => /#/a | ! | /#/b", "/#/a", "/#/a"},
		{"/svc => /#/a | $ | /#/b", "/#/a", "/#/a"},
		{"/svc => /#/a | /#/dead | /#/b", "/#/a", "/#/a"},
		{"/svc => /#/a | /#/slow | /#/b", "/#/a", "/#/a"},
		{"/svc => /#/empty | /#/slow | /#/b", "/#/empty", "pending"},
		{"/svc => ! | /#/b", "", "fail"},
		// Nested ones evaluate as flat ones do.
		{"/svc => (/#/a | /#/b) | /#/c", "/#/a", "/#/b over /#/a"},
		{"/svc => (/#/a | /#/b) | /#/c", "/#/a /#/b", "/#/c over /#/a all /#/b"},
		{"/svc => /#/a | (/#/b | /#/c)", "/#/a /#/b", "/#/c over /#/a,/#/b"},
		{"/svc => /#/a | (/#/b | /#/c)", "/#/a /#/b /#/c", "/#/a all /#/b all /#/c"},
		{"/svc => /x | /#/b; /x => /#/a | !", "/#/a", "/#/a"},
		{"/svc => (/#/a | !) | /#/b", "/#/a", "/#/a"},
		{"/svc => (/#/a | /#/slow) | /#/b", "/#/a", "/#/a"},
		// Unions are live where any leaf that gets requests is.
		{"/svc => 9 * /#/a & 1 * /#/b | /#/c", "/#/a", "/#/a /#/b"},
		{"/svc => 9 * /#/a & 1 * /#/b | /#/c", "/#/b", "/#/a /#/b"},
		{"/svc => 9 * /#/a & 1 * /#/b | /#/c", "/#/a /#/b", "/#/c over /#/a /#/b"},
		{"/svc => 9 * /#/a & 0 * /#/b | /#/c", "/#/a", "/#/c over /#/a /#/b"},
		{"/svc => 0 * /#/a & 0 * /#/b | /#/c", "/#/a", "/#/a /#/b"},
		{"/svc => 9 * /#/a & 1 * $ | /#/c", "/#/a", "/#/c over /#/a empty"},
		{"/svc => 9 * (/#/a | /#/b) & 1 * /#/c", "/#/a", "/#/b over /#/a /#/c"},
		{"/svc => 9 * (/#/a | /#/b) & 1 * /#/c | /#/d", "/#/a /#/b /#/c", "/#/d over /#/a all /#/b /#/c"},
	} {
		_, _, n := failover(t, c.rules, newVitals(strings.Fields(c.unwell)...))
		tree, state, _ := n.Load()
		got := passed(tree)
		if state == naming.Pending {
			got = "pending"
		}
		if got != c.want {
			t.Errorf("%s with %q unwell: %s, want %s", c.rules, c.unwell, got, c.want)
		}
	}
}

// TestFailoverFollowsHealth: a name goes over and back as health changes; what is asked about is what was looked at, and nothing once rules
// have no alternates, do not fall over, or the name is closed.
func TestFailoverFollowsHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVitals()
		in, f, n := failover(t, "/svc => /#/a | /#/b | /#/c", v)
		expect := func(tree, watches string) {
			t.Helper()
			synctest.Wait()
			if got, _, _ := n.Load(); passed(got) != tree || v.watches() != watches {
				t.Errorf("%s, asked about %s, want %s, %s", passed(got), v.watches(), tree, watches)
			}
		}
		expect("/#/a", "/#/a")
		v.at("/#/a").Set(false)
		expect("/#/b over /#/a", "/#/a /#/b")
		if f.watches("/a") != 1 {
			t.Error("the namer is not asked any more about what is passed over")
		}
		v.at("/#/b").Set(false)
		expect("/#/c over /#/a,/#/b", "/#/a /#/b /#/c")
		v.at("/#/b").Set(true)
		expect("/#/b over /#/a", "/#/a /#/b")
		f.at("/a").Set(asked("/#/a")) // other endpoints, of the same name
		expect("/#/b over /#/a", "/#/a /#/b")
		f.at("/a").Set(naming.Neg())
		expect("/#/b", "/#/b")
		f.at("/a").Set(asked("/#/a"))
		expect("/#/b over /#/a", "/#/a /#/b")
		v.at("/#/a").Set(true)
		expect("/#/a", "/#/a")
		v.at("/#/a").Set(false)
		synctest.Wait()
		_, _, mounts := interpreter(t, "")
		mounts[len(mounts)-1].Namer = f
		in.Set(table(t, "/svc => /#/a"), mounts, time.Minute)
		expect("/#/a", "")
		in.Set(table(t, "/svc => /#/a | /#/b"), mounts, time.Minute)
		expect("/#/b over /#/a", "/#/a /#/b")
		in.SetHealth(nil, nil)
		in.Set(table(t, "/svc => /#/a | /#/b"), mounts, time.Minute)
		expect("/#/a", "")
		in.SetHealth(v.health, v.health)
		in.Set(table(t, "/svc => /#/a | /#/b"), mounts, time.Minute)
		expect("/#/b over /#/a", "/#/a /#/b")
		n.Close()
		expect("/#/b over /#/a", "")
	})
}

// TestExplainFailover: an explanation shows which alternate was passed over for its health, and what requests take instead.
func TestExplainFailover(t *testing.T) {
	for _, c := range []struct{ rules, unwell, primary, unhealthy string }{
		{"/svc => /#/a | /#/b | /#/c", "/#/a", "/#/b", "/#/a"},
		{"/svc => /#/a | /#/b | /#/c", "/#/a /#/b", "/#/c", "/#/a /#/b"},
		{"/svc => /#/a | /#/b", "/#/a /#/b", "/#/a", "/#/a /#/b"},
		{"/svc => (/#/a | /#/b) | /#/c", "/#/a /#/b", "/#/c", "/#/a /#/b"},
		{"/svc => /#/a | !", "/#/a", "/#/a", "/#/a"},
	} {
		v := newVitals(strings.Fields(c.unwell)...)
		in, _, n := failover(t, c.rules, v)
		e := in.Explain(t.Context(), path(t, "/svc"), nil)
		paths := func(ok func(*naming.Step) bool) string {
			var out []string
			for _, s := range find(e.Root, ok) {
				out = append(out, s.Path)
			}
			return strings.Join(out, " ")
		}
		primary := paths(func(s *naming.Step) bool { return s.Type == naming.StepLeaf && s.Primary && s.Share == 1 })
		unhealthy := paths(func(s *naming.Step) bool { return s.Type == naming.StepLeaf && s.Unhealthy })
		tree, _, _ := n.Load()
		if primary != c.primary || unhealthy != c.unhealthy || show(e.Tree) != show(tree) {
			t.Errorf("%s: takes %s, unhealthy %s, tree %s, want %s, %s, %s", c.rules, primary, unhealthy, show(e.Tree), c.primary, c.unhealthy, show(tree))
		}
	}
}
