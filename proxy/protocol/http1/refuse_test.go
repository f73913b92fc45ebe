package http1

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

const hd = "Host: web\r\n"

func post(h, body string) string { return "POST / HTTP/1.1\r\n" + hd + h + "\r\n" + body }

var refused = map[string]struct{ send, reason, status string }{
	"no version":            {"GET /\r\n\r\n", ReasonBadRequestLine, "400"},
	"two blanks":            {"GET  / HTTP/1.1\r\n" + hd + "\r\n", ReasonBadRequestLine, "400"},
	"lower case version":    {"GET / http/1.1\r\n" + hd + "\r\n", ReasonBadRequestLine, "400"},
	"version 2":             {"GET / HTTP/2.0\r\n" + hd + "\r\n", ReasonBadVersion, "505"},
	"version 1.2":           {"GET / HTTP/1.2\r\n" + hd + "\r\n", ReasonBadVersion, "505"},
	"method not a token":    {"G@T / HTTP/1.1\r\n" + hd + "\r\n", ReasonBadRequestLine, "400"},
	"control in target":     {"GET /\x01 HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"fragment":              {"GET /a#b HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"fragment, absolute":    {"GET http://web#b HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"relative target":       {"GET a HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"asterisk get":          {"GET * HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"https target":          {"GET https://web/ HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"userinfo":              {"GET http://a@web/ HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"empty authority":       {"GET http:/// HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"connect to a path":     {"CONNECT /web HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"connect without port":  {"CONNECT web HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"connect to port 0":     {"CONNECT web:0 HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"connect to a URL":      {"CONNECT http://web:443/ HTTP/1.1\r\n" + hd + "\r\n", ReasonBadTarget, "400"},
	"connect without Host":  {"CONNECT web:443 HTTP/1.1\r\n\r\n", ReasonBadHost, "400"},
	"connect with length":   {"CONNECT web:443 HTTP/1.1\r\n" + hd + "Content-Length: 1\r\n\r\n", ReasonConnectBody, "400"},
	"connect with chunks":   {"CONNECT web:443 HTTP/1.1\r\n" + hd + "Transfer-Encoding: chunked\r\n\r\n", ReasonConnectBody, "400"},
	"bare LF line":          {"GET / HTTP/1.1\n" + hd + "\r\n", ReasonBadHeader, "400"},
	"bare LF header":        {"GET / HTTP/1.1\r\nHost: web\n\r\n", ReasonBadHeader, "400"},
	"bare CR":               {"GET / HTTP/1.1\r\n" + hd + "A: b\rc\r\n\r\n", ReasonBadHeader, "400"},
	"nul in value":          {"GET / HTTP/1.1\r\n" + hd + "A: b\x00\r\n\r\n", ReasonBadHeader, "400"},
	"folded":                {"GET / HTTP/1.1\r\n" + hd + "A: b\r\n c\r\n\r\n", ReasonBadHeader, "400"},
	"blank before colon":    {"GET / HTTP/1.1\r\n" + hd + "A : b\r\n\r\n", ReasonBadHeader, "400"},
	"empty name":            {"GET / HTTP/1.1\r\n" + hd + ": b\r\n\r\n", ReasonBadHeader, "400"},
	"no colon":              {"GET / HTTP/1.1\r\n" + hd + "ab\r\n\r\n", ReasonBadHeader, "400"},
	"no host":               {"GET / HTTP/1.1\r\n\r\n", ReasonBadHost, "400"},
	"two hosts":             {"GET / HTTP/1.1\r\n" + hd + hd + "\r\n", ReasonBadHost, "400"},
	"two hosts in 1.0":      {"GET / HTTP/1.0\r\n" + hd + hd + "\r\n", ReasonBadHost, "400"},
	"two hosts, absolute":   {"GET http://a/ HTTP/1.1\r\n" + hd + hd + "\r\n", ReasonBadHost, "400"},
	"host with path":        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ReasonBadHost, "400"},
	"host with userinfo":    {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", ReasonBadHost, "400"},
	"host list":             {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", ReasonBadHost, "400"},
	"both framings":         {post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), ReasonBadTransferEncoding, "400"},
	"te in 1.0":             {"POST / HTTP/1.0\r\n" + hd + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ReasonBadTransferEncoding, "400"},
	"te twice":              {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), ReasonBadTransferEncoding, "400"},
	"te list":               {post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), ReasonUnsupportedTE, "501"},
	"te identity":           {post("Transfer-Encoding: identity\r\n", ""), ReasonUnsupportedTE, "501"},
	"te with vertical tab":  {post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), ReasonBadHeader, "400"},
	"differing lengths":     {post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), ReasonBadContentLength, "400"},
	"equal lengths":         {post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), ReasonBadContentLength, "400"},
	"length list":           {post("Content-Length: 3, 3\r\n", "abc"), ReasonBadContentLength, "400"},
	"signed length":         {post("Content-Length: +3\r\n", "abc"), ReasonBadContentLength, "400"},
	"hex length":            {post("Content-Length: 0x3\r\n", "abc"), ReasonBadContentLength, "400"},
	"empty length":          {post("Content-Length:\r\n", ""), ReasonBadContentLength, "400"},
	"huge length":           {post("Content-Length: 99999999999999999999\r\n", ""), ReasonBadContentLength, "400"},
	"connection not tokens": {"GET / HTTP/1.1\r\n" + hd + "Connection: a b\r\n\r\n", ReasonBadConnection, "400"},
	"connection list":       {"GET / HTTP/1.1\r\n" + hd + "Connection: " + strings.Repeat("a,", 40) + "\r\n\r\n", ReasonBadConnection, "400"},
	"long line":             {"GET /" + strings.Repeat("a", 4<<10) + " HTTP/1.1\r\n" + hd + "\r\n", ReasonLineTooLong, "414"},
	"long unfinished line":  {"GET /" + strings.Repeat("a", 5<<10), ReasonLineTooLong, "414"},
	"large headers":         {"GET / HTTP/1.1\r\n" + hd + strings.Repeat("A: "+strings.Repeat("b", 997)+"\r\n", 9) + "\r\n", ReasonHeaderTooLarge, "431"},
	"large unfinished":      {"GET / HTTP/1.1\r\n" + hd + "A: " + strings.Repeat("b", 9<<10), ReasonHeaderTooLarge, "431"},
	"many headers":          {"GET / HTTP/1.1\r\n" + hd + strings.Repeat("A: b\r\n", 100) + "\r\n", ReasonTooManyHeaders, "431"},
	"depth":                 {"GET / HTTP/1.1\r\n" + hd + "Via: 1.1 a, 1.1 b, 1.1 c\r\nVia: 1.1 d\r\n\r\n", ReasonCallDepth, "400"},
	"bad chunk":             {post("Transfer-Encoding: chunked\r\n", "x\r\n"), ReasonBadChunk, "400"},
	"chunk size blank":      {post("Transfer-Encoding: chunked\r\n", "1 \r\na\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"chunk size sign":       {post("Transfer-Encoding: chunked\r\n", "+1\r\na\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"chunk size LF":         {post("Transfer-Encoding: chunked\r\n", "1\na\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"chunk size overflow":   {post("Transfer-Encoding: chunked\r\n", "10000000000000001\r\na\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"chunk longer":          {post("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"chunk extension":       {post("Transfer-Encoding: chunked\r\n", "1;"+strings.Repeat("a", 300)+"\r\na\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"chunk extension LF":    {post("Transfer-Encoding: chunked\r\n", "1;a\nb\r\na\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"bare LF after data":    {post("Transfer-Encoding: chunked\r\n", "3\r\nabc\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"chunk shorter":         {post("Transfer-Encoding: chunked\r\n", "4\r\nabc\r\n0\r\n\r\n"), ReasonBadChunk, "400"},
	"bad trailer behind":    {post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nA b\r\n\r\n"), ReasonBadTrailer, "400"},
	"bad trailer":           {post("Transfer-Encoding: chunked\r\n", "0\r\nA b\r\n\r\n"), ReasonBadTrailer, "400"},
	"folded trailer":        {post("Transfer-Encoding: chunked\r\n", "0\r\nA: b\r\n c\r\n\r\n"), ReasonBadTrailer, "400"},
	"large trailers":        {post("Transfer-Encoding: chunked\r\n", "0\r\n"+strings.Repeat("A: "+strings.Repeat("b", 997)+"\r\n", 9)+"\r\n"), ReasonHeaderTooLarge, "431"},
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		if h, ok := c.tryHead(); ok {
			t.Errorf("a refused request reached the endpoint: %q", h)
		}
	})
	for name, tc := range refused {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{limits: Limits{CallDepth: 3}, obs: newSeen()}, e.addr)
			c := r.dial()
			c.send(tc.send)
			h := c.head()
			if !strings.HasPrefix(h, "HTTP/1.1 "+tc.status+" ") || strings.Contains(h, "\r\nConnection: close\r\n") == (name == "depth") ||
				!strings.Contains(h, "\r\nl5d-err: ") {
				t.Fatalf("got %q", h)
			}
			_ = c.c.CloseWrite()
			got := r.s.observer.(*seen).next(t)
			if got.Reason != tc.reason || got.Status == 0 {
				t.Errorf("got reason %q, status %d, want %q", got.Reason, got.Status, tc.reason)
			}
			if got.Class != classify.Ignored { // whatever the status: it is the client's mistake
				t.Errorf("got class %v", got.Class)
			}
		})
	}
}

// Who sent too much is told how much is allowed, and what sets it.
func TestRefusalsNameTheLimit(t *testing.T) {
	t.Parallel()
	const hd = "Host: web\r\n"
	for name, tc := range map[string]struct{ send, want string }{
		"line":    {"GET /" + strings.Repeat("a", 4<<10) + " HTTP/1.1\r\n" + hd + "\r\n", "(4096 bytes; see maxInitialLineKB)"},
		"headers": {"GET / HTTP/1.1\r\n" + hd + "A: " + strings.Repeat("b", 9<<10) + "\r\n\r\n", "(8192 bytes; see maxHeadersKB)"},
		"count":   {"GET / HTTP/1.1\r\n" + hd + strings.Repeat("A: b\r\n", 100) + "\r\n", "(100 lines)"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRig(t, rigOptions{}).dial()
			c.send(tc.send)
			h := c.head()
			_, after, _ := strings.Cut(h, "l5d-err: ")
			enc, _, _ := strings.Cut(after, "\r\n")
			if got, err := url.QueryUnescape(enc); err != nil || !strings.HasSuffix(got, tc.want) {
				t.Errorf("%q, %v, want it to end in %q", got, err, tc.want)
			}
		})
	}
}

// seen is an Observer that keeps the outcomes.
type seen struct {
	noObserver
	ch chan Outcome
}

func newSeen() *seen { return &seen{ch: make(chan Outcome, 1000)} }

func (s *seen) RequestFinished(_ uint32, o *Outcome) { s.ch <- *o }

func (s *seen) next(tb testing.TB) Outcome {
	tb.Helper()
	eventually(tb, "a request is finished", func() bool { return len(s.ch) > 0 })
	return <-s.ch
}

func TestRouterFailure(t *testing.T) {
	t.Parallel()
	msg := "no such name: /svc/é " + strings.Repeat("x", 2000)
	r := newRig(t, rigOptions{router: failRouter{&Failure{502, "no-binding", msg}}, obs: newSeen()})
	c := r.dial()
	// The body was read with the head, so the connection stays usable.
	c.send("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc")
	for i := range 2 {
		h := c.head()
		_, after, _ := strings.Cut(h, "l5d-err: ")
		enc, _, _ := strings.Cut(after, "\r\n")
		dec, err := url.QueryUnescape(enc)
		if err != nil || !strings.HasPrefix("no-binding: "+msg, dec) || len(enc) > 1<<10 || len(enc) < 1<<10-3 {
			t.Fatalf("request %d: l5d-err of %d bytes: %q, %v", i, len(enc), enc, err)
		}
		if !strings.HasPrefix(h, "HTTP/1.1 502 Bad Gateway\r\n") || strings.Contains(h, "Connection") {
			t.Fatalf("got %q", h)
		}
		// A terminal's prompt begins on a line of its own, and Content-Length counts that line's end.
		body := "no-binding: " + msg + "\n"
		if length := fmt.Sprintf("\r\nContent-Length: %d\r\n", len(body)); !strings.Contains(h, length) {
			t.Fatalf("want %q in %q", length, h)
		}
		c.expect(body)
		if i == 0 {
			c.send(get)
		}
	}
	c.send("HEAD /a HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
	c.head()
	c.expectEOF()
	for range 3 {
		if o := r.s.observer.(*seen).next(t); o.Reason != "no-binding" || o.Status != 502 {
			t.Errorf("got %+v", o)
		}
	}
}

func TestNoRouter(t *testing.T) {
	t.Parallel()
	s := NewServer(Options{})
	if s.router.Load() != nil {
		t.Fatal("a router out of nowhere")
	}
	r := newRig(t, rigOptions{})
	r.s.router.Store(nil)
	c := r.dial()
	c.send(get)
	if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") {
		t.Fatalf("got %q", h)
	}
}

func TestBadResponses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ reply, reason string }{
		"not http":          {"hello\r\n\r\n", ReasonBadResponse},
		"http 2":            {"HTTP/2.0 200 OK\r\n\r\n", ReasonBadResponse},
		"status not digits": {"HTTP/1.1 2x0 OK\r\n\r\n", ReasonBadResponse},
		"both framings":     {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", ReasonBadResponse},
		"equal lengths":     {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", ReasonBadResponse},
		"differing lengths": {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", ReasonBadResponse},
		"te in 1.0":         {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ReasonBadResponse},
		"te gzip":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ReasonBadResponse},
		"bare LF":           {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", ReasonBadResponse},
		"uninvited 101":     {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", ReasonBadResponse},
		"endless 1xx":       {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100), ReasonBadResponse},
		"half a head":       {"HTTP/1.1 200 OK\r\nA", ReasonBadResponse},
		"too large":         {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 70<<10) + "\r\n\r\n", ReasonResponseTooLarge},
		"nothing":           {"", ReasonUpstreamClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(_ int, c *client) {
				c.tryHead()
				c.reply(tc.reply)
				_ = c.c.CloseWrite()
				_, _ = c.r.ReadByte() // until the relay closes
			})
			r := newRig(t, rigOptions{}, e.addr)
			c := r.dial()
			c.send(get)
			h := c.head()
			for strings.HasPrefix(h, "HTTP/1.1 102") {
				h = c.head()
			}
			if !strings.HasPrefix(h, "HTTP/1.1 502 Bad Gateway\r\nl5d-err: ") {
				t.Fatalf("got %q", h)
			}
			if o := r.target.outcome(t, 0); o.Reason != tc.reason || o.Status != 502 || o.Node != r.target.nodes[0] {
				t.Errorf("got %+v, want reason %s", o, tc.reason)
			}
		})
	}
}

func TestLargeHeads(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("X-Long: "+strings.Repeat("b", 1000)+"\r\n", 40)
	e := newEndpoint(t, func(_ int, c *client) {
		c.expect("GET /a HTTP/1.1\r\nHost: web\r\n" + big + "Via: 1.1 fairlead\r\n\r\n")
		c.reply("HTTP/1.1 200 OK\r\n" + big + "Content-Length: 2\r\n\r\nok")
	})
	r := newRig(t, rigOptions{limits: Limits{HeaderBytes: 64 << 10}}, e.addr)
	c := r.dial()
	c.send("GET /a HTTP/1.1\r\nHost: web\r\n" + big + "\r\n")
	c.expect("HTTP/1.1 200 OK\r\n" + big + "Via: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nok")
}

func TestLogGate(t *testing.T) {
	t.Parallel()
	var g logGate
	passed := 0
	for range 100 {
		if _, ok := g.pass(5e9); ok {
			passed++
		}
	}
	n, ok := g.pass(6e9)
	if passed != logsPerSecond || !ok || n != 100-logsPerSecond {
		t.Errorf("%d passed, then %d suppressed (%v)", passed, n, ok)
	}
	if transport.Now() <= 0 {
		t.Error("the clock is not positive")
	}
}
