package route

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

func TestChooseByWeight(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	h.fake.bind("/a/web", endpoint(1))
	h.fake.bind("/b/web", endpoint(2))
	const draws = 40000
	for rules, want := range map[string]map[string]float64{
		"/svc => /#/a":                                       {"/#/a/web": 1},
		"/svc => 9 * /#/a & 1 * /#/b":                        {"/#/a/web": 0.9, "/#/b/web": 0.1},
		"/svc => 0 * /#/a & 1 * /#/b":                        {"/#/b/web": 1},
		"/svc => 1 * /#/a & 0 * /#/b":                        {"/#/a/web": 1},
		"/svc => 0 * /#/a & 0 * /#/b":                        {"/#/a/web": 0.5, "/#/b/web": 0.5},
		"/svc => 9 * /#/a & 1 * $":                           {"/#/a/web": 0.9, ReasonEmpty: 0.1},
		"/svc => 3 * /#/none & 1 * /#/b":                     {"/#/b/web": 1},
		"/svc => 3 * (1 * /#/a & 3 * /#/b) & 1 * /x; /x=>$":  {"/#/a/web": 0.1875, "/#/b/web": 0.5625, ReasonEmpty: 0.25},
		"/svc => 1 * /#/a & 1 * /#/a & 2 * /#/b":             {"/#/a/web": 0.5, "/#/b/web": 0.5},
		"/svc => /#/none":                                    {ReasonNoBinding: 1},
		"/svc => ! | /#/a":                                   {ReasonBindingFailed: 1},
		"/svc => $ | /#/a":                                   {ReasonEmpty: 1},
		"/svc => /svc/x":                                     {ReasonMaxDepth: 1},
		"/svc => 0.00001 * (0 * /#/a & 5 * /#/b) & 0 * /#/a": {"/#/b/web": 1},
	} {
		h.rules(rules)
		got := h.ids("/svc/web", draws)
		chi := 0.0
		for id, share := range want {
			expected := share * draws
			chi += math.Pow(float64(got[id])-expected, 2) / expected
		}
		// With at most 3 outcomes, 2 degrees of freedom: beyond 20 once in 20,000 runs of one of these.
		if chi > 20 || len(got) != len(want) {
			t.Errorf("%s: %v of %d, want shares %v (chi square %.1f)", rules, got, draws, want, chi)
		}
	}
}

func TestClientOutlivesRules(t *testing.T) { synctest.Test(t, clientOutlivesRules) }

func clientOutlivesRules(t *testing.T) {
	h := newHouse(t, "/svc => /#/a; /other => /#/a")
	defer h.Close()
	addrs := h.fake.bind("/a/web", endpoint(1))
	h.fake.bind("/b/web", endpoint(2))
	one, two := h.leaf("/svc/web"), h.leaf("/other/web")
	if one.client != two.client || one.service == two.service {
		t.Error("two names that bind alike share the client and nothing else")
	}
	node, err := one.Pick(0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.rules("/svc => /#/b")
	if id := h.leaf("/svc/web").client.id.String(); id != "/#/b/web" {
		t.Fatalf("after the shift: %s", id)
	}
	for _, v := range h.Clients() {
		if v.InUse != (v.ID == "/#/b/web") || v.Available != 1 {
			t.Errorf("client %+v", v)
		}
	}
	h.rules("/svc => 9 * /#/a & 1 * /#/b")
	again := h.leaf("/svc/web")
	for again.client.id.String() != "/#/a/web" {
		again = h.leaf("/svc/web")
	}
	if again.client != one.client || again.client.balancer.Nodes()[0] != node || node.Pending() != 1 {
		t.Error("the client lost its node or its load by two changes of the rules")
	}
	if h.open[endpoint(1).Addr.String()] != 1 {
		t.Errorf("connections %v", h.open)
	}
	node.Done(0, 1, classify.Success)
	addrs.Set(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(3)}})
	expectNodes(t, again.client, endpoint(3))
	if h.open[endpoint(1).Addr.String()] != 0 {
		t.Errorf("connections to an endpoint that left: %v", h.open)
	}
}

