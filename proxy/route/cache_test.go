package route

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"

	"github.com/fairlead/fairlead/proxy/dtab"
)

func TestIdleExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "/svc => /#")
		defer h.Close()
		h.fake.bind("/a", endpoint(1))
		h.fake.bind("/b", endpoint(2))
		h.leaf("/svc/a").Record(0, &Result{Class: classify.Success, Latency: time.Millisecond})
		h.leaf("/svc/b")
		h.name("/svc/none")
		for range 20 { // /svc/a is used once a minute
			time.Sleep(time.Minute) // the clock of the bubble
			h.leaf("/svc/a")
		}
		synctest.Wait()
		if names := h.Names(); len(names) != 1 || names[0] != "/svc/a" {
			t.Errorf("names kept: %v", names)
		}
		if clients := h.Clients(); len(clients) != 2 && len(clients) != 1 {
			t.Errorf("clients %v", clients)
		}
		time.Sleep(3 * IdleTTL) // the clock of the bubble
		synctest.Wait()
		if len(h.Names()) != 0 || len(h.Clients()) != 0 || len(h.services) != 0 || h.count.Load() != 0 {
			t.Errorf("after half an hour: names %v, clients %v, count %d", h.Names(), h.Clients(), h.count.Load())
		}
		for addr, n := range h.open {
			if n != 0 {
				t.Errorf("connections to %s are open", addr)
			}
		}
		for _, name := range []string{"service/svc/a/requests", "client/#/a/requests", "client/#/a/loadbalancer/size"} {
			if v := h.metric(name); v != "none" {
				t.Errorf("metric %s is left with value %s", name, v)
			}
		}
		// A client that comes again to a name has its metrics.
		h.leaf("/svc/a").Record(0, &Result{Class: classify.Success, Latency: time.Millisecond})
		if v := h.metric("client/#/a/requests"); v != "1" {
			t.Errorf("requests of the client that came again: %s", v)
		}
	})
}

func TestNamesAreBounded(t *testing.T) {
	h := newHouse(t, "/svc => /#")
	defer h.Close()
	h.maxNames = 50
	kept := func() (n int) {
		for i := range h.Router.names {
			n += len(h.Router.names[i].names)
		}
		return n
	}
	for i := range 30 {
		h.fake.bind(fmt.Sprintf("/web%d", i), endpoint(i))
		h.leaf(fmt.Sprintf("/svc/web%d", i))
	}
	var wait sync.WaitGroup
	for g := range 4 { // a flood of names that do not exist
		wait.Go(func() {
			for i := range 500 {
				h.ids(fmt.Sprintf("/svc/none%d-%d", g, i), 1)
			}
		})
	}
	wait.Wait()
	if n := kept(); n != 50 || h.count.Load() != 50 || len(h.Names()) != 50 {
		t.Errorf("%d names kept, counted %d, services %d; want 50", n, h.count.Load(), len(h.Names()))
	}
	if v := h.metric("bindcache/path/evicts"); v != "1980" {
		t.Errorf("evicts %s", v)
	}
	if v := h.metric("bindcache/path/misses"); v != "2030" {
		t.Errorf("misses %s", v)
	}
	if v := h.metric("bindcache/path/size"); v != "50.0" && v != "50" {
		t.Errorf("size %s", v)
	}
}

// TestNamesWithRulesOfTheirOwnAreBounded: whoever thinks up many l5d-dtab headers costs a bounded amount of memory, and no other name its
// place.
func TestNamesWithRulesOfTheirOwnAreBounded(t *testing.T) {
	h := newHouse(t, "/svc => /#")
	defer h.Close()
	h.maxLocal = 20
	h.fake.bind("/web", endpoint(1))
	h.leaf("/svc/web")
	for i := range 500 {
		rules, err := dtab.Parse(fmt.Sprintf("/x%d => /y", i))
		if err != nil {
			t.Fatal(err)
		}
		n := h.Bind([]byte(fmt.Sprintf("web with %d", i)), dtab.Path{"svc", "web"}, rules)
		if _, err := n.Choose(0); err != nil {
			t.Fatal(err)
		}
	}
	if local, all := h.local.Load(), h.count.Load(); local != 20 || all != 21 {
		t.Errorf("%d names with rules of their own of %d kept; want 20 of 21", local, all)
	}
	if h.Lookup([]byte("/svc/web")) == nil {
		t.Error("the name that everybody asks for lost its place")
	}
}

