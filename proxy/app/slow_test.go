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