// expectNodes checks the endpoints of a client once all that is under way in the bubble has ended.
func expectNodes(t *testing.T, c *client, want ...naming.Endpoint) {
	t.Helper()
	synctest.Wait()
	nodes := c.balancer.Nodes()
	same := len(nodes) == len(want)
	for i := range nodes {
		same = same && nodes[i].Endpoint == want[i]
	}
	if !same {
		t.Errorf("endpoints of %s: %v, want %v", c.id, nodes, want)
	}
}

// A set of endpoints that cannot be told keeps the last one.
func TestEndpointsSurviveFailures(t *testing.T) { synctest.Test(t, endpointsSurviveFailures) }

func endpointsSurviveFailures(t *testing.T) {
	h := newHouse(t, "/svc => /#/a")
	defer h.Close()
	addrs := h.fake.bind("/a/web", endpoint(1))
	c := h.leaf("/svc/web").client
	addrs.Fail(fmt.Errorf("watch broke"))
	addrs.Set(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(1), endpoint(2)}})
	expectNodes(t, c, endpoint(1), endpoint(2))
	addrs.Reset(fmt.Errorf("lost all"))
	other := h.fake.bind("/a/web") // the same bound name with a new live set, which is pending
	other.Reset(fmt.Errorf("not there either"))
	h.rules("/svc => /#/a")
	if n := len(c.balancer.Nodes()); n != 2 {
		t.Errorf("%d endpoints left of 2", n)
	}
}

// Two names may reach one client by different live sets. When the one goes whose set feeds the client, the other's must.
func TestClientFollowsALiveSetInUse(t *testing.T) { synctest.Test(t, clientFollowsALiveSetInUse) }

func clientFollowsALiveSetInUse(t *testing.T) {
	h := newHouse(t, "/svc => /#")
	defer h.Close()
	first, second := naming.Fixed(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(1)}}), naming.Fixed(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(1)}})
	h.fake.lead("/web/x", "/#/web", first)
	h.fake.lead("/web/y", "/#/web", second)
	c := h.leaf("/svc/web/x").client
	if h.leaf("/svc/web/y").client != c {
		t.Fatal("one bound name, two clients")
	}
	h.fake.at("/web/y").Set(naming.Neg())
	synctest.Wait()
	if got := h.ids("/svc/web/y", 1); got[ReasonNoBinding] != 1 {
		t.Fatalf("name that went: %v", got)
	}
	// second stands still now. first goes on.
	first.Set(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(2)}})
	expectNodes(t, c, endpoint(2))
	if len(c.sources) != 1 {
		t.Errorf("%d live sets held", len(c.sources))
	}
}

func TestBindingTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "/svc => /#/a")
		defer h.Close()
		tree := naming.NewVar[naming.Tree]()
		h.fake.names["/a/web"] = tree
		begin := time.Now()
		if _, err := h.name("/svc/web").Choose(0); err == nil || err.Reason != ReasonBindingTimeout || time.Since(begin) != 10*time.Second ||
			err.Message != "exceeded 10s binding timeout while resolving name: /svc/web" {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		// A name that arrives in time, then endpoints that do.
		addrs := naming.NewVar[naming.Addrs]()
		go func() {
			time.Sleep(time.Second) // the clock of the bubble
			tree.Set(naming.BoundLeaf(&naming.Bound{ID: dtab.Path{"#", "a"}, Addrs: addrs}))
			time.Sleep(time.Second) // the clock of the bubble
			addrs.Set(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(1)}})
		}()
		begin = time.Now()
		l, err := h.name("/svc/web").Choose(0)
		if err != nil || time.Since(begin) != 2*time.Second {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		if _, err := l.Pick(0, 1, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestBindingEndsWithTheRequest: nobody waits for a name longer than the request may take.
func TestBindingEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "/svc => /#/a")
		defer h.Close()
		h.fake.names["/a/web"] = naming.NewVar[naming.Tree]()
		cfg := &config.Router{Dtab: dtab.RulesOf(parse(t, "/svc => /#/a")), BindingTimeout: 10 * time.Second}
		for _, tc := range []struct {
			total, deadline time.Duration
			forwards        bool
			want            time.Duration
			reason          string
		}{
			{3 * time.Second, 0, false, 3 * time.Second, ReasonTotalTimeout},
			{time.Minute, 0, false, 10 * time.Second, ReasonBindingTimeout},
			{3 * time.Second, 2 * time.Second, false, 2 * time.Second, ReasonDeadline},
			{3 * time.Second, 2 * time.Second, true, 3 * time.Second, ReasonTotalTimeout},
			{0, -time.Second, false, 0, ReasonDeadline},
		} {
			next := *cfg
			next.ForwardsDeadlines = tc.forwards
			next.Services = []config.Service{{Prefix: dtab.Prefix{{Label: "svc"}}, TotalTimeout: tc.total}}
			h.configure(&next)
			deadline := int64(0)
			if tc.deadline != 0 {
				deadline = max(h.options.Clock()+int64(tc.deadline), 1)
			}
			begin := time.Now()
			if _, err := h.name("/svc/web").Choose(deadline); err == nil || err.Reason != tc.reason || time.Since(begin) != tc.want {
				t.Errorf("%+v: after %v: %v", tc, time.Since(begin), err)
			}
		}
	})
}

