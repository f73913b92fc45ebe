package route

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

const (
	failoverAfter = 5 * time.Second
	failbackAfter = 10 * time.Second
)

// overHouse is a house whose names fall over, in a bubble.
type overHouse struct {
	*house
	fails map[string]bool
	// told are the falls, as they were told.
	told []string
}

func newOverHouse(t *testing.T, rules string) *overHouse {
	h := &overHouse{house: newHouse(t, ""), fails: make(map[string]bool)}
	begin := time.Now()
	h.options.Clock = func() int64 { return int64(time.Since(begin)) + 1 }
	h.options.FellOver = func(f Fall) {
		h.told = append(h.told, fmt.Sprintf("%s from %s to %s, back %t", f.Name, f.From, f.To, f.Back))
	}
	h.over(rules)
	return h
}

func (h *overHouse) over(rules string) {
	h.configure(&config.Router{
		Dtab: dtab.RulesOf(parse(h.t, rules)), BindingTimeout: 10 * time.Second,
		FailsOver: true, FailoverAfter: failoverAfter, FailbackAfter: failbackAfter,
	})
}

// ask sends one request, which fails where fails says so of the bound name, and returns the name.
func (h *overHouse) ask(path string) string {
	h.t.Helper()
	l, problem := h.name(path).Choose(0)
	if problem != nil {
		return problem.Reason
	}
	now, class := h.options.Clock(), classify.Success
	id := l.client.id.String()
	node, err := l.Pick(0, now, nil)
	if err != nil || h.fails[id] {
		class = classify.Failure
	}
	if err == nil {
		node.Done(now, now, class)
	}
	l.Record(0, &Result{Class: class, EndNs: now})
	return id
}

// asking sends a request every 100 ms for as long, and returns how many went to each bound name.
func (h *overHouse) asking(path string, d time.Duration) map[string]int {
	h.t.Helper()
	out := make(map[string]int)
	const pause = 100 * time.Millisecond
	for ; d > 0; d -= pause {
		out[h.ask(path)]++
		time.Sleep(pause) // the clock of the bubble
		synctest.Wait()
	}
	return out
}

func (h *overHouse) expect(when string, got map[string]int, want string) {
	h.t.Helper()
	if fmt.Sprint(got) != want {
		h.t.Errorf("%s: %v, want %s", when, got, want)
	}
}

func (h *overHouse) view(id string) ClientView {
	for _, v := range h.Clients() {
		if v.ID == id {
			return v
		}
	}
	return ClientView{}
}

// TestFailover: a name whose only endpoint fails falls over after five seconds; one request tries it at each end of its wait, and once it
// answers one a second; after ten seconds without a failure it is back. Metrics, the admin page and the log say so.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOverHouse(t, "/svc => /#/a | /#/b")
		defer h.Close()
		h.fake.bind("/a/web", endpoint(1))
		h.fake.bind("/b/web", endpoint(2))
		h.expect("at first", h.asking("/svc/web", 10*time.Second), "map[/#/a/web:100]")
		if h.metric("service/svc/web/failover/falls") != "none" || h.metric("client/#/a/web/failover/passed_over") != "0" {
			t.Error("metrics of a fall before there was one")
		}

		h.fails["/#/a/web"] = true
		// Four failures are none yet; five seconds after the fifth it is passed over.
		h.expect("while it begins to fail", h.asking("/svc/web", 5400*time.Millisecond), "map[/#/a/web:54]")
		// Its wait of five seconds is over as well, so that it is tried at once, and once more after five seconds.
		h.expect("while it fails", h.asking("/svc/web", 5*time.Second), "map[/#/a/web:1 /#/b/web:49]")
		got := h.asking("/svc/web", 60*time.Second)
		if n := got["/#/a/web"]; n < 3 || n > 6 || n+got["/#/b/web"] != 600 {
			t.Errorf("%v, want a try after 5 s, 5 to 10, 10 to 20, 20 to 40", got)
		}
		if v := h.view("/#/a/web"); !v.PassedOver || v.PassedOverForMs != 65000 || v.BackInMs != 0 || !v.InUse || !v.Endpoints[0].Spared {
			t.Errorf("the page shows %+v", v)
		}
		for name, want := range map[string]string{
			"service/svc/web/failover/falls": "1", "service/svc/web/failover/active": "1", "service/svc/web/failover/returns": "0",
			"client/#/a/web/failover/passed_over": "1", "client/#/a/web/failover/trials": fmt.Sprint(got["/#/a/web"] + 1),
		} {
			if got := h.metric(name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}

		h.fails["/#/a/web"] = false
		for i := 0; h.ask("/svc/web") != "/#/a/web"; i++ {
			if time.Sleep(100 * time.Millisecond); i > 10*80 { // the clock of the bubble
				t.Fatal("it is tried no more")
			}
		}
		h.expect("once it answers", h.asking("/svc/web", 5*time.Second), "map[/#/a/web:4 /#/b/web:46]")
		if v := h.view("/#/a/web"); !v.PassedOver || v.BackInMs != 5000 {
			t.Errorf("the page shows %+v", v)
		}
		h.expect("and further", h.asking("/svc/web", 5*time.Second), "map[/#/a/web:5 /#/b/web:45]")
		h.expect("then", h.asking("/svc/web", 5*time.Second), "map[/#/a/web:50]")
		want := "/svc/web from /#/a/web to /#/b/web, back false; /svc/web from /#/b/web to /#/a/web, back true"
		if got := strings.Join(h.told, "; "); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if h.metric("service/svc/web/failover/returns") != "1" || h.metric("service/svc/web/failover/active") != "0" || h.view("/#/a/web").PassedOver {
			t.Error("the metrics or the page do not say that it is back")
		}
	})
}

