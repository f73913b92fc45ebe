package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a real HTTP server that says its name.
func backend(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Backend", name)
		w.Header().Set("X-Client", r.Header.Get("l5d-dst-client"))
		w.Header().Set("X-Name", r.Header.Get("l5d-dst-service"))
		w.Header().Set("X-Target", r.RequestURI)
		w.Header().Set("X-Dtab", r.Header.Get("l5d-dtab")+r.Header.Get("l5d-ctx-dtab"))
		fmt.Fprint(w, name)
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func decode(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, problem := config.DecodeConfig("test.yaml", []byte(text), config.Standalone)
	if problem != nil {
		t.Fatal(problem)
	}
	return cfg
}

// mesh is a document with one router on a port and the given rules.
func mesh(port int, dentries ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n  routers:\n"+
		"  - name: outgoing\n    bindingTimeoutMs: 2000\n    servers: [{port: %d}]\n    dtab:\n", port)
	for _, d := range dentries {
		prefix, dst, _ := strings.Cut(d, " => ")
		fmt.Fprintf(&b, "    - {prefix: %q, dst: %q}\n", prefix, dst)
	}
	return b.String()
}

func start(t testing.TB, o Options) *App {
	t.Helper()
	if o.Log.IsZero() {
		o.Log = testr.NewWithInterface(t, testr.Options{})
	}
	if o.Metrics == nil {
		o.Metrics = telemetry.New()
	}
	a := New(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if n := a.buffers.Outstanding(); n != 0 {
			t.Errorf("%d buffers have an owner after shutdown", n)
		}
	})
	return a
}

// client is an HTTP client whose connections end with the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func get(t *testing.T, c *http.Client, port int, host string, headers ...string) (status int, body string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func inet(a netip.AddrPort) string { return fmt.Sprintf("/$/inet/%s/%d", a.Addr(), a.Port()) }

