package clients

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// goroutines returns how many the proxy has.
func (p *proxy) goroutines(t *testing.T) (n int) {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/goroutine?debug=1", p.admin))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if _, err := fmt.Fscanf(resp.Body, "goroutine profile: total %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// settles asks for each name once, so that it is known, and returns a check that descriptors, goroutines and memory are then what they were
// but for connections to endpoints that are kept idle.
func (p *proxy) settles(t *testing.T, idle int, names ...string) func() {
	t.Helper()
	for _, name := range names {
		conn, err := net.Dial("tcp", p.addr())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name)
		eventually(t, name+" is known", func() bool {
			resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics.json?q=rt/outgoing/client", p.admin))
			if err != nil {
				return false
			}
			defer resp.Body.Close() //nolint:errcheck // read only
			body, err := io.ReadAll(resp.Body)
			return err == nil && strings.Count(string(body), "loadbalancer/size") >= slices.Index(names, name)+1
		})
		_ = conn.Close()
	}
	descriptors, goroutines := p.descriptors(t), p.goroutines(t)
	return func() {
		t.Helper()
		for what, c := range map[string]struct {
			most int
			now  func(*testing.T) int
		}{"descriptors": {descriptors + idle + 2, p.descriptors}, "goroutines": {goroutines + 2, p.goroutines}} {
			eventually(t, fmt.Sprintf("at most %d %s", c.most, what), func() bool { return c.now(t) <= c.most })
		}
		if got := p.memory(t); got > enough {
			t.Errorf("the proxy took %d MB", got>>20)
		}
	}
}

// cutter is an endpoint that answers every request with the first bytes of a response and then resets or ends the connection.
type cutter struct {
	mu       sync.Mutex
	response string
	reset    bool
}

func (c *cutter) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close() //nolint:errcheck // that is the point
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return
			}
			c.mu.Lock()
			response, reset := c.response, c.reset
			c.mu.Unlock()
			_, _ = io.WriteString(conn, response)
			if reset {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
		}()
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestEndpointFailsAnywhere cuts a response at each of its bytes, by reset and by end: a client never takes a part for the whole, and nothing
// is left in the proxy.
func TestEndpointFailsAnywhere(t *testing.T) {
	t.Parallel()
	l := listen(t)
	c := &cutter{}
	go c.serve(l)
	p := start(t, map[string]string{"web": l.Addr().String()})
	settled := p.settles(t, 0, "web")
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for kind, response := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-A: b\r\n\r\nhello world",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: c\r\n\r\n",
		"early":  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
	} {
		for cut := range len(response) {
			for _, reset := range []bool{true, false} {
				c.mu.Lock()
				c.response, c.reset = response[:cut], reset
				c.mu.Unlock()
				req, err := http.NewRequest(http.MethodGet, p.url(), nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "web"
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("%s cut at %d, reset %v: %v", kind, cut, reset, err)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK && err == nil || resp.StatusCode != http.StatusOK && (resp.StatusCode != http.StatusBadGateway || err != nil) {
					t.Errorf("%s cut at %d, reset %v: %s %q, %v", kind, cut, reset, resp.Status, body, err)
				}
			}
		}
	}
	client.CloseIdleConnections()
	settled()
}

// TestStorms has 2,500 clients that reset their connection at each part of an exchange, one of them with an endpoint that never
// answers: nothing of them is left.
func TestStorms(t *testing.T) {
	t.Parallel()
	const clients, atOnce = 500, 50
	mute := listen(t)
	go func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn) // until the proxy gives up
				_ = conn.Close()
			}()
		}
	}()
	l := listen(t)
	big := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })} //nolint:gosec // a test
	go func() { _ = big.Serve(l) }()
	defer big.Close() //nolint:errcheck // the test is over
	p := start(t, map[string]string{"big": l.Addr().String(), "mute": mute.Addr().String()})
	settled := p.settles(t, 2, "big", "mute")
	for name, c := range map[string]struct {
		send string
		read int
	}{
		"at once":       {"", 0},
		"in the head":   {"GET / HTTP/1.1\r\nHo", 0},
		"in the body":   {"POST / HTTP/1.1\r\nHost: mute\r\nContent-Length: 100000\r\n\r\nabc", 0},
		"while waiting": {"GET / HTTP/1.1\r\nHost: mute\r\n\r\n", 0},
		"in a response": {"GET / HTTP/1.1\r\nHost: big\r\n\r\n", 1000},
	} {
		slots := make(chan struct{}, atOnce)
		var wait sync.WaitGroup
		for range clients {
			slots <- struct{}{}
			wait.Go(func() {
				defer func() { <-slots }()
				conn, err := net.Dial("tcp", p.addr())
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				defer conn.Close() //nolint:errcheck // that is the point
				_ = conn.(*net.TCPConn).SetLinger(0)
				_, err = io.WriteString(conn, c.send)
				if err == nil && c.read > 0 {
					_, err = io.ReadFull(conn, make([]byte, c.read))
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wait.Wait()
	}
	settled()
	if resp, err := http.Get(p.url()); err != nil || resp.StatusCode != http.StatusBadGateway || !strings.Contains(resp.Header.Get("l5d-err"), "no-binding") {
		t.Errorf("after the storms: %v, %v", resp, err)
	}
}

// TestEndpointVanishes has endpoints that are there no more without a word, as after a lost node: one before its answer, one within its head. The proxy
// gives both up, says so, and keeps nothing of them.
func TestEndpointVanishes(t *testing.T) {
	t.Parallel()
	silent := func(before string) string {
		l := listen(t)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
						_, _ = io.WriteString(conn, before)
						_, _ = io.Copy(io.Discard, conn) // until the proxy gives up
					}
					_ = conn.Close()
				}()
			}
		}()
		return l.Addr().String()
	}
	p := startWith(t, "", "    clients: [{prefix: /, requestAttemptTimeoutMs: 300}]\n", map[string]string{
		"mute": silent(""), "head": silent("HTTP/1.1 200 OK\r\nX-A: "),
	})
	settled := p.settles(t, 0, "mute", "head")
	for range 4 {
		for _, host := range []string{"mute", "head"} {
			req, err := http.NewRequest(http.MethodGet, p.url(), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(resp.Header.Get("l5d-err"), "attempt-timeout") {
				t.Errorf("%s: %s, l5d-err %q; want 503, attempt-timeout", host, resp.Status, resp.Header.Get("l5d-err"))
			}
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	settled()
}
