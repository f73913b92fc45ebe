package http1

import (
	"io"
	"testing"
)

// steadyState returns a function that does one exchange over kept connections without allocating itself. With hop the endpoint is
// reached through one, which answers in its place.
func steadyState(tb testing.TB, send, reply string, hop bool) func() {
	upLen := make(chan int, 1)
	e := newEndpoint(tb, func(_ int, c *client) {
		b, out := make([]byte, 4096), []byte(reply)
		n, err := c.c.Read(b)
		if err != nil {
			return
		}
		upLen <- n
		for {
			if _, err := c.c.Write(out); err != nil {
				return
			}
			if _, err := io.ReadFull(c.c, b[:n]); err != nil {
				return
			}
		}
	})
	r := newRig(tb, rigOptions{}, e.addr)
	r.target.quiet = true
	if hop {
		r.withHop(e.addr)
	}
	r.target.headers = "l5d-dst-service: /svc/web\r\nl5d-dst-client: /#/io.l5d.fs/web\r\n"
	c := r.dial()
	c.send(send)
	<-upLen
	in, out := make([]byte, 4096), []byte(send)
	n, err := c.c.Read(in)
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		if _, err := c.c.Write(out); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.ReadFull(c.c, in[:n]); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	for name, hop := range map[string]bool{"direct": false, "hop": true} {
		b.Run(name, func(b *testing.B) {
			step := steadyState(b, get, ok, hop)
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

const browser = "GET /api/v1/items?limit=20&after=abc HTTP/1.1\r\nHost: web.default.svc.cluster.local\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n" +
	"Cookie: session=0123456789abcdef\r\nX-Request-Id: 7f1c2d3e\r\nConnection: keep-alive\r\n\r\n"

func BenchmarkParseRequest(b *testing.B) {
	var r Request
	in := []byte(browser)
	lim := headLimits{line: 4 << 10, bytes: 8 << 10, fields: 100}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		r.reset()
		if done, fail := r.parse(in, lim); !done || fail != nil {
			b.Fatal(fail)
		}
	}
}

func BenchmarkParseAndAppend(b *testing.B) {
	var r Request
	in, out, via := []byte(browser), make([]byte, 0, 4096), []byte("Via: 1.1 fairlead\r\n")
	lim := headLimits{line: 4 << 10, bytes: 8 << 10, fields: 100}
	t := &target{headers: "l5d-dst-service: /svc/web\r\n"}
	b.ReportAllocs()
	for b.Loop() {
		r.reset()
		if done, fail := r.parse(in, lim); !done || fail != nil {
			b.Fatal(fail)
		}
		out = r.appendEnd(t.AppendHeaders(r.appendHead(out[:0], via)))
	}
}
