package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/proxy/telemetry/prometheus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves o on a loopback port until the test ends.
func start(t *testing.T, o Options) (*Server, *http.Client, string) {
	t.Helper()
	s := NewServer(o)
	if err := s.Start(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second) // it has ended by now
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s, client, "http://" + s.Addr().String()
}

func do(t *testing.T, c *http.Client, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPages(t *testing.T) {
	tree := telemetry.New()
	tree.Scope("rt", "http", "client", "#/io.l5d.fs/web").Counter("requests").Add(0, 3)
	_, client, url := start(t, Options{
		Metrics:    tree,
		Prometheus: prometheus.New(tree, prometheus.Options{}),
		Config:     func() any { return map[string]string{"dst": "/a & /b"} },
		Extra: map[string]func() any{
			"/client_state.json": func() any { return []int{1, 2} },
			"/bad.json":          func() any { return math.Inf(1) },
		},
	})
	for _, tt := range []struct {
		method, path string
		status       int
		contentType  string
		contains     string
	}{
		{"GET", "/admin/ping", 200, "text/plain", "pong\n"},
		{"GET", "/admin/ready", 200, "text/plain", "ready\n"},
		{"GET", "/admin/metrics/prometheus", 200, "text/plain; version=0.0.4",
			`rt_client_requests_total{client="#/io.l5d.fs/web",rt="http"} 3`},
		{"GET", "/metrics.json", 200, "application/json", `"rt/http/client/#/io.l5d.fs/web/requests": 3`},
		{"GET", "/admin/metrics.json?q=rt/http", 200, "application/json", "{\n  \"rt/http/client/#/io.l5d.fs/web/requests\": 3\n}\n"},
		{"GET", "/metrics.json?q=rt/none", 404, "text/plain", `no metrics at "rt/none"`},
		{"GET", "/config.json", 200, "application/json", `"dst": "/a & /b"`},
		{"GET", "/client_state.json", 200, "application/json", "2"},
		{"GET", "/bad.json", 500, "text/plain", "unsupported value"},
		{"GET", "/admin", 200, "text/plain", "/client_state.json"},
		{"GET", "/", 200, "text/plain", "/admin/metrics/prometheus"},
		{"GET", "/admin/index.txt", 200, "text/plain", "/admin/ready"},
		{"GET", "/delegator.json", 404, "text/plain", "/admin lists"},
		{"GET", "/admin/../../etc/passwd", 404, "text/plain", "/admin lists"},
		{"HEAD", "/metrics.json", 200, "application/json", ""},
		{"HEAD", "/admin/metrics/prometheus", 200, "text/plain", ""},
		{"POST", "/admin/ping", 405, "text/plain", "read only"},
		{"PUT", "/config.json", 405, "text/plain", "read only"},
		{"DELETE", "/nowhere", 405, "text/plain", "read only"},
		{"GET", "/debug/pprof", 200, "text/html", "goroutine"},
		{"GET", "/debug/pprof/", 200, "text/html", "goroutine"},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "text/plain", "goroutine profile"},
		{"GET", "/debug/pprof/profile?seconds=3600", 400, "text/plain", "at most 60"},
		{"GET", "/debug/pprof/trace?seconds=NaN", 400, "text/plain", "at most 60"},
	} {
		resp, body := do(t, client, tt.method, url+tt.path)
		if resp.StatusCode != tt.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), tt.contentType) ||
			!strings.Contains(body, tt.contains) {
			t.Errorf("%s %s: %d %s %.300q, want %d %s with %q", tt.method, tt.path, resp.StatusCode,
				resp.Header.Get("Content-Type"), body, tt.status, tt.contentType, tt.contains)
		}
		if tt.status == 405 && resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow is %q", tt.method, tt.path, resp.Header.Get("Allow"))
		}
	}
	_, body := do(t, client, "GET", url+"/metrics.json")
	if !json.Valid([]byte(body)) {
		t.Errorf("metrics.json is not JSON: %s", body)
	}
}

