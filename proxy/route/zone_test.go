package route

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// TestZoneIsLearned: the zone is that of an endpoint on the own node, whatever client has it, and holds for all clients, also for those that
// were there before; an edit ends it.
func TestZoneIsLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "")
		defer h.Close()
		h.options.Node, h.options.Zone = "here", new(Zone)
		in := func(i int, node, zone string) naming.Endpoint {
			e := endpoint(i)
			e.Node, e.Zone = node, zone
			return e
		}
		cfg := func(factor float64) *config.Router {
			return &config.Router{
				Dtab: dtab.RulesOf(parse(t, "/svc => /#/a")), BindingTimeout: time.Second,
				Clients: []config.Client{{
					Prefix: dtab.Prefix{{Label: "#"}}, LoadBalancer: config.LoadBalancer{Kind: v1alpha1.KindLoadBalancerP2C, SpillFactor: factor},
				}},
			}
		}
		h.configure(cfg(2))
		h.fake.bind("/a/web", in(1, "one", "a"), in(2, "two", "b"), in(3, "three", "c"))
		away := func() (n int) {
			for range 300 {
				node, err := h.leaf("/svc/web").Pick(0, 1, nil)
				if err != nil {
					t.Fatal(err)
				}
				if node.Endpoint.Zone != "b" {
					n++
				}
				node.Done(1, 1, classify.Success)
			}
			return n
		}
		if n := away(); n < 150 {
			t.Errorf("%d of 300 requests go to other zones, and nobody knows the zone", n)
		}
		h.fake.bind("/a/own", in(4, "here", "b"))
		h.leaf("/svc/own")
		time.Sleep(2 * time.Second) // the clock of the bubble
		synctest.Wait()
		if n := away(); n > 30 { // two of a hundred tell how the others fare
			t.Errorf("%d of 300 requests leave the zone", n)
		}
		h.configure(cfg(0))
		if n := away(); n < 150 {
			t.Errorf("%d of 300 requests go to other zones, and none is preferred", n)
		}
	})
}
