package app

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// logged is what was logged, a line each.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *logged) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// has reports whether one line has all the words.
func (l *logged) has(words ...string) bool {
	return slices.ContainsFunc(l.all(), func(line string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

// watchedMesh returns a Mesh whose one name, web, has the endpoints of a file, and what makes the file have these.
func watchedMesh(t *testing.T, port int) (text string, put func(...netip.AddrPort)) {
	t.Helper()
	dir := t.TempDir()
	put = func(addrs ...netip.AddrPort) {
		t.Helper()
		var lines strings.Builder
		for _, addr := range addrs {
			fmt.Fprintf(&lines, "%s %d\n", addr.Addr(), addr.Port())
		}
		if err := os.WriteFile(filepath.Join(dir, "web"), []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return mesh(port, "/svc => /#/io.l5d.fs") + fmt.Sprintf("  namers:\n  - {kind: io.l5d.fs, rootDir: %s}\n", dir), put
}

// withClient returns the Mesh with what it says of all clients.
func withClient(text, keys string) string {
	return strings.Replace(text, "    dtab:", fmt.Sprintf("    clients: [{prefix: /, %s}]\n    dtab:", keys), 1)
}

// TestLoadBalancer: the Mesh says by which balancer requests go, peak EWMA where it says nothing, and an edit changes it while what is known
// of the endpoints, and their connections, stay.
func TestLoadBalancer(t *testing.T) {
	var opened atomic.Int64
	endpoint := func(wait time.Duration) (netip.AddrPort, *atomic.Int64) {
		requests := new(atomic.Int64)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			requests.Add(1)
			time.Sleep(wait) // it is what is slow
		}))
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		s.Start()
		t.Cleanup(s.Close)
		return netip.MustParseAddrPort(s.Listener.Addr().String()), requests
	}
	fast, toFast := endpoint(0)
	slow, toSlow := endpoint(100 * time.Millisecond)
	port := freeport.Get(t)
	plain, put := watchedMesh(t, port)
	put(fast, slow)
	a := start(t, Options{})
	c := client(t)
	const requests = 20
	for _, step := range []struct {
		balancer string
		most     int64
		least    int64
	}{
		{"", 1, 0},
		{"roundRobin, maxEffort: 2", requests / 2, requests / 2},
		{"ewma, decayTimeMs: 60000", 0, 0}, // it knows already which one is slow
		{"heap", requests, 1},
		{"aperture, minAperture: 2", requests, 1},
		{"p2c", requests, 1},
	} {
		edited := plain
		if step.balancer != "" {
			edited = withClient(plain, "loadBalancer: {kind: "+step.balancer+"}")
		}
		if err := a.Apply(t.Context(), decode(t, edited)); err != nil {
			t.Fatal(err)
		}
		before := toSlow.Load()
		for range requests {
			if status, body, _ := get(t, c, port, "web"); status != http.StatusOK {
				t.Fatalf("%d %q", status, body)
			}
		}
		if n := toSlow.Load() - before; n < step.least || n > step.most {
			t.Errorf("%q: %d of %d requests to the slow one, want %d to %d", step.balancer, n, requests, step.least, step.most)
		}
	}
	if toFast.Load() == 0 || opened.Load() > 2 {
		t.Errorf("%d connections to two endpoints", opened.Load())
	}
}

// TestFailureAccrual: an endpoint that fails is left alone after so many failures in a row, which the log, metrics, the admin page and
// the report say; once it answers its probe it is back. Edits change the number under traffic, and none ends it.
func TestFailureAccrual(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	var toBad atomic.Int64
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		toBad.Add(1)
		if failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(bad.Close)
	good, address := backend(t, "good"), netip.MustParseAddrPort(bad.Listener.Addr().String())
	port := freeport.Get(t)
	plain, put := watchedMesh(t, port)
	put(good, address)
	var lines logged
	metrics := telemetry.New()
	a := start(t, Options{Log: funcr.New(func(_, args string) { lines.add(args) }, funcr.Options{}), Metrics: metrics})
	apply := func(accrual string) {
		t.Helper()
		if err := a.Apply(t.Context(), decode(t, withClient(plain, "loadBalancer: {kind: roundRobin}"+accrual))); err != nil {
			t.Fatal(err)
		}
	}
	c := client(t)
	ask := func(n int) (failed int) {
		t.Helper()
		for range n {
			if status, _, _ := get(t, c, port, "web"); status != http.StatusOK {
				failed++
			}
		}
		return failed
	}
	apply(", failureAccrual: {kind: none}")
	if n := ask(40); n != 20 {
		t.Errorf("%d of 40 failed where nobody judges, want half", n)
	}
	apply("") // five in a row, for five seconds
	if n := ask(40); n != 5 {
		t.Errorf("%d of 40 failed, want the first five", n)
	}
	const scope = "rt/outgoing/client/#/io.l5d.fs/web/"
	if removals, available := metric(t, metrics, scope+"failure_accrual/removals"), metric(t, metrics, scope+"loadbalancer/available"); removals != 1 || available != 1 {
		t.Errorf("%v removals, %v available", removals, available)
	}
	endpoints := a.Clients()["outgoing"][0].Endpoints
	if e := endpoints[1]; !e.Down || e.ProbeInMs <= 0 || e.ProbeInMs > 5000 || endpoints[0].Down {
		t.Errorf("the admin page has %+v", endpoints)
	}
	if s := a.Health(); s.Totals.Endpoints != "1/2" || s.Totals.HealthyBalancers != 0 || s.Balancers[0].Ejected != 1 {
		t.Errorf("the report has %+v, %+v", s.Totals, s.Balancers)
	}
	if !lines.has("Requests to an endpoint fail", address.String(), "/#/io.l5d.fs/web", "5s") {
		t.Errorf("logged %q", lines.all())
	}
	apply(", failureAccrual: {kind: none}")
	if n := ask(10); n != 5 {
		t.Errorf("%d of 10 failed where nobody judges any more, want half", n)
	}
	apply(", failureAccrual: {kind: io.l5d.consecutiveFailures, failures: 2, backoff: {kind: constant, ms: 50}}")
	if n := ask(4); n != 2 {
		t.Errorf("%d of 4 failed, want two", n)
	}
	eventually(t, "probes fail", func() bool { ask(2); return metric(t, metrics, scope+"failure_accrual/probes") >= 2 })
	failing.Store(false)
	eventually(t, "the endpoint is back", func() bool { ask(2); return metric(t, metrics, scope+"failure_accrual/revivals") == 1 })
	before := toBad.Load()
	if n := ask(40); n != 0 || toBad.Load()-before != 20 {
		t.Errorf("%d of 40 failed, %d went to the endpoint that answers again", n, toBad.Load()-before)
	}
	if s := a.Health(); s.Totals.Endpoints != "2/2" || !lines.has("An endpoint answers again", address.String()) {
		t.Errorf("the report has %+v, the log %q", s.Totals, lines.all())
	}
}

// TestNackIsNoFailure: an endpoint that says it has no room is asked again elsewhere, and not left alone: those that are would leave their
// load to the others.
func TestNackIsNoFailure(t *testing.T) {
	var nacks atomic.Int64
	full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nacks.Add(1)
		w.Header().Set("finagle-http-nack", "true")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(full.Close)
	good, address := backend(t, "good"), netip.MustParseAddrPort(full.Listener.Addr().String())
	port := freeport.Get(t)
	plain, put := watchedMesh(t, port)
	put(good, address)
	a := start(t, Options{})
	if err := a.Apply(t.Context(), decode(t, withClient(plain, "loadBalancer: {kind: roundRobin}"))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for range 30 {
		if status, body, _ := get(t, c, port, "web"); status != http.StatusOK || body != "good" {
			t.Fatalf("%d %q", status, body)
		}
	}
	if n := nacks.Load(); n < 10 {
		t.Errorf("only %d of 30 requests went to the endpoint without room", n)
	}
	put(address)
	eventually(t, "one endpoint is left", func() bool { return len(a.Clients()["outgoing"][0].Endpoints) == 1 })
	for range 10 {
		if status, _, header := get(t, c, port, "web"); status != http.StatusServiceUnavailable || header.Get("finagle-http-nack") != "true" {
			t.Errorf("%d %v, want what the endpoint says", status, header)
		}
	}
	for _, e := range a.Clients()["outgoing"][0].Endpoints {
		if e.Down {
			t.Errorf("%+v is left alone", e)
		}
	}
}
