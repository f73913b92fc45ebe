package route

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// at makes the time of a house one that a test sets.
func (h *house) at() *atomic.Int64 {
	now := new(atomic.Int64)
	h.options.Clock = now.Load
	return now
}

// retrying is a configuration whose reads are sent again when they fail, with these retries.
func retrying(t testing.TB, rules string, s config.Service) *config.Router {
	s.Prefix, s.Classifier = dtab.Prefix{{Label: "svc"}}, v1alpha1.KindRetryableRead5XX
	return &config.Router{Dtab: dtab.RulesOf(parse(t, rules)), BindingTimeout: time.Second, Services: []config.Service{s}}
}

// simulated sends one request at a time of the test's own, as the wire engine does, and returns to how many endpoints it went and whether
// it succeeded in the end.
func simulated(t *testing.T, l *Leaf, nowNs int64, fails func(*balance.Node) bool) (attempts int, ok bool) {
	t.Helper()
	l.Begin(nowNs)
	var tried []*balance.Node
	for retries, start := 0, nowNs; ; retries++ {
		node, err := l.Pick(0, nowNs, tried)
		if err != nil {
			tried = nil
			if node, err = l.Pick(0, nowNs, nil); err != nil {
				t.Fatal(err)
			}
		}
		attempts++
		failed := fails(node)
		class := l.Policy().Classifier.Response(200, true)
		if failed {
			class = l.Policy().Classifier.Response(503, true)
		}
		node.Done(nowNs, nowNs+int64(time.Millisecond), class)
		var next *Leaf
		if failed {
			next, _ = l.Retry(0, nowNs, &resilience.Attempt{Retries: retries, Reason: "503", StartNs: start, EndNs: nowNs})
		}
		if next == nil {
			l.Record(0, &Result{Class: class, Latency: time.Millisecond, Retries: retries, EndNs: nowNs})
			return attempts, !failed
		}
		l, tried = next, append(tried, node)
	}
}

// TestTotalFailure: a service that fails wholly for a minute gets no more load than its budget allows and takes no other's; once it is
// well, requests succeed at once, and each endpoint is back when its probe is due.
func TestTotalFailure(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	now := h.at()
	h.configure(retrying(t, "/svc => /#/a", config.Service{}))
	h.fake.bind("/a/broken", endpoint(1), endpoint(2), endpoint(3))
	h.fake.bind("/a/sound", endpoint(4), endpoint(5))
	const (
		second        = int64(time.Second)
		every         = 5 * int64(time.Millisecond) // 200 requests a second
		breaks, heals = 20 * second, 80 * second
		perSecond     = 200
	)
	never := func(*balance.Node) bool { return false }
	requests, attempts := 0, 0
	due, back := map[balance.Identity]int64{}, map[balance.Identity]int64{}
	for at := second; at < heals+100*second; at += every {
		now.Store(at)
		broken, sound := h.leaf("/svc/broken"), h.leaf("/svc/sound")
		failing := at >= breaks && at < heals
		if at >= heals && at < heals+every {
			for _, n := range broken.client.balancer.Nodes() {
				due[n.Identity()] = max(n.Due(), at)
			}
		}
		n, ok := simulated(t, broken, at, func(n *balance.Node) bool {
			if !failing && back[n.Identity()] == 0 && at >= heals {
				back[n.Identity()] = at
			}
			return failing
		})
		if ok == failing {
			t.Fatalf("at %v: success %v", time.Duration(at), ok)
		}
		if failing {
			requests, attempts = requests+1, attempts+n
		}
		simulated(t, sound, at, never)
		// A fifth of what came in the last nine to ten seconds, and the reserve.
		if left := sound.service.budget.current.Load().Balance(at); at >= breaks && left < 9*perSecond/5+100 {
			t.Fatalf("at %v the budget of another service is %d", time.Duration(at), left)
		}
	}
	added, most := attempts-requests, requests/5+60*10+100+perSecond*10/5
	if added > most || added < most/2 {
		t.Errorf("%d attempts beside %d requests; the budget is for %d", added, requests, most)
	}
	if len(due) != 3 || len(back) != 3 {
		t.Fatalf("%d endpoints, %d of which came back", len(due), len(back))
	}
	for id, at := range back {
		if late := time.Duration(at - due[id]); late > 100*time.Millisecond {
			t.Errorf("an endpoint came back %v after its probe was due", late)
		}
	}
	if v := h.metric("service/svc/broken/retries/budget_exhausted"); v == "0" {
		t.Error("the budget was never exhausted: the test tests nothing")
	}
}

