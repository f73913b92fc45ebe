package http1

import (
	"io"
	"strings"
	"testing"
)

const (
	get   = "GET /a HTTP/1.1\r\nHost: web\r\n\r\n"
	upGet = "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\n\r\n"
	ok    = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	cliOK = "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nok"
)

// wireCase is one request and response, byte for byte on both sides.
type wireCase struct {
	name   string
	send   string // by the client
	up     string // what the endpoint must get
	reply  string // by the endpoint
	stray  string // what the endpoint sends with the last byte of it
	fin    bool   // the endpoint then closes
	want   string // what the client must get
	closes bool   // and then the end; otherwise a second exchange must work
	fresh  bool   // the endpoint's connection must not be used again
}

var wireCases = []wireCase{
	{name: "get", send: get, up: upGet, reply: ok, want: cliOK},
	{name: "case and order of headers survive", send: "GET / HTTP/1.1\r\nhOST: web\r\nX-b:1\r\nx-A:  2 \r\n\r\n",
		up: "GET / HTTP/1.1\r\nhOST: web\r\nX-b:1\r\nx-A:  2 \r\nVia: 1.1 fairlead\r\n\r\n", reply: ok, want: cliOK},
	{name: "leading empty lines", send: "\r\n\r\n" + get, up: upGet, reply: ok, want: cliOK},
	{name: "1.0 closes", send: "GET /a HTTP/1.0\r\nHost: web\r\n\r\n", up: "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.0 fairlead\r\n\r\n",
		reply: ok, want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", closes: true},
	{name: "1.0 without host", send: "GET /a HTTP/1.0\r\n\r\n", up: "GET /a HTTP/1.1\r\nHost: \r\nVia: 1.0 fairlead\r\n\r\n",
		reply: ok, want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", closes: true},
	{name: "1.0 keep-alive", send: "GET /a HTTP/1.0\r\nHost: web\r\nConnection: Keep-Alive\r\n\r\n",
		up: "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.0 fairlead\r\n\r\n", reply: ok,
		want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"},
	{name: "client asks to close", send: "GET /a HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n", up: upGet, reply: ok,
		want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", closes: true},
	{name: "endpoint asks to close", send: get, up: upGet, reply: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		want: cliOK, fresh: true},
	{name: "length body", send: "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello",
		up: "POST /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\nContent-Length: 5\r\n\r\nhello", reply: ok, want: cliOK},
	{name: "chunked body with extension and trailer",
		send: "POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n" +
			"05;a=b\r\nhello\r\n001\r\n!\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\n",
		up: "POST /a HTTP/1.1\r\nHost: web\r\nTrailer: X-T\r\nVia: 1.1 fairlead\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"5\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n", reply: ok, want: cliOK},
	{name: "trailers that are headers alone",
		send: "POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nCookie: a\r\nContent-Type: b\r\n" +
			"content-encoding: c\r\nContent-Range: d\r\nMax-Forwards: 1\r\nCache-Control: e\r\nX-Forwarded-Client-Cert: f\r\nX-T: 1\r\n\r\n",
		up:    "POST /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n",
		reply: ok, want: cliOK},
	{name: "chunked response with trailer", send: get, up: upGet,
		reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3;x\r\nabc\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n",
		want:  "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nVia: 1.1 fairlead\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"},
	{name: "chunked response to 1.0", send: "GET /a HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n\r\n",
		up:    "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.0 fairlead\r\n\r\n",
		reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
		want:  "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nConnection: close\r\n\r\nabc", closes: true},
	{name: "close-delimited response to 1.1", send: get, up: upGet, reply: "HTTP/1.1 200 OK\r\n\r\nabc", fin: true, fresh: true,
		want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "close-delimited 1.0 response to 1.0", send: "GET /a HTTP/1.0\r\nHost: web\r\n\r\n",
		up:    "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.0 fairlead\r\n\r\n",
		reply: "HTTP/1.0 200 OK\r\n\r\nabc", fin: true, fresh: true,
		want: "HTTP/1.1 200 OK\r\nVia: 1.0 fairlead\r\nConnection: close\r\n\r\nabc", closes: true},
	{name: "1.0 endpoint is not reused", send: get, up: upGet, reply: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		want: "HTTP/1.1 200 OK\r\nVia: 1.0 fairlead\r\nContent-Length: 2\r\n\r\nok", fresh: true},
	{name: "1.0 endpoint with keep-alive", send: get, up: upGet,
		reply: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
		want:  "HTTP/1.1 200 OK\r\nVia: 1.0 fairlead\r\nContent-Length: 2\r\n\r\nok"},
	{name: "bytes after a response poison", send: get, up: upGet, reply: ok, stray: "x", want: cliOK, fresh: true},
	{name: "head", send: "HEAD /a HTTP/1.1\r\nHost: web\r\n\r\n", up: "HEAD /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\n\r\n",
		reply: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 99\r\n\r\n"},
	{name: "head of chunked", send: "HEAD /a HTTP/1.1\r\nHost: web\r\n\r\n", up: "HEAD /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\n\r\n",
		reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		want:  "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{name: "head without length", send: "HEAD /a HTTP/1.1\r\nHost: web\r\n\r\n", up: "HEAD /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\n\r\n",
		reply: "HTTP/1.1 200 OK\r\n\r\n", want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\n\r\n"},
	{name: "204 with a length", send: get, up: upGet, reply: "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
		want: "HTTP/1.1 204 No Content\r\nVia: 1.1 fairlead\r\n\r\n"},
	{name: "304 keeps the length", send: get, up: upGet, reply: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
		want: "HTTP/1.1 304 Not Modified\r\nVia: 1.1 fairlead\r\nContent-Length: 9\r\n\r\n"},
	{name: "no reason phrase", send: get, up: upGet, reply: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		want: "HTTP/1.1 200\r\nVia: 1.1 fairlead\r\nContent-Length: 0\r\n\r\n"},
	{name: "103 then 200", send: get, up: upGet, reply: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + ok,
		want: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + cliOK},
	{name: "1xx is not for 1.0", send: "GET /a HTTP/1.0\r\nHost: web\r\n\r\n", up: "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.0 fairlead\r\n\r\n",
		reply: "HTTP/1.1 103 Early Hints\r\n\r\n" + ok, closes: true,
		want: "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"},
	{name: "hop-by-hop request headers", send: "GET /a HTTP/1.1\r\nHost: web\r\nConnection: X-Drop, Host, content-length, l5d-x, Authorization\r\n" +
		"X-Drop: 1\r\nX-Keep: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: b\r\nTE: gzip\r\nl5d-x: 1\r\n" +
		"Authorization: c\r\nUpgrade: h2c\r\nTrailer: q\r\n\r\n",
		up: "GET /a HTTP/1.1\r\nHost: web\r\nX-Keep: 1\r\nl5d-x: 1\r\nAuthorization: c\r\nVia: 1.1 fairlead\r\n\r\n", reply: ok, want: cliOK},
	{name: "te trailers", send: "GET /a HTTP/1.1\r\nHost: web\r\nTE: trailers, deflate;q=0.5\r\nConnection: te\r\n\r\n",
		up: "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\nConnection: TE\r\nTE: trailers\r\n\r\n", reply: ok, want: cliOK},
	{name: "hop-by-hop response headers", send: get, up: upGet,
		reply: "HTTP/1.1 200 OK\r\nConnection: x-drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
		want:  "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nok"},
	{name: "via is appended", send: "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 a\r\n\r\n",
		up:    "GET /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 a\r\nVia: 1.1 fairlead\r\n\r\n",
		reply: "HTTP/1.1 200 OK\r\nVia: 1.1 b\r\nContent-Length: 2\r\n\r\nok",
		want:  "HTTP/1.1 200 OK\r\nVia: 1.1 b\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nok"},
	{name: "own headers are not taken from clients", send: "GET /a HTTP/1.1\r\nHost: web\r\nl5d-dst-service: /x\r\nL5d-Dst-Client: /x\r\nl5d-dst-residual: /x\r\nL5d-Dtab: /a=>/b\r\nl5d-ctx-dtab: /a=>/b\r\n\r\n",
		up: upGet, reply: ok, want: cliOK},
	{name: "who a client is, it cannot say", send: "GET /a HTTP/1.1\r\nHost: web\r\nX-Forwarded-Client-Cert: Hash=a\r\n\r\n", up: upGet,
		reply: "HTTP/1.1 200 OK\r\nx-forwarded-client-cert: a\r\nContent-Length: 2\r\n\r\nok",
		want:  "HTTP/1.1 200 OK\r\nx-forwarded-client-cert: a\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nok"},
	{name: "absolute form", send: "GET http://web:80/a?b HTTP/1.1\r\nHost: other\r\n\r\n",
		up: "GET /a?b HTTP/1.1\r\nHost: web:80\r\nVia: 1.1 fairlead\r\n\r\n", reply: ok, want: cliOK},
	{name: "absolute form without path", send: "GET HTTP://web HTTP/1.1\r\nHost: web\r\n\r\n",
		up: "GET / HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\n\r\n", reply: ok, want: cliOK},
	{name: "absolute form with a query alone", send: "GET http://web?a=b HTTP/1.1\r\nHost: web\r\n\r\n",
		up: "GET /?a=b HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\n\r\n", reply: ok, want: cliOK},
	{name: "options asterisk", send: "OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n", up: "OPTIONS * HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\n\r\n",
		reply: ok, want: cliOK},
	{name: "unknown expectation passes", send: "GET /a HTTP/1.1\r\nHost: web\r\nExpect: tea\r\n\r\n",
		up: "GET /a HTTP/1.1\r\nHost: web\r\nExpect: tea\r\nVia: 1.1 fairlead\r\n\r\n", reply: ok, want: cliOK},
	{name: "expectation without body is dropped", send: "GET /a HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\n\r\n", up: upGet, reply: ok, want: cliOK},
	{name: "upgrade declined", send: "GET /a HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		up: "GET /a HTTP/1.1\r\nHost: web\r\nUpgrade: websocket\r\nVia: 1.1 fairlead\r\nConnection: Upgrade\r\n\r\n", reply: ok, want: cliOK},
}

func TestWire(t *testing.T) {
	t.Parallel()
	for _, tc := range wireCases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			runWire(t, tc, false)
		})
		t.Run(tc.name+" byte by byte", func(t *testing.T) {
			t.Parallel()
			runWire(t, tc, true)
		})
	}
}

func runWire(t *testing.T, tc wireCase, slow bool) {
	e := newEndpoint(t, func(i int, c *client) {
		if i == 0 {
			c.expectSame(tc.up)
			last := max(0, len(tc.reply)-1)
			c.write(tc.reply[:last], slow)
			c.reply(tc.reply[last:] + tc.stray) // at once: what comes later may meet the next request on this connection
			if tc.fin {
				return
			}
		}
		for {
			if _, ok := c.tryHead(); !ok {
				return
			}
			c.reply(ok)
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	c.write(tc.send, slow)
	c.expectSame(tc.want)
	if tc.closes {
		c.expectEOF()
		return
	}
	c.send(get)
	c.expect(cliOK)
	want := int64(1)
	if tc.fresh {
		want = 2
	}
	if n := e.conns.Load(); n != want {
		t.Errorf("%d connections to the endpoint, want %d", n, want)
	}
}

// write sends s, byte by byte if slow, so that every state of the parsers sees the end of what was read.
func (c *client) write(s string, slow bool) {
	if !slow {
		c.reply(s)
		return
	}
	for i := range len(s) {
		c.reply(s[i : i+1])
	}
}

// expectSame is expect, but chunks may be cut elsewhere: runs of chunks are joined before they are compared.
func (c *client) expectSame(want string) {
	c.tb.Helper()
	i := strings.Index(want, "Transfer-Encoding: chunked\r\n\r\n")
	if i < 0 || strings.HasPrefix(want, "HEAD") || strings.HasSuffix(want, "\r\n\r\n") && !strings.Contains(want[i:], "0\r\n") {
		c.expect(want)
		return
	}
	i += len("Transfer-Encoding: chunked\r\n\r\n")
	c.expect(want[:i])
	gotData, gotTrail := c.chunks(c.tb)
	w := &client{tb: c.tb, r: newReader(want[i:])}
	wantData, wantTrail := w.chunks(c.tb)
	if gotData != wantData || gotTrail != wantTrail {
		c.tb.Fatalf("got body %q and trailers %q, want %q and %q", gotData, gotTrail, wantData, wantTrail)
	}
}

// chunks decodes a chunked body strictly as this relay writes it: minimal lower-case hex, no extension.
func (c *client) chunks(tb testing.TB) (data, trailers string) {
	tb.Helper()
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			tb.Fatalf("chunk size: %v", err)
		}
		n := 0
		for _, d := range strings.TrimSuffix(l, "\r\n") {
			n = n<<4 | strings.IndexRune("0123456789abcdef", d)
		}
		if n < 0 || l[0] == '0' && l != "0\r\n" {
			tb.Fatalf("chunk size line %q", l)
		}
		if n == 0 {
			break
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, b); err != nil || string(b[n:]) != "\r\n" {
			tb.Fatalf("chunk data %q: %v", b, err)
		}
		data += string(b[:n])
	}
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			tb.Fatalf("trailers: %v", err)
		}
		if l == "\r\n" {
			return data, trailers
		}
		trailers += l
	}
}
