package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// limitVariable makes the test binary the proxy itself, with that limit of descriptors.
const limitVariable = "FAIRLEAD_TEST_NOFILE"

func TestMain(m *testing.M) {
	text := os.Getenv(limitVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	limit, err := strconv.ParseUint(text, 10, 64)
	if err == nil {
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit})
	}
	if err != nil {
		panic(err)
	}
	main()
}

// log is what a process writes, for who reads at the same time.
type log struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) has(what ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range what {
		if !strings.Contains(l.text.String(), w) {
			return false
		}
	}
	return true
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// limited starts the proxy with a limit of descriptors and all names bound to an address.
func limited(t *testing.T, limit, port, admin int, address string) *log {
	t.Helper()
	host, at, _ := strings.Cut(address, ":")
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	text := fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n  admin: {ip: 127.0.0.1, port: %d}\n"+
		"  routers:\n  - name: outgoing\n    servers: [{port: %d}]\n    dtab: [{prefix: /svc, dst: /$/inet/%s/%s}]\n", admin, port, host, at)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &log{}
	p := exec.Command(os.Args[0], "--config", file, "--drain", "1s") //nolint:gosec,noctx // this program; it is told to end
	p.Env = append(os.Environ(), limitVariable+"="+strconv.Itoa(limit))
	p.Stderr = out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		if err := p.Wait(); err != nil {
			t.Errorf("the proxy ended: %v", err)
		}
		if t.Failed() {
			t.Log(out.text.String())
		}
	})
	eventually(t, "the proxy is ready", func() bool { return ready(t.Context(), admin) == nil })
	return out
}

func ready(ctx context.Context, admin int) error {
	_, err := ask(ctx, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, fmt.Sprintf("http://127.0.0.1:%d/admin/ping", admin))
	return err
}

// ask returns the status, 0 with an error where there was none.
func ask(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Status + " " + resp.Header.Get("l5d-err"), err
}

// At the limit of descriptors as many clients as it allows are served, also where there are not as many connections to endpoints; a storm of
// those who come again at once is served or refused before it has asked anything, and the admin port answers all the while.
func TestAtTheLimitOfDescriptors(t *testing.T) {
	const limit, clients, rounds = 96, 50, 20
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(20 * time.Millisecond): // the time that the answer takes
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(endpoint.Close)
	port, admin := freeport.Get(t), freeport.Get(t)
	out := limited(t, limit, port, admin, endpoint.Listener.Addr().String())
	if !out.has(`"limit":96`, `"clientsAtMost":72`, "raise RLIMIT_NOFILE") {
		t.Error("the small limit was not told of")
	}
	// Most are served; a machine that stalls for longer than clients wait may cost some.
	storm := func(n, rounds, mayBeRefused int) {
		var refused atomic.Int64
		var wait sync.WaitGroup
		for range n {
			wait.Go(func() {
				c := &http.Client{Transport: &http.Transport{DisableKeepAlives: rounds > 1}}
				defer c.CloseIdleConnections()
				for range rounds {
					status, err := ask(t.Context(), c, fmt.Sprintf("http://127.0.0.1:%d/", port))
					switch {
					case err == nil && strings.HasPrefix(status, "200"):
					case err == nil && strings.HasPrefix(status, "503 Service Unavailable too-few-descriptors"),
						errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE):
						refused.Add(1)
					default:
						t.Errorf("answered %q, error %v", status, err)
					}
				}
			})
		}
		wait.Wait()
		if got := int(refused.Load()); got > mayBeRefused {
			t.Errorf("%d of %d refused", got, n*rounds)
		}
	}
	storm(clients, 1, clients/10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		storm(2*clients, rounds, clients*rounds/2)
	}()
	for running := true; running; {
		if err := ready(t.Context(), admin); err != nil {
			t.Error(err)
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	storm(clients, 1, clients/10)
}