// A namer that is slow to answer Lookup itself keeps no other name waiting, not even one of the same shard, and a second request
// for its own name waits no longer than the binding timeout.
func TestSlowLookupBlocksNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "/svc => /#")
		defer h.Close()
		gate := make(chan struct{})
		h.fake.slow["/slow"] = gate
		h.fake.bind("/slow", endpoint(1))
		for i := range 4 * shards {
			h.fake.bind(fmt.Sprintf("/web%d", i), endpoint(2))
		}
		h.maxNames = 10 // so that names are evicted, too
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.name("/svc/slow")
		}()
		synctest.Wait()
		for i := range 4 * shards {
			if _, err := h.name(fmt.Sprintf("/svc/web%d", i)).Choose(0); err != nil {
				t.Error(err)
			}
		}
		if _, err := h.name("/svc/slow").Choose(0); err == nil || err.Reason != ReasonBindingTimeout {
			t.Errorf("second request for the slow name: %v", err)
		}
		close(gate)
		<-done
		if _, err := h.name("/svc/slow").Choose(0); err != nil {
			t.Error(err)
		}
	})
}

func TestRequestsAreAttributed(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	h.fake.bind("/a/web", endpoint(1))
	h.fake.bind("/b/web", endpoint(2))
	d := parse(t, "/svc => /#/a; /svc/web => 1 * /#/a/web & 1 * /#/b/web")
	d[1].Source = dtab.Source{Object: "default/web", Index: 4}
	cfg := &config.Router{
		Dtab: dtab.RulesOf(d), BindingTimeout: time.Second,
		Services: []config.Service{{Prefix: dtab.Prefix{{Label: "svc"}}, TotalTimeout: 7 * time.Second}},
		Clients:  []config.Client{{Prefix: dtab.Prefix{{Label: "#"}, {Label: "b"}}, AttemptTimeout: 3 * time.Second, ResponseIdleTimeout: 5 * time.Second}},
	}
	h.configure(cfg)
	sent := map[string]int64{}
	for range 100 {
		l := h.leaf("/svc/web")
		id := l.client.id.String()
		l.Record(0, &Result{Class: classify.Success, Latency: time.Millisecond, Requeues: 1})
		sent[id]++
		want := resilience.Timeouts{Total: 7 * time.Second}
		if id == "/#/b/web" {
			want.Attempt, want.Silence = 3*time.Second, 5*time.Second
		}
		if got := l.Policy().Timeouts; got != want {
			t.Fatalf("timeouts of %s: %v, want %v", id, got, want)
		}
	}
	want := map[DestinationKey]int64{
		{"default/web", 4, "/#/a/web"}: sent["/#/a/web"], {"default/web", 4, "/#/b/web"}: sent["/#/b/web"],
	}
	if got := h.Requests(); !maps.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
	l := h.leaf("/svc/web")
	l.Record(0, &Result{Class: classify.Failure, Reason: "com.example.Broken", Latency: time.Millisecond})
	for name, want := range map[string]string{
		"service/svc/web/requests": "101", "service/svc/web/success": "100", "service/svc/web/failures": "1",
		"client/#/a/web/retries/requeues": strconv.FormatInt(sent["/#/a/web"], 10), "service/svc/web/failures/com.example.Broken": "1",
	} {
		if v := h.metric(name); v != want {
			t.Errorf("%s: %s, want %s", name, v, want)
		}
	}
	h.rules("/svc => /#/a") // nothing leads there any more: told once more, then forgotten
	if n := len(h.Requests()); n != 2 {
		t.Errorf("%d destinations in the last report", n)
	}
	if got := h.Requests(); len(got) != 0 {
		t.Errorf("forgotten destinations: %v", got)
	}
	own := h.Bind([]byte("own"), dtab.Path{"svc", "web"}, parse(t, "/svc => /#/b"))
	if l, err := own.Choose(0); err != nil || l.destination != nil || l.client.id.String() != "/#/b/web" {
		t.Errorf("rules of the request itself: %v", err)
	}
}