// TestFailbackStartsAnew: a request that fails while the name is tried makes its time begin anew, whether it is retried or not.
func TestFailbackStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOverHouse(t, "/svc => /#/a | /#/b")
		defer h.Close()
		a := h.fake.bind("/a/web")
		h.fake.bind("/b/web", endpoint(2))
		h.expect("without endpoints", h.asking("/svc/web", 2*time.Second), "map[/#/b/web:20]") // at once: there never was one
		a.Set(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(1)}})
		synctest.Wait()
		h.expect("with one", h.asking("/svc/web", 9*time.Second), "map[/#/a/web:9 /#/b/web:81]")
		h.fails["/#/a/web"] = true
		h.expect("which fails once", h.asking("/svc/web", 100*time.Millisecond), "map[/#/a/web:1]")
		h.fails["/#/a/web"] = false
		h.expect("before its time", h.asking("/svc/web", 8900*time.Millisecond), "map[/#/a/web:8 /#/b/web:81]")
		l := h.leaf("/svc/web")
		if l.client.id.String() != "/#/a/web" {
			t.Fatalf("%s is tried", l.client.id)
		}
		next, _ := l.Retry(0, h.options.Clock(), &resilience.Attempt{})
		if next == nil || next.client.id.String() != "/#/b/web" {
			t.Errorf("what failed there is sent to %+v", next)
		}
		h.expect("after a retry", h.asking("/svc/web", 9900*time.Millisecond), "map[/#/a/web:9 /#/b/web:90]")
		time.Sleep(200 * time.Millisecond) // the clock of the bubble
		synctest.Wait()
		h.expect("at last", h.asking("/svc/web", time.Second), "map[/#/a/web:10]")
	})
}

// TestNoFlapping: what is otherwise for less than the set time changes nothing.
func TestNoFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOverHouse(t, "/svc => /#/a | /#/b")
		defer h.Close()
		some := naming.Addrs{Endpoints: []naming.Endpoint{endpoint(1)}}
		a := h.fake.bind("/a/web", endpoint(1))
		h.fake.bind("/b/web", endpoint(2))
		h.ask("/svc/web")
		for range 3 {
			a.Set(naming.Addrs{})
			h.expect("a short absence", h.asking("/svc/web", failoverAfter-100*time.Millisecond), "map[/#/a/web:49]")
			a.Set(some)
			h.expect("and back", h.asking("/svc/web", time.Second), "map[/#/a/web:10]")
		}
		a.Set(naming.Addrs{})
		time.Sleep(failoverAfter + 1) // the clock of the bubble
		for range 3 {
			synctest.Wait()
			h.expect("a long absence", h.asking("/svc/web", time.Second), "map[/#/b/web:10]")
			a.Set(some)
			time.Sleep(failbackAfter - 100*time.Millisecond) // the clock of the bubble
			a.Set(naming.Addrs{})
		}
		if len(h.told) != 1 {
			t.Errorf("told %q", h.told)
		}
	})
}

