package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// The time limits of a listener are those of the Mesh, and change with it.
func TestTimeLimitsOfAListener(t *testing.T) {
	port := freeport.Get(t)
	a := start(t, Options{})
	patient := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer patient.Close()
	text := mesh(port, "/svc => "+inet(netip.MustParseAddrPort(patient.Listener.Addr().String())))
	for _, c := range []struct{ set, send, want string }{
		{"headerTimeoutMs: 50", "GET / HT", "header-timeout: "},
		{"stallTimeoutMs: 50", "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "request-body-timeout: "},
		{"idleTimeoutMs: 50", "", ""},
	} {
		edited := strings.Replace(text, fmt.Sprintf("{port: %d}", port), fmt.Sprintf("{port: %d, %s}", port, c.set), 1)
		if err := a.Apply(t.Context(), decode(t, edited)); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // it is closed already
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Fatal(err)
		}
		if c.want != "" {
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%s: %v", c.set, err)
			}
			if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusRequestTimeout || !strings.HasPrefix(string(body), c.want) {
				t.Errorf("%s: %s %q", c.set, resp.Status, body)
			}
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: %v, want the end", c.set, err)
		}
	}
}

// TestSilentEndpoints: how long an endpoint may be silent before a response, within it and in a tunnel is what the Mesh says, and changes with it.
func TestSilentEndpoints(t *testing.T) {
	port := freeport.Get(t)
	a := start(t, Options{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tunnel":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close() //nolint:errcheck // whoever reads sees it
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, conn)
			return
		case "/within":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}))
	defer silent.Close()
	text := mesh(port, "/svc => "+inet(netip.MustParseAddrPort(silent.Listener.Addr().String())))
	endpoint := strings.Replace(text, "    dtab:", "    clients: [{prefix: /, responseIdleTimeoutMs: 50}]\n    dtab:", 1)
	tunnel := strings.Replace(text, fmt.Sprintf("{port: %d}", port), fmt.Sprintf("{port: %d, tunnelIdleTimeoutMs: 50}", port), 1)
	for _, c := range []struct{ mesh, send, status, rest string }{
		{endpoint, "GET /before HTTP/1.1\r\nHost: web\r\n\r\n", "503", "l5d-err: upstream-idle-timeout"},
		{endpoint, "GET /within HTTP/1.1\r\nHost: web\r\n\r\n", "200", "\r\n\r\nhalf"},
		{tunnel, "GET /tunnel HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello", "101", "\r\n\r\nhello"},
	} {
		if err := a.Apply(t.Context(), decode(t, c.mesh)); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // it is closed already
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Fatal(err)
		}
		if c.status == "503" { // its connection goes on
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 "+c.status) || !strings.Contains(string(got), c.rest) {
			t.Errorf("%q: got %q, %v", c.send, got, err)
		}
	}
}
