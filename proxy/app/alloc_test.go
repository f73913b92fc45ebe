//go:build !race

// The race detector makes sync.Pool drop what it is given, so allocations can only be counted without it.

package app

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestNoAllocations holds a request that has a route to zero allocations, from the listener to the endpoint and back, whatever names
// it. The whole process is measured, so it does not run beside others.
func TestNoAllocations(t *testing.T) {
	for name, identifiers := range map[string]string{
		"token":          "{kind: io.l5d.header.token}",
		"kubernetes":     "{kind: io.l5d.header.token, normalize: KubernetesHost}",
		"path":           "{kind: io.l5d.header}, {kind: io.l5d.path, segments: 2, consume: true}",
		"all of a path":  "{kind: io.l5d.path, segments: 3, consume: true}",
		"method and uri": "{kind: io.l5d.methodAndHost, httpUriInDst: true}",
		"static":         "{kind: io.l5d.static, path: /a}",
	} {
		t.Run(name, func(t *testing.T) {
			step := kept(t, identifiers)
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the buffer pools
			for range 2000 {
				step()
			}
			const n = 5000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range n {
				step()
			}
			runtime.ReadMemStats(&after)
			// The runtime and the histograms allocate now and then; one in a hundred requests is not a request's allocation.
			if got := after.Mallocs - before.Mallocs; got > n/100 {
				t.Errorf("%d allocations in %d requests", got, n)
			}
		})
	}
}

// kept returns a function that does one exchange over kept connections without allocating itself.
func kept(t *testing.T, identifiers string) func() {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, out := make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		n, err := c.Read(b)
		for err == nil {
			if _, err = c.Write(out); err == nil {
				_, err = io.ReadFull(c, b[:n])
			}
		}
	}()
	port := freeport.Get(t)
	a := start(t, Options{})
	text := identifiedBy(port, inet(l.Addr().(*net.TCPAddr).AddrPort()), identifiers)
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	out, in := []byte("GET /api/v1/items?limit=20 HTTP/1.1\r\nHost: Web.prod.svc:80\r\nUser-Agent: test\r\n\r\n"), make([]byte, 4096)
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(in[:n]); got[:12] != "HTTP/1.1 200" {
		t.Fatalf("%q", got)
	}
	return func() {
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, in[:n]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTwoHopsDoNotAllocate: all of the process is measured, with client, both proxies and the endpoint.
func TestTwoHopsDoNotAllocate(t *testing.T) {
	_, two := ways(t)
	for range 200 {
		two()
	}
	if n := testing.AllocsPerRun(2000, two); n >= 1 {
		t.Errorf("%v allocations for each request through two proxies", n)
	}
}