// TestFailoverOverEdits: a name that fell over stays so over an edit of the rules and a change of the endpoints' source; its client ends with
// the last name that wants to know.
func TestFailoverOverEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOverHouse(t, "/svc => /#/a | /#/b")
		defer h.Close()
		h.fake.bind("/a/web")
		h.fake.bind("/b/web", endpoint(2))
		h.fake.bind("/c/web", endpoint(3))
		h.ask("/svc/web")
		client := h.clients["/#/a/web"]
		h.over("/svc => /#/a | /#/c")
		h.expect("another alternate", h.asking("/svc/web", time.Second), "map[/#/c/web:10]")
		h.fake.bind("/a/web") // the namer answers anew
		synctest.Wait()
		h.expect("another set", h.asking("/svc/web", time.Second), "map[/#/c/web:10]")
		if h.clients["/#/a/web"] != client || len(client.sources) != 1 || client.users != 2 {
			t.Errorf("%d users of %d sets, want the name's leaf and its question", client.users, len(client.sources))
		}
		h.over("/svc => 1 * (/#/a | /#/b) & 1 * /#/c")
		if got := h.asking("/svc/web", 10*time.Second); got["/#/b/web"] < 20 || got["/#/c/web"] < 20 || len(got) != 2 {
			t.Errorf("within a union %v", got)
		}
		h.rules("/svc => /#/a | /#/b") // by Linkerd's rule
		h.expect("off", h.asking("/svc/web", time.Second), "map[/#/a/web:10]")
		if h.view("/#/a/web").PassedOver || client.users != 1 {
			t.Errorf("%+v, %d users", h.view("/#/a/web"), client.users)
		}
		h.over("/svc => /#/a | /#/b")
		h.expect("on", h.asking("/svc/web", time.Second), "map[/#/b/web:10]")
		h.maxNames = 1
		h.fake.bind("/b/other", endpoint(4))
		h.ask("/svc/other") // makes the other one leave
		synctest.Wait()
		if client.users != 0 || h.metric("service/svc/web/failover/active") != "none" {
			t.Errorf("%d users once the name is gone", client.users)
		}
		h.configure(&config.Router{
			Dtab: dtab.RulesOf(parse(t, "/svc => /#/a | /#/b")), BindingTimeout: time.Second, FailsOver: true,
			Transformers: []v1alpha1.Transformer{{Kind: v1alpha1.KindTransformerLocalNode}},
		})
		h.expect("a router of the node's own endpoints", h.asking("/svc/web", time.Second), "map[/#/a/web:10]")
	})
}

// TestFailoverWhereNothingIsLive: the first alternate gets the requests, and the first that answers is found by trials.
func TestFailoverWhereNothingIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOverHouse(t, "/svc => /#/a | /#/b")
		defer h.Close()
		h.fake.bind("/a/web", endpoint(1))
		h.fake.bind("/b/web", endpoint(2))
		h.fails["/#/a/web"], h.fails["/#/b/web"] = true, true
		got := h.asking("/svc/web", time.Minute)
		if got["/#/a/web"] < 450 || got["/#/b/web"] < 40 {
			t.Errorf("%v, want six seconds at each and then a alone, with some tries of b", got)
		}
		h.fails["/#/b/web"] = false
		h.asking("/svc/web", 3*time.Minute) // its wait may be long by now
		if got := h.asking("/svc/web", time.Minute); got["/#/b/web"] < 595 {
			t.Errorf("%v, want b, which answers, with some tries of a", got)
		}
	})
}

// TestExplainKeepsNothing: an explanation makes no client of what it looks at.
func TestExplainKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOverHouse(t, "/svc => /#/a | /#/b")
		defer h.Close()
		h.fake.bind("/a/web")
		h.fake.bind("/b/web", endpoint(2))
		e := h.Explain(t.Context(), dtab.Path{"svc", "web"}, nil)
		if a := e.Root.Alt; len(a) != 2 || !a[0].Unhealthy || a[0].Primary || a[1].Unhealthy || !a[1].Primary {
			t.Errorf("%+v", e.Root)
		}
		if len(h.clients) != 0 {
			t.Errorf("%d clients", len(h.clients))
		}
	})
}

// TestFailoverOfLostEndpoints: an endpoint that cannot be connected to is none that is live, and is once it can be, without any request.
func TestFailoverOfLostEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOverHouse(t, "")
		defer h.Close()
		var works atomic.Bool
		h.options.Connect = func(context.Context, any) error {
			if works.Load() {
				return nil
			}
			return errors.New("refused")
		}
		h.configure(&config.Router{
			Dtab: dtab.RulesOf(parse(t, "/svc => /#/a | /#/b")), BindingTimeout: time.Second,
			FailsOver: true, FailoverAfter: failoverAfter, FailbackAfter: failbackAfter,
			Clients: []config.Client{{Prefix: dtab.Prefix{{Label: "#"}}, FailFast: true}},
		})
		h.fake.bind("/a/web", endpoint(1), endpoint(2))
		h.fake.bind("/b/web", endpoint(3))
		nodes := h.leaf("/svc/web").client.balancer.Nodes()
		nodes[0].ConnectFailed(h.options.Clock())
		for range 5 {
			nodes[1].Start(h.options.Clock(), 0)
			nodes[1].Done(0, h.options.Clock(), classify.Failure)
		}
		time.Sleep(failoverAfter + 1) // the clock of the bubble
		synctest.Wait()
		if len(h.told) != 1 {
			t.Errorf("told %q, with one endpoint lost and one that fails", h.told)
		}
		works.Store(true)
		time.Sleep(32*time.Second + failbackAfter) // the clock of the bubble
		synctest.Wait()
		if len(h.told) != 2 {
			t.Errorf("told %q, where one can be connected to", h.told)
		}
	})
}
