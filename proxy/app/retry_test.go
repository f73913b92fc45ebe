package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// failing is a backend that answers with this status, and counts.
func failing(t *testing.T, status int) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	asked := new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String()), asked
}

// serving makes both routers of a node have these services.
func (n *proxyNode) serving(t *testing.T, services string) {
	t.Helper()
	text := strings.ReplaceAll(hopText(n.outgoing, n.incoming, ""), "    bindingTimeoutMs: 2000\n", "    bindingTimeoutMs: 2000\n    services: "+services+"\n")
	if err := n.Apply(t.Context(), clusterConfig(t, text)); err != nil {
		t.Fatal(err)
	}
}

// TestTwoProxiesDoNotMultiply: behind both proxies an endpoint that always fails gets the requests and what the budget of the first one
// allows, though both are configured to retry; only the first one judges it.
func TestTwoProxiesDoNotMultiply(t *testing.T) {
	c := newCluster(t)
	a, b := c.node(t, "a"), c.node(t, "b")
	c.set(hopsPort, a.hop(), b.hop())
	a.knows(t, a.hop(), b.hop())
	const services = "[{prefix: /svc, responseClassifier: {kind: io.l5d.http.retryableAll5XX}, retries: {budget: {minRetriesPerSec: 0, ttlSecs: 60}}}]"
	a.serving(t, services)
	b.serving(t, services)
	broken, asked := failing(t, 503)
	c.set("/default/http/web", on("b", broken), on("b", app(t, "sound")))
	c.set("/default/http/alone", on("b", broken))
	client := client(t)
	const requests = 100
	for range requests {
		if status, _, h := get(t, client, a.outgoing, "alone"); status != 503 || h.Get("l5d-retryable") != "" {
			t.Fatalf("status %d, %v", status, h)
		}
	}
	if n := asked.Load(); n != requests+requests/5 {
		t.Errorf("the endpoint got %d requests for %d, want one in five more", n, requests)
	}
	a.settles(t, "rt/outgoing/service/svc/alone/retries/total", requests/5)
	a.settles(t, "rt/outgoing/service/svc/alone/retries/budget_exhausted", requests)
	a.settles(t, "rt/outgoing/service/svc/alone/requests", requests)
	b.settles(t, "rt/incoming/service/svc/alone/requests", requests+requests/5)
	b.settles(t, "rt/incoming/service/svc/alone/retries/total", 0)
	b.settles(t, "rt/incoming/service/svc/alone/retries/budget_exhausted", 0)

	for range requests {
		get(t, client, a.outgoing, "web")
	}
	a.settles(t, "rt/outgoing/client/%/io.l5d.k8s.daemonset/mesh/incoming/demo-proxy/#/io.l5d.k8s/default/http/web/failure_accrual/removals", 1)
	b.settles(t, "rt/incoming/client/%/io.l5d.k8s.localnode/b/#/io.l5d.k8s/default/http/web/failure_accrual/removals", 0)
	if status, body, _ := get(t, client, a.outgoing, "web"); status != 200 || body != "sound" {
		t.Errorf("%d from %s after the other endpoint was taken out", status, body)
	}
}

// TestDeadlineTravels: the deadline of a request reaches the application through both proxies, and ends it at the first.
func TestDeadlineTravels(t *testing.T) {
	c := newCluster(t)
	a, b := c.node(t, "a"), c.node(t, "b")
	c.set(hopsPort, a.hop(), b.hop())
	a.knows(t, a.hop(), b.hop())
	a.serving(t, "[{prefix: /svc, totalTimeoutMs: 60000}]")
	told := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("l5d-ctx-deadline") }))
	t.Cleanup(s.Close)
	c.set("/default/http/web", on("b", netip.MustParseAddrPort(s.Listener.Addr().String())))
	if status, _, _ := get(t, client(t), a.outgoing, "web"); status != 200 {
		t.Fatalf("status %d", status)
	}
	var written, until int64
	if _, err := fmt.Sscanf(<-told, "%d %d", &written, &until); err != nil || until-written > 60e9 || until-written < 30e9 {
		t.Errorf("%d %d: %v", written, until, err)
	}
	status, body, _ := get(t, client(t), a.outgoing, "web", "l5d-ctx-deadline", "1 2")
	if status != 503 || !strings.HasPrefix(body, "deadline-exceeded: ") {
		t.Errorf("%d %q", status, body)
	}
	b.settles(t, "rt/incoming/service/svc/web/requests", 1)
}