// TestNamesThatLeadNowhereAreBounded: whoever asks for many names that nobody has costs a bounded amount of memory, no metrics, and no
// name that exists its place.
func TestNamesThatLeadNowhereAreBounded(t *testing.T) {
	h := newHouse(t, "/svc => /#")
	defer h.Close()
	h.maxLost = 20
	for i := range 30 {
		h.fake.bind(fmt.Sprintf("/web%d", i), endpoint(i))
		h.leaf(fmt.Sprintf("/svc/web%d", i))
	}
	for i := range 500 {
		h.ids(fmt.Sprintf("/svc/none%d", i), 1)
	}
	if lost, all := h.lost.Load(), h.count.Load(); lost != 20 || all != 50 {
		t.Errorf("%d names lead nowhere of %d kept; want 20 of 50", lost, all)
	}
	for i := range 30 {
		if h.Lookup([]byte(fmt.Sprintf("/svc/web%d", i))) == nil {
			t.Errorf("web%d lost its place", i)
		}
	}
	if v := h.metric("service/svc/none499/requests"); v != "none" {
		t.Errorf("a name that nobody has got metrics: %s", v)
	}
	h.fake.bind("/none499", endpoint(1))
	for deadline := time.Now().Add(10 * time.Second); h.lost.Load() != 19; {
		if time.Now().After(deadline) {
			t.Fatalf("%d names lead nowhere after one of 20 came to exist", h.lost.Load())
		}
	}
	h.leaf("/svc/none499")
}

func TestClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "/svc => /#")
		defer h.Close()
		h.maxClients = 2
		for i := range 4 {
			h.fake.bind(fmt.Sprintf("/web%d", i), endpoint(i))
		}
		h.leaf("/svc/web0")
		h.leaf("/svc/web1")
		_, err := h.name("/svc/web2").Choose(0)
		if err == nil || err.Reason != ReasonTooManyClients {
			t.Fatalf("third client: %v", err)
		}
		if v := h.metric("bindcache/client/refused"); v != "1" {
			t.Errorf("refused %s", v)
		}
		// A union that cannot have all of its clients is refused whole, and holds none.
		h.rules("/svc => /#; /svc/both => /#/web0 & /#/web3")
		if got := h.ids("/svc/both", 1); got[ReasonTooManyClients] != 1 {
			t.Errorf("union: %v", got)
		}
		// Room made by a name that leads elsewhere is given to the next that asks; a name in use that was refused asks again by itself.
		h.fake.at("/web3").Set(naming.Neg())
		synctest.Wait()
		h.fake.at("/web0").Set(naming.Neg())
		synctest.Wait()
		for range 2 * shards {
			h.ids("/svc/web2", 1)
			time.Sleep(tick) // the clock of the bubble
		}
		synctest.Wait()
		if got := h.ids("/svc/web2", 1); got["/#/web2"] != 1 {
			t.Errorf("refused name after room was made: %v", got)
		}
		if len(h.clients) != 2 || h.open[endpoint(0).Addr.String()] != 0 {
			t.Errorf("%d clients, connections %v", len(h.clients), h.open)
		}
	})
}

func TestDestinationsAreBounded(t *testing.T) {
	h := newHouse(t, "")
	defer h.Close()
	h.maxDestinations, h.maxNames = 20, 10
	d := parse(t, "/svc => /#/a/web")
	d[0].Source.Object = "default/web"
	for i := range 200 {
		h.fake.bind(fmt.Sprintf("/a/web/%d", i), endpoint(1))
	}
	h.configure(&config.Router{Dtab: dtab.RulesOf(d), BindingTimeout: time.Second})
	for i := range 200 {
		h.leaf(fmt.Sprintf("/svc/%d", i))
	}
	if n := len(h.destinations); n > 21 {
		t.Errorf("%d destinations kept", n)
	}
}