func TestReadyFollowsTheReason(t *testing.T) {
	var mu sync.Mutex
	reason := errors.New("waiting for the configuration")
	_, client, url := start(t, Options{Metrics: telemetry.New(), Ready: func() error {
		mu.Lock()
		defer mu.Unlock()
		return reason
	}})
	resp, body := do(t, client, "GET", url+"/admin/ready")
	if resp.StatusCode != 503 || body != "waiting for the configuration\n" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	mu.Lock()
	reason = nil
	mu.Unlock()
	if resp, body := do(t, client, "GET", url+"/admin/ready"); resp.StatusCode != 200 || body != "ready\n" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestAtMostFourAtOnceAndProbesAlways(t *testing.T) {
	tree := telemetry.New()
	entered, release := make(chan struct{}), make(chan struct{})
	_, client, url := start(t, Options{Metrics: tree, Config: func() any {
		entered <- struct{}{}
		<-release
		return "slow"
	}})
	var wg sync.WaitGroup
	for range maxConcurrent {
		wg.Go(func() {
			if resp, body := do(t, client, "GET", url+"/config.json"); resp.StatusCode != 200 {
				t.Errorf("%d %q", resp.StatusCode, body)
			}
		})
		<-entered
	}
	for range 3 {
		resp, body := do(t, client, "GET", url+"/metrics.json")
		if resp.StatusCode != 503 || !strings.Contains(body, "busy") {
			t.Errorf("the fifth got %d %q", resp.StatusCode, body)
		}
	}
	if resp, _ := do(t, client, "GET", url+"/admin/ping"); resp.StatusCode != 200 {
		t.Errorf("the probe got %d", resp.StatusCode)
	}
	if got := tree.Scope("admin").Counter("rejected").Value(); got != 3 {
		t.Errorf("admin/rejected = %d, want 3", got)
	}
	close(release)
	wg.Wait()
	if resp, _ := do(t, client, "GET", url+"/metrics.json"); resp.StatusCode != 200 {
		t.Errorf("after the rush: %d", resp.StatusCode)
	}
}

func TestAPanickingPageFreesItsSlot(t *testing.T) {
	_, client, url := start(t, Options{Metrics: telemetry.New(), Config: func() any { panic("boom") }})
	for range maxConcurrent + 1 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/config.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("a page that panics answered %d", resp.StatusCode)
		}
	}
	if resp, body := do(t, client, "GET", url+"/metrics.json"); resp.StatusCode != 200 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestConnectionsOverTheLimitAreClosedAndCounted(t *testing.T) {
	tree := telemetry.New()
	s, client, url := start(t, Options{Metrics: tree})
	var held []net.Conn
	hold := func() net.Conn {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		return c
	}
	for range maxConnections {
		c := hold()
		if _, err := io.WriteString(c, "HEAD /admin/ping HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("connection %d: %v", len(held), err)
		}
	}
	if _, err := hold().Read(make([]byte, 1)); err == nil {
		t.Error("one more connection was served")
	}
	if got := tree.Scope("admin").Counter("connections_rejected").Value(); got != 1 {
		t.Errorf("admin/connections_rejected = %d, want 1", got)
	}
	for _, c := range held {
		c.Close()
	}
	// The server sees the closes in its own time.
	for {
		resp, err := client.Get(url + "/admin/ping")
		if err == nil {
			resp.Body.Close()
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestHeadersOverTheLimitAreRefused(t *testing.T) {
	_, client, url := start(t, Options{Metrics: telemetry.New()})
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/admin/ping", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 2*maxHeaderBytes))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", resp.StatusCode)
	}
}

func TestProfilesAreForLoopbackOnly(t *testing.T) {
	h := Handler(Options{Metrics: telemetry.New()})
	for from, want := range map[string]int{
		"127.0.0.1:1": 200, "[::1]:1": 200, "[::ffff:127.0.0.1]:1": 200, "10.0.0.7:1": 403, "[2001:db8::1]:1": 403, "": 403,
	} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine"} {
			r := httptest.NewRequest("GET", path, nil)
			r.RemoteAddr = from
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s from %q: %d, want %d", path, from, w.Code, want)
			}
		}
	}
}

func TestAddressTakenIsOneClearLine(t *testing.T) {
	first, _, _ := start(t, Options{Metrics: telemetry.New()})
	addr := first.Addr().String()
	second := NewServer(Options{Metrics: telemetry.New()})
	err := second.Start(t.Context(), addr)
	if want := fmt.Sprintf("admin %s: bind: address already in use; see spec.admin of the Mesh", addr); err == nil || err.Error() != want {
		t.Errorf("Start = %v, want %s", err, want)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v does not unwrap to EADDRINUSE", err)
	}
	if err := second.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsOffAfterItsTime(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := NewServer(Options{Metrics: telemetry.New(), Config: func() any { close(entered); <-release; return nil }})
	if err := s.Start(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + s.Addr().String() + "/config.json")
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown = %v, want context canceled", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request outlived the shutdown")
	}
	close(release)
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}

// A probe that was accepted just before the end is answered: its caller would take a closed connection for a failure.
func TestShutdownAnswersWhoWasAccepted(t *testing.T) {
	s := NewServer(Options{Metrics: telemetry.New()})
	if err := s.Start(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for s.listener.open.Load() == 0 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- s.Shutdown(ctx) }()
	<-s.served // it accepts no more
	if _, err := io.WriteString(c, "GET /admin/ping HTTP/1.1\r\nHost: admin\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK\r\n") || !strings.Contains(string(text), "Connection: close\r\n") {
		t.Errorf("got %q, %v", text, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// So is one that is accepted while the shutdown begins. What was not accepted waits for whoever has the socket next.
func TestShutdownLosesNoneItAccepts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 500 {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		own, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		s := NewServer(Options{Metrics: telemetry.New()})
		s.Serve(own.(*net.TCPListener))
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /admin/ping HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !waits(t, l.(*net.TCPListener)) {
			if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK\r\n") {
				t.Fatalf("one that was accepted got %q, %v", text, err)
			}
		}
		_ = c.Close()
	}
}

// waits takes a connection that waits to be accepted, and reports whether there was one.
func waits(t *testing.T, l *net.TCPListener) bool {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	waited := false
	if err := raw.Control(func(fd uintptr) {
		if c, _, err := syscall.Accept4(int(fd), syscall.SOCK_CLOEXEC); err == nil {
			waited = true
			_ = syscall.Close(c)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return waited
}
