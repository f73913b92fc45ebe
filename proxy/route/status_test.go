package route

import (
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// A name that a status answers needs no client, and is counted for its service.
func TestStatusLeaf(t *testing.T) {
	h := newHouse(t, "/svc => 1 * /#/a & 1 * /#/b")
	defer h.Close()
	h.fake.at("/a/web").Set(naming.BoundLeaf(&naming.Bound{ID: dtab.Path{"$", "503"}, Status: 503, Addrs: naming.NewVar[naming.Addrs]()}))
	h.fake.bind("/b/web", endpoint(1))
	answers := make(map[int]int)
	for range 1000 {
		l := h.leaf("/svc/web")
		answers[l.Status()]++
		if l.Status() != 0 {
			l.Record(0, &Result{Class: classify.Failure, Latency: time.Millisecond})
		}
	}
	if answers[503] < 400 || answers[0] < 400 {
		t.Errorf("answers %v, want halves", answers)
	}
	if clients := h.Clients(); len(clients) != 1 || clients[0].ID != "/#/b/web" {
		t.Errorf("clients %+v", clients)
	}
	if got := h.metric("service/svc/web/failures"); got == "0" || got == "none" {
		t.Errorf("failures of the service: %s", got)
	}
}
