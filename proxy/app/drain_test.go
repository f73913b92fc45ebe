package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/proxy/telemetry/prometheus"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// holdingBackend answers once release is called. arrived gets one value for each request.
func holdingBackend(t *testing.T) (addr netip.AddrPort, arrived <-chan struct{}, release func()) {
	t.Helper()
	came, held := make(chan struct{}, 8), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		<-held
		fmt.Fprint(w, "held")
	}))
	t.Cleanup(s.Close)
	once := sync.OnceFunc(func() { close(held) })
	t.Cleanup(once) // before Close, which waits for the handlers
	return netip.MustParseAddrPort(s.Listener.Addr().String()), came, once
}

// metric reads one value of the tree, or -1.
func metric(t *testing.T, tree *telemetry.Tree, name string) float64 {
	t.Helper()
	var out bytes.Buffer
	if err := tree.WriteJSON(&out, ""); err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal(out.Bytes(), &values); err != nil {
		t.Fatal(err)
	}
	if v, ok := values[name].(float64); ok {
		return v
	}
	return -1
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) { // the step of a poll
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestNothingIsAppliedWhileDraining: an edit that comes while the last requests end must not open a listener again, whose
// connections would be cut when the process ends.
func TestNothingIsAppliedWhileDraining(t *testing.T) {
	slow, arrived, release := holdingBackend(t)
	port := freeport.Get(t)
	a := New(Options{Log: testr.New(t), Metrics: telemetry.New()})
	text := mesh(port, "/svc/slow => "+inet(slow))
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	answered := make(chan string, 1)
	go func() {
		defer close(answered)
		_, body, _ := get(t, c, port, "slow")
		answered <- body
	}()
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- a.Shutdown(context.WithoutCancel(t.Context())) }()
	closed := func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
		}
		return err != nil
	}
	eventually(t, "the port stays open", closed)
	if err := a.Apply(t.Context(), decode(t, text+"    - {prefix: /svc/other, dst: /$/nil}\n")); err == nil {
		t.Error("a configuration was applied while draining")
	}
	if !closed() {
		t.Error("the port was opened again while draining")
	}
	release()
	if body := <-answered; body != "held" {
		t.Errorf("the request under way got %q", body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestMetricsOfWhatComesBack: a listener and a router that leave the configuration and come back have metrics, also after the end
// of those that were draining.
func TestMetricsOfWhatComesBack(t *testing.T) {
	slow, arrived, release := holdingBackend(t)
	web := backend(t, "web")
	port, away := freeport.Get(t), freeport.Get(t)
	tree := telemetry.New()
	a := start(t, Options{Metrics: tree})
	a.drainTimeout = time.Second
	here := mesh(port, "/svc/slow => "+inet(slow), "/svc/web => "+inet(web))
	apply := func(text string) {
		t.Helper()
		if err := a.Apply(t.Context(), decode(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	apply(here)
	c := client(t)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		get(t, c, port, "slow")
	}()
	<-arrived
	apply(strings.Replace(mesh(away, "/svc/web => "+inet(web)), "name: outgoing", "name: other", 1))
	apply(here)
	release()
	<-answered
	requests := fmt.Sprintf("rt/outgoing/server/127.0.0.1/%d/requests", port)
	a.draining.Wait()
	other := client(t)
	get(t, other, port, "web")
	eventually(t, "the listener that came back has no metrics", func() bool { return metric(t, tree, requests) >= 1 })
	eventually(t, "the service of the router that came back has no metrics", func() bool {
		return metric(t, tree, "rt/outgoing/service/svc/web/requests") >= 1
	})
}

// TestMetricsFollowTheRouterOfAListener: a router that gets another name takes its listener's metrics with it.
func TestMetricsFollowTheRouterOfAListener(t *testing.T) {
	web := backend(t, "web")
	port := freeport.Get(t)
	tree := telemetry.New()
	a := start(t, Options{Metrics: tree})
	a.drainTimeout = time.Millisecond
	text := mesh(port, "/svc/web => "+inet(web))
	c := client(t)
	for _, name := range []string{"outgoing", "renamed", "outgoing"} {
		if err := a.Apply(t.Context(), decode(t, strings.Replace(text, "name: outgoing", "name: "+name, 1))); err != nil {
			t.Fatal(err)
		}
		get(t, c, port, "web")
		at := fmt.Sprintf("rt/%s/server/127.0.0.1/%d/", name, port)
		eventually(t, "no requests at "+at, func() bool { return metric(t, tree, at+"requests") >= 1 })
		eventually(t, "no connections at "+at, func() bool { return metric(t, tree, at+"connections") == 1 })
		eventually(t, "pending at "+at, func() bool { return metric(t, tree, at+"pending") == 0 })
	}
}

// TestAddressOfAListenerIsALabel: a port in the name of a metric would make a family for each listener.
func TestAddressOfAListenerIsALabel(t *testing.T) {
	port := freeport.Get(t)
	tree := telemetry.New()
	if err := start(t, Options{Metrics: tree}).Apply(t.Context(), decode(t, mesh(port))); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	prometheus.New(tree, prometheus.Options{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/admin/metrics/prometheus", http.NoBody))
	for _, name := range []string{"requests_total", "connections", "refused_connections", "starved_connections", "accept_errors"} {
		want := fmt.Sprintf("rt_server_%s{rt=\"outgoing\",server=\"127.0.0.1/%d\"} 0\n", name, port)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}