func TestHeaders(t *testing.T) {
	h := newHouse(t, "/svc => /#")
	defer h.Close()
	h.fake.at("/web/a").Set(naming.BoundLeaf(&naming.Bound{
		ID: dtab.Path{"#", "web"}, Residual: dtab.Path{"a"}, Addrs: naming.Fixed(naming.Addrs{}),
	}))
	const want = "l5d-dst-service: /svc/web/a\r\nl5d-dst-client: /#/web\r\nl5d-dst-residual: /a\r\n"
	if got := string(h.leaf("/svc/web/a").AppendHeaders(nil)); got != want {
		t.Errorf("headers\n%q, want\n%q", got, want)
	}
}

func TestFollowKeepsANameBound(t *testing.T) {
	h := newHouse(t, "/svc => /#")
	defer h.Close()
	n := h.Follow(dtab.Path{"svc", "web"})
	h.fake.bind("/web", endpoint(1))
	for {
		changed := n.Changed()
		if tree, _, _ := n.Load(); tree.Kind == dtab.Leaf && tree.Bound != nil {
			break
		}
		<-changed
	}
	n.Close()
}

// Rules change under requests: none fails, and none follows the old rules once Set returned.
func TestSetUnderRequests(t *testing.T) {
	h := newHouse(t, "/svc => /#/v0")
	h.maxNames = 8
	addrs := h.fake.bind("/v0/web", endpoint(1))
	h.fake.bind("/v1/web", endpoint(2))
	for i := range 12 {
		h.fake.lead(fmt.Sprintf("/v0/web/%d", i), "/#/v0/web", addrs)
		h.fake.bind(fmt.Sprintf("/v1/web/%d", i), endpoint(2))
	}
	quit := make(chan struct{})
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			for i := g; ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				l, err := h.name(fmt.Sprintf("/svc/web/%d", i%12)).Choose(0)
				if err != nil {
					t.Errorf("request failed: %v", err)
					return
				}
				if node, err := l.Pick(uint32(g), 1, nil); err == nil {
					node.Done(0, 1, classify.Success)
				}
				l.Record(uint32(g), &Result{Class: classify.Success, Latency: time.Millisecond})
			}
		})
	}
	wait.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			default:
				addrs.Set(naming.Addrs{Endpoints: []naming.Endpoint{endpoint(1), endpoint(3 + i%5)}})
				h.Clients()
				h.Requests()
				h.Names()
			}
		}
	})
	h.name("/svc/web")
	for i := range 100 {
		version := i % 2
		h.rules(fmt.Sprintf("/svc => /#/v%d", version))
		if id := h.leaf("/svc/web").client.id.String(); id != fmt.Sprintf("/#/v%d/web", version) {
			t.Errorf("after Set %d: %s", i, id)
			break
		}
	}
	close(quit)
	wait.Wait()
	h.Close()
	for addr, n := range h.open {
		if n != 0 {
			t.Errorf("%d connections to %s are left after Close", n, addr)
		}
	}
	if len(h.services) != 0 || len(h.clients) != 0 {
		t.Errorf("left after Close: services %v, clients %v", h.services, h.clients)
	}
}