func TestRequestGoesWhereTheRulesLead(t *testing.T) {
	web, api := backend(t, "web"), backend(t, "api")
	port := freeport.Get(t)
	a := start(t, Options{})
	if err := a.Apply(t.Context(), decode(t, mesh(port, "/svc/web => "+inet(web), "/svc/api => "+inet(api)))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for _, host := range []string{"web", "api"} {
		if status, body, _ := get(t, c, port, host); status != 200 || body != host {
			t.Errorf("Host %s: %d %q", host, status, body)
		}
	}
	if _, _, h := get(t, c, port, "web"); h.Get("X-Client") != inet(web) {
		t.Errorf("l5d-dst-client at the endpoint: %q", h.Get("X-Client"))
	}
}

func TestFailuresSayWhy(t *testing.T) {
	closed := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(freeport.Get(t)))
	port := freeport.Get(t)
	metrics := telemetry.New()
	a := start(t, Options{Metrics: metrics})
	if err := a.Apply(t.Context(), decode(t, mesh(port,
		"/svc/down => "+inet(closed), "/svc/stop => !", "/svc/void => $", "/svc/loop => /svc/loop/x", "/svc/what => /$/no.such.Class",
	))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for _, test := range []struct {
		host   string
		status int
		reason string
	}{
		{"nobody", 502, "no-binding"},
		{"stop", 502, "binding-failed"},
		{"void", 502, "empty-binding"},
		{"loop", 502, "max-depth"},
		{"what", 502, "binding-error"},
		{"down", 502, "connect-refused"},
	} {
		status, body, header := get(t, c, port, test.host)
		if status != test.status || !strings.HasPrefix(header.Get("l5d-err"), test.reason) || !strings.HasPrefix(body, test.reason) {
			t.Errorf("%s: status %d, l5d-err %q, body %q; want %d and reason %s", test.host, status, header.Get("l5d-err"), body, test.status, test.reason)
		}
		counted := false
		for deadline := time.Now().Add(5 * time.Second); !counted && time.Now().Before(deadline); {
			metrics.Walk(func(m telemetry.Metric) { // a request is counted when its last byte was sent
				counted = counted || strings.HasSuffix(m.Path(), "failures/"+test.reason) && strings.Contains(m.Path(), "/server/")
			})
		}
		if !counted {
			t.Errorf("%s: no metric failures/%s of the server", test.host, test.reason)
		}
	}
}

// TestRulesAnswerWithAStatus: counted as a response, and no failure of the proxy.
func TestRulesAnswerWithAStatus(t *testing.T) {
	web := backend(t, "web")
	port := freeport.Get(t)
	metrics := telemetry.New()
	a := start(t, Options{Metrics: metrics})
	if err := a.Apply(t.Context(), decode(t, mesh(port,
		"/svc/gone => /$/io.buoyant.http.status/410", "/svc/web => /$/io.buoyant.http.anyMethodPfx/x/GET | "+inet(web), "/x => ~",
	))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for host, want := range map[string]int{"gone": 410, "web": 200} {
		status, body, header := get(t, c, port, host)
		if status != want || header.Get("l5d-err") != "" || want == 410 && body != "" {
			t.Errorf("%s: status %d, l5d-err %q, body %q", host, status, header.Get("l5d-err"), body)
		}
	}
	for _, dst := range []string{"/$/fixedinet", "/$/inet"} {
		if status, _, header := get(t, c, port, "web", "l5d-dtab", fmt.Sprintf("/svc/web => %s/%s/%d", dst, web.Addr(), web.Port())); status != 403 {
			t.Errorf("a request named the address %s: status %d, l5d-err %q", dst, status, header.Get("l5d-err"))
		}
	}
	if status, _, _ := get(t, c, port, "web", "l5d-dtab", "/svc/web => /$/io.buoyant.http.status/418"); status != 418 {
		t.Errorf("an override to a status: %d", status)
	}
	if names := a.Health(); len(names.Balancers) != 1 || names.Balancers[0].Client != inet(web) {
		t.Errorf("balancers %+v", names.Balancers)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		if n := metrics.Scope("rt", "outgoing").Scope("service", "svc/gone").Counter("success").Value(); n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the answer was not counted for its service")
		}
	}
}

// TestEditsUnderTraffic: a swap loses no request, and once Apply returned no request follows the old rules.
func TestEditsUnderTraffic(t *testing.T) {
	v1, v2 := backend(t, "v1"), backend(t, "v2")
	port := freeport.Get(t)
	a := start(t, Options{})
	cfg := map[string]*config.Config{
		"v1": decode(t, mesh(port, "/svc/web => "+inet(v1))),
		"v2": decode(t, mesh(port, "/svc/web => "+inet(v2))),
	}
	if err := a.Apply(t.Context(), cfg["v1"]); err != nil {
		t.Fatal(err)
	}
	// epoch is even between edits and says which version is served; odd while one is under way.
	var epoch atomic.Int64
	var stop atomic.Bool
	var requests atomic.Int64
	var senders sync.WaitGroup
	for range 4 {
		c := client(t)
		senders.Go(func() {
			for !stop.Load() {
				before := epoch.Load()
				status, body, header := get(t, c, port, "web")
				requests.Add(1)
				if status != 200 {
					t.Errorf("status %d, l5d-err %q", status, header.Get("l5d-err"))
					return
				}
				want := []string{"v1", "v2"}[before/2%2]
				if before == epoch.Load() && before%2 == 0 && body != want {
					t.Errorf("after edit %d a request went to %s", before/2, body)
					return
				}
			}
		})
	}
	for i := range 100 {
		for seen := requests.Load(); requests.Load() < seen+8 && !t.Failed(); {
			time.Sleep(100 * time.Microsecond) // the step of a poll: some requests between edits
		}
		epoch.Add(1)
		if err := a.Apply(t.Context(), cfg[[]string{"v2", "v1"}[i%2]]); err != nil {
			t.Error(err)
		}
		epoch.Add(1)
	}
	stop.Store(true)
	senders.Wait()
}

func TestListenersComeAndGo(t *testing.T) {
	web := backend(t, "web")
	first, second := freeport.Get(t), freeport.Get(t)
	a := start(t, Options{})
	apply := func(port int) error { return a.Apply(t.Context(), decode(t, mesh(port, "/svc/web => "+inet(web)))) }
	if err := apply(first); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	get(t, c, first, "web")

	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", second))
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(second); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), fmt.Sprint(second)) {
		t.Errorf("a port that is taken: %v", err)
	}
	if status, _, _ := get(t, c, first, "web"); status != 200 {
		t.Errorf("the old listener answers %d after a refused change", status)
	}
	taken.Close()
	if err := apply(second); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := get(t, c, second, "web"); status != 200 || body != "web" {
		t.Errorf("new listener: %d %q", status, body)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", first))
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the old port is still open")
		}
	}
}