// TestRetriesFollowTheConfiguration: budgets change with an edit and stay otherwise, and the counters say what happened.
func TestRetriesFollowTheConfiguration(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	now := h.at()
	now.Store(int64(time.Hour))
	h.fake.bind("/a/web", endpoint(1))
	h.fake.bind("/b/web", endpoint(2))
	always := func(*balance.Node) bool { return true }
	some := config.Service{MaxRetries: 3, RetryBudget: config.RetryBudget{MinPerSecond: 1, TTL: 10 * time.Second}}
	h.configure(retrying(t, "/svc => /#/a", some))
	for i, want := range []int{4, 4, 4, 2, 1} { // 10 retries, 3 a request
		if n, _ := simulated(t, h.leaf("/svc/web"), now.Load(), always); n != want {
			t.Errorf("request %d: %d attempts, want %d", i, n, want)
		}
	}
	h.configure(retrying(t, "/svc => /#/b", some)) // the budget is that of the name
	if n, _ := simulated(t, h.leaf("/svc/web"), now.Load(), always); n != 1 {
		t.Errorf("%d attempts after an edit of a rule, want 1", n)
	}
	some.RetryBudget.MinPerSecond = 2
	h.configure(retrying(t, "/svc => /#/b", some))
	if n, _ := simulated(t, h.leaf("/svc/web"), now.Load(), always); n != 4 {
		t.Errorf("%d attempts with a new budget, want 4", n)
	}
	for name, want := range map[string]string{
		"service/svc/web/requests": "7", "service/svc/web/failures": "7", "service/svc/web/retries/total": "13",
		"service/svc/web/retries/budget": "17", "service/svc/web/retries/request_limit": "4", "service/svc/web/retries/budget_exhausted": "3",
		"client/#/a/web/requests": "15", "client/#/a/web/failures": "15", "client/#/b/web/requests": "5",
	} {
		if v := h.metric(name); v != want {
			t.Errorf("%s: %s, want %s", name, v, want)
		}
	}
}

// TestRetryWithoutTime: a retry whose wait ends after the request is none, and costs nothing.
func TestRetryWithoutTime(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	h.fake.bind("/a/web", endpoint(1))
	h.configure(retrying(t, "/svc => /#/a", config.Service{RetryBackoff: config.Backoff{Kind: v1alpha1.KindBackoffConstant, Min: time.Second}}))
	l := h.leaf("/svc/web")
	before := h.metric("service/svc/web/retries/budget")
	for left, want := range map[time.Duration]bool{time.Millisecond: false, time.Second: false, 2 * time.Second: true, 0: true} {
		if next, wait := l.Retry(0, 1, &resilience.Attempt{Left: left}); (next != nil) != want || want && wait != time.Second {
			t.Errorf("%v left: %v after %v", left, next != nil, wait)
		}
	}
	if after := h.metric("service/svc/web/retries/budget"); before != "100" || after != "98" || h.metric("client/#/a/web/requests") != "2" {
		t.Errorf("the budget was %s and is %s, %s attempts are counted", before, after, h.metric("client/#/a/web/requests"))
	}
}

// TestRequeues: only successes feed a client's budget, one request takes a fifth of it at most, and what it spent is counted.
func TestRequeues(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	now := h.at()
	now.Store(int64(time.Hour))
	h.fake.bind("/a/web", endpoint(1))
	cfg := retrying(t, "/svc => /#/a", config.Service{})
	cfg.Clients = []config.Client{{
		Prefix: dtab.Prefix{{Label: "#"}}, RequeueBudget: config.RetryBudget{Percent: 0.5, TTL: 10 * time.Second},
	}}
	h.configure(cfg)
	l := h.leaf("/svc/web")
	if l.Requeue(0, now.Load(), 0) {
		t.Error("a requeue without any request")
	}
	for range 100 {
		l.Record(0, &Result{Class: classify.Failure, EndNs: now.Load()})
	}
	if l.Requeue(0, now.Load(), 0) {
		t.Error("a requeue after failures alone")
	}
	for range 20 {
		l.Record(0, &Result{Class: classify.Success, EndNs: now.Load(), Requeues: 1})
	}
	requeues := 0
	for l.Requeue(0, now.Load(), requeues) {
		requeues++
	}
	if requeues != 2 { // of 10, then of 9 and 8: two fifths, rounded up
		t.Errorf("%d requeues of one request, want 2", requeues)
	}
	for name, want := range map[string]string{
		"client/#/a/web/retries/requeues": "20", "client/#/a/web/retries/budget": "8",
		"client/#/a/web/retries/budget_exhausted": "2", "client/#/a/web/retries/request_limit": "1",
	} {
		if v := h.metric(name); v != want {
			t.Errorf("%s: %s, want %s", name, v, want)
		}
	}
}

// TestOneRetriesOfTwo: a router that serves the endpoints of its own node sends nothing again.
func TestOneRetriesOfTwo(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	cfg := retrying(t, "/svc => /#/a", config.Service{})
	cfg.Transformers = []v1alpha1.Transformer{{Kind: v1alpha1.KindTransformerLocalNode}}
	h.fake.bind("/a/web", endpoint(1))
	h.configure(cfg)
	l := h.leaf("/svc/web")
	if class := l.Policy().Classifier.Response(503, l.Policy().Classifier.Repeats([]byte("GET"))); class != classify.Failure {
		t.Errorf("a 503 is %v, want a failure that is not sent again", class)
	}
	if next, _ := l.Retry(0, 1, &resilience.Attempt{}); next != nil {
		t.Error("it is sent again")
	}
}