// TestChosenNames: they are bounded as names with rules of their own are, say the logical name in the metrics of services, and pass the
// request's own rules on, not the one that leads there.
func TestChosenNames(t *testing.T) {
	h := newHouse(t, "/svc/web => /#/old")
	defer h.Close()
	h.fake.bind("/web", endpoint(1))
	h.fake.bind("/old", endpoint(2))
	h.maxLocal = 10
	for i := range 100 {
		n := h.BindChosen(fmt.Append(nil, i), dtab.Path{"svc", "web"}, dtab.Path{"#", "web"}, parse(t, "/x => /y"))
		l, err := n.Choose(0)
		if err != nil {
			t.Fatal(err)
		}
		want := "l5d-dst-service: /svc/web\r\nl5d-dst-client: /#/web\r\nl5d-ctx-dtab: /x=>/y\r\n"
		if got := string(l.AppendHeaders(nil)); got != want || !l.IsChosen() {
			t.Fatalf("headers %q, want %q", got, want)
		}
	}
	if n := h.count.Load(); n != 10 {
		t.Errorf("%d names are kept, want 10", n)
	}
	l, err := h.BindChosen([]byte("gone"), dtab.Path{"svc", "web"}, dtab.Path{"#", "none"}, nil).Choose(0)
	if err != nil || l.client.id.String() != "/#/old" {
		t.Errorf("where the chosen name does not exist: %v, %v", l, err)
	}
	if _, err := h.BindChosen([]byte("none"), dtab.Path{"svc", "x"}, dtab.Path{"#", "none"}, nil).Choose(0); err == nil || err.Reason != ReasonNoBinding {
		t.Errorf("where nothing exists: %v", err)
	}
}

// An endpoint that another proxy chose has its limit too, and no other takes its place.
func TestChosenEndpointIsBusy(t *testing.T) {
	h, key := chosenHouse(t)
	defer h.Close()
	h.configure(&config.Router{
		BindingTimeout: time.Second, Transformers: []v1alpha1.Transformer{{Kind: v1alpha1.KindTransformerLocalNode}},
		Clients: []config.Client{{MaxPerEndpoint: 1}},
	})
	h.BindChosen(key, dtab.Path{"svc", "web"}, dtab.Path{"#", "web"}, nil)
	l, err := h.Lookup(key).Choose(0)
	if err != nil {
		t.Fatal(err)
	}
	address := []byte("10.0.0.42:80")
	node, e := l.PickChosen(0, 1, address, nil)
	if e != nil {
		t.Fatal(e)
	}
	if _, e := l.PickChosen(0, 1, address, nil); !errors.Is(e, balance.ErrBusy) {
		t.Errorf("a second request: %v, want %v", e, balance.ErrBusy)
	}
	if other, e := l.PickChosen(0, 1, []byte("10.0.0.43:80"), nil); e != nil {
		t.Errorf("another endpoint: %v", e)
	} else {
		other.Done(0, 1, classify.Success)
	}
	node.Done(0, 1, classify.Success)
	again, e := l.PickChosen(0, 1, address, nil)
	if e != nil || again != node {
		t.Fatalf("when the first is done: %v, %v, want the same endpoint", again, e)
	}
	again.Done(0, 1, classify.Success)
}

// Who finds no endpoint is told why, as far as the namer knows.
func TestPickSaysWhyThereIsNoEndpoint(t *testing.T) {
	h := newHouse(t, "/svc => /#/a")
	defer h.Close()
	addrs := h.fake.bind("/a/web")
	pick := func() string {
		_, err := h.leaf("/svc/web").Pick(0, 1, nil)
		if !errors.Is(err, balance.ErrNoEndpoints) {
			t.Fatalf("%v, want %v", err, balance.ErrNoEndpoints)
		}
		return err.Error()
	}
	if got := pick(); got != balance.ErrNoEndpoints.Error() {
		t.Errorf("with nothing known: %s", got)
	}
	addrs.Set(naming.Addrs{None: "not resolved: no such host"})
	if got, want := pick(), "no endpoints are available: not resolved: no such host"; got != want {
		t.Errorf("with a reason: %s, want %s", got, want)
	}
	addrs.Set(naming.Addrs{})
	addrs.Fail(errors.New("the folder is gone"))
	if got, want := pick(), "no endpoints are available: the folder is gone"; got != want {
		t.Errorf("with an error: %s, want %s", got, want)
	}
}
