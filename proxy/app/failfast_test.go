package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestFailFast: requests stay away from an endpoint whose port is closed, and come again when it is open.
func TestFailFast(t *testing.T) {
	gone := loopback(freeport.Get(t))
	good := backend(t, "good")
	port := freeport.Get(t)
	plain, put := watchedMesh(t, port)
	put(good, gone)
	var lines logged
	metrics := telemetry.New()
	a := start(t, Options{Log: funcr.New(func(_, args string) { lines.add(args) }, funcr.Options{}), Metrics: metrics})
	if err := a.Apply(t.Context(), decode(t, withClient(plain, "failFast: true, loadBalancer: {kind: roundRobin}"))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	const scope = "rt/outgoing/client/#/io.l5d.fs/web/"
	for range 50 {
		if status, body, _ := get(t, c, port, "web"); status != 200 || body != "good" {
			t.Fatalf("%d %q", status, body)
		}
	}
	if n := metric(t, metrics, scope+"retries/requeues"); n != 1 {
		t.Errorf("%v requests tried the endpoint, want one", n)
	}
	if n := metric(t, metrics, scope+"loadbalancer/available"); n != 1 {
		t.Errorf("%v endpoints are available", n)
	}
	if h := a.Health(); h.Totals.Endpoints != "1/2" || len(h.Balancers) != 1 || h.Balancers[0].Ejected != 1 {
		t.Errorf("report %+v", h)
	}
	if !lines.has("An endpoint cannot be connected to", gone.String()) {
		t.Errorf("the log: %q", lines.all())
	}
	l, err := net.Listen("tcp", gone.String())
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}}
	s.Start()
	t.Cleanup(s.Close)
	eventually(t, "the endpoint is found", func() bool { return metric(t, metrics, scope+"failfast/marked_available") == 1 })
	if n := metric(t, metrics, scope+"loadbalancer/available"); n != 2 {
		t.Errorf("%v endpoints are available", n)
	}
	if !lines.has("An endpoint can be connected to again") {
		t.Errorf("the log: %q", lines.all())
	}
}
