package http1

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestConnectFailures(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, serveOK)
	t.Run("another endpoint is tried, whatever the method", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, rigOptions{}, deadAddr(t), deadAddr(t), e.addr)
		c := r.dial()
		c.send("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n")
		c.expect(cliOK)
		if o := r.target.outcome(t, 0); o.ConnectRetries != 2 || o.Reason != "" || o.Node != r.target.nodes[2] {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("bounded", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, rigOptions{}, deadAddr(t), deadAddr(t), deadAddr(t), e.addr)
		c := r.dial()
		c.send(get)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") || !strings.Contains(h, "l5d-retryable: true\r\n") {
			t.Errorf("got %q", h)
		}
		if o := r.target.outcome(t, 0); o.Reason != ReasonConnectRefused || r.target.picks.Load() != 3 {
			t.Errorf("got %+v after %d picks", o, r.target.picks.Load())
		}
	})
	t.Run("says what was tried", func(t *testing.T) {
		t.Parallel()
		dead, other := deadAddr(t), deadAddr(t)
		r := newRig(t, rigOptions{}, dead, other)
		r.target.service, r.target.client = "/svc/web", "/#/io.l5d.fs/web"
		c := r.dial()
		c.send(get)
		want := "connection refused (service /svc/web, client /#/io.l5d.fs/web, endpoint " + dead.String() +
			": connect-refused, endpoint " + other.String() + ": connect-refused, 2 attempts)"
		encoded, _ := appendForm(nil, want, maxErrHeader)
		if h := c.head(); !strings.Contains(h, string(encoded)+"\r\n") {
			t.Errorf("got %q, want %q at the end of l5d-err", h, want)
		}
	})
	t.Run("no endpoints", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, rigOptions{})
		c := r.dial()
		c.send(get)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") {
			t.Errorf("got %q", h)
		}
		if o := r.target.outcome(t, 0); o.Reason != ReasonNoEndpoints || o.Node != nil {
			t.Errorf("got %+v", o)
		}
	})
}

const postX = "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\nx"

// TestReuseRaces kills the pooled connection when the second request comes over it.
func TestReuseRaces(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second  string
		partial string // what the endpoint still says before it closes
		resent  bool
	}{
		"get":                     {get, "", true},
		"put, buffered":           {"PUT /a HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\nx", "", true},
		"post":                    {postX, "", false},
		"get after a byte":        {get, "H", false},
		"get after an interim":    {get, "HTTP/1.1 103 Early Hints\r\n\r\n", false},
		"put, streamed, buffered": {"PUT /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(i int, c *client) {
				c.tryHead()
				if i == 0 {
					c.reply(ok)
					c.tryHead() // the request that nobody will answer
					c.reply(tc.partial)
					return
				}
				c.reply(ok)
				_, _ = io.Copy(io.Discard, c.r)
			})
			r := newRig(t, rigOptions{}, e.addr)
			c := r.dial()
			c.send(get)
			c.expect(cliOK)
			c.send(tc.second)
			h := c.head()
			for strings.HasPrefix(h, "HTTP/1.1 103") {
				h = c.head()
			}
			o := r.target.outcome(t, 1)
			if tc.resent != strings.HasPrefix(h, "HTTP/1.1 200") || tc.resent != (o.Resends == 1) || tc.resent != (o.Reason == "") {
				t.Errorf("got %q and %+v", h, o)
			}
			want := int64(1)
			if tc.resent {
				want = 2
			}
			if n := e.conns.Load(); n != want {
				t.Errorf("%d connections, want %d", n, want)
			}
		})
	}
}

func TestFreshConnectionIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) { c.tryHead() })
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	c.send(get)
	if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") || e.conns.Load() != 1 {
		t.Errorf("got %q over %d connections", h, e.conns.Load())
	}
}

// TestSpokenOn finds the pooled connection closed, or with a response nobody asked for: no request, however it is sent, may use it.
func TestSpokenOn(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]string{
		"whole":    postX,
		"streamed": "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000),
		"held":     "POST /a HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
	} {
		for spoilt, unasked := range map[string]string{"closed": "", "spoken on": "HTTP/1.1 299 no\r\nContent-Length: 0\r\n\r\n"} {
			t.Run(name+", "+spoilt, func(t *testing.T) {
				t.Parallel()
				pooled, said := make(chan struct{}), make(chan struct{})
				e := newEndpoint(t, func(i int, c *client) {
					c.tryHead()
					c.reply(ok)
					if i == 0 {
						<-pooled
						c.reply(unasked)
						_ = c.c.CloseWrite()
						close(said)
					}
					if n, _ := io.Copy(io.Discard, c.r); i == 0 && n > 0 {
						t.Errorf("%d bytes were sent on the spoilt connection", n)
					}
				})
				r := newRig(t, rigOptions{}, e.addr)
				c := r.dial()
				c.send(get)
				c.expect(cliOK)
				close(pooled)
				<-said
				c.send(second)
				if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 200 OK\r\n") {
					t.Errorf("got %q", h)
				}
				if o := r.target.outcome(t, 1); o.Resends != 0 || e.conns.Load() != 2 {
					t.Errorf("got %+v over %d connections", o, e.conns.Load())
				}
			})
		}
	}
}

func TestReuseRaceMovesOn(t *testing.T) {
	t.Parallel()
	other := newEndpoint(t, serveOK)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		c := &client{tb: t, c: nc.(*net.TCPConn), r: newReader("")}
		c.r.Reset(nc)
		c.tryHead()
		c.reply(ok)
		c.tryHead()
		_ = l.Close()
		_ = nc.Close()
	}()
	r := newRig(t, rigOptions{}, addr, other.addr)
	c := r.dial()
	c.send(get)
	c.expect(cliOK)
	c.send(get)
	c.expect(cliOK)
	if o := r.target.outcome(t, 1); o.Resends != 1 || o.ConnectRetries != 1 || o.Node != r.target.nodes[1] {
		t.Errorf("got %+v", o)
	}
}