// TestLimitsChangeLive: no setting that a Mesh may edit needs the listener to be opened anew.
func TestLimitsChangeLive(t *testing.T) {
	web := backend(t, "web")
	port := freeport.Get(t)
	a := start(t, Options{})
	text := mesh(port, "/svc/web => "+inet(web))
	c := client(t)
	for _, step := range []struct {
		maxHeadersKB int
		status       int
	}{{8, 431}, {32, 200}, {8, 431}} {
		edited := strings.Replace(text, "bindingTimeoutMs", fmt.Sprintf("maxHeadersKB: %d\n    bindingTimeoutMs", step.maxHeadersKB), 1)
		if err := a.Apply(t.Context(), decode(t, edited)); err != nil {
			t.Fatal(err)
		}
		if status, _, _ := get(t, c, port, "web", "X-Large", strings.Repeat("x", 16<<10)); status != step.status {
			t.Errorf("16 KiB of headers with maxHeadersKB %d: %d, want %d", step.maxHeadersKB, status, step.status)
		}
	}
}

// TestClusterPolicy: a name by DNS, a literal or a mapped literal does not lead into the node.
func TestClusterPolicy(t *testing.T) {
	secret := backend(t, "secret")
	policy, err := ClusterPolicy(netip.MustParseAddr("203.0.113.7"))
	if err != nil {
		t.Fatal(err)
	}
	for addr, allowed := range map[string]bool{
		"127.0.0.1:80": false, "127.8.9.1:80": false, "[::1]:80": false, "[::ffff:127.0.0.1]:80": false, "0.0.0.0:80": false,
		"169.254.169.254:80": false, "[fe80::1%eth0]:80": false, "203.0.113.7:80": false, "[::ffff:203.0.113.7]:80": false,
		"224.0.0.1:80": false, "203.0.113.8:80": true, "[2001:db8::1]:80": true,
	} {
		if err := policy(netip.MustParseAddrPort(addr)); (err == nil) != allowed {
			t.Errorf("%s: %v", addr, err)
		}
	}
	port := freeport.Get(t)
	a := start(t, Options{Policy: policy})
	if err := a.Apply(t.Context(), decode(t, mesh(port,
		"/svc/literal => "+inet(secret),
		fmt.Sprintf("/svc/name => /$/inet/localhost/%d", secret.Port()),
		fmt.Sprintf("/svc/mapped => /$/inet/::ffff:127.0.0.1/%d", secret.Port()),
	))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for _, host := range []string{"literal", "name", "mapped"} {
		if status, body, _ := get(t, c, port, host); status != 502 || !strings.HasPrefix(body, "connect-denied") {
			t.Errorf("%s: %d %q", host, status, body)
		}
	}
}

func TestHealthOfDestinations(t *testing.T) {
	v1, v2 := backend(t, "v1"), backend(t, "v2")
	port := freeport.Get(t)
	a := start(t, Options{})
	text := mesh(port, "/srv/v2 => "+inet(v2)) + fmt.Sprintf(`---
apiVersion: fairlead.dev/v1alpha1
kind: Dtab
metadata: {name: web}
spec:
  meshRef: {name: test}
  router: outgoing
  dentries:
  - {prefix: /svc/web, dst: "%s"}
  - {prefix: /svc/api, dst: "/srv/v2 | /srv/v3"}
  - {prefix: /svc/turn, dst: "/svc/turn/about"}
`, inet(v1))
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for range 3 {
		get(t, c, port, "web")
	}
	get(t, c, port, "api")
	s := a.Health()
	for deadline := time.Now().Add(5 * time.Second); s.Totals.Requests < 4 && time.Now().Before(deadline); {
		s = a.Health() // a request is counted when its last byte was sent, which may be after the client read it
	}
	got := make([]string, len(s.Dtabs))
	for i, d := range s.Dtabs {
		got[i] = fmt.Sprintf("%s %d %s %s %d/%d %d", d.Dtab, d.Dentry, d.Dst, d.State, d.Available, d.Endpoints, d.Requests)
	}
	want := []string{
		"default/web 0 " + inet(v1) + " bound 1/1 3",
		"default/web 1 /srv/v2 bound 1/1 1",
		"default/web 1 /srv/v3 neg 0/0 0",
		"default/web 2 /svc/turn/about loop 0/0 0",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("destinations:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s.Totals.Requests != 4 || s.Totals.Endpoints != "2/2" || s.Totals.Balancers != 2 || s.Totals.HealthyBalancers != 2 {
		t.Errorf("totals: %+v", s.Totals)
	}
}
