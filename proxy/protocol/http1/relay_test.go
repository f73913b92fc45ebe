package http1

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// serveOK answers every request without a body with ok.
func serveOK(_ int, c *client) {
	for {
		if _, ok := c.tryHead(); !ok {
			return
		}
		c.reply(ok)
	}
}

func TestPipeliningInOrder(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			h, ok := c.tryHead()
			if !ok {
				return
			}
			path := strings.Fields(h)[1]
			c.reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + path)
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	var all strings.Builder
	for i := range 10 {
		all.WriteString("GET /" + string(rune('0'+i)) + " HTTP/1.1\r\nHost: web\r\n\r\n")
	}
	c.send(all.String())
	for i := range 10 {
		c.expect("HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\n/" + string(rune('0'+i)))
	}
	if n := e.conns.Load(); n != 1 {
		t.Errorf("%d connections to the endpoint", n)
	}
}

func TestTargetHeadersAndOutcome(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.expect("POST /a HTTP/1.1\r\nHost: web\r\nVia: 1.1 fairlead\r\nl5d-dst-service: /svc/web\r\nContent-Length: 3\r\n\r\nabc")
		c.reply("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")
	})
	r := newRig(t, rigOptions{}, e.addr)
	r.target.headers = "l5d-dst-service: /svc/web\r\n"
	c := r.dial()
	c.send("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc")
	c.expect("HTTP/1.1 503 No\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nno")
	o := r.target.outcome(t, 0)
	if o.Status != 503 || o.Class != classify.Failure || o.Reason != "" || o.RequestBytes != 3 || o.ResponseBytes != 2 ||
		o.Node != r.target.nodes[0] || o.StartNs <= 0 || o.HeadNs < o.StartNs || o.EndNs < o.HeadNs || o.LatencyNs() < 0 {
		t.Errorf("got %+v", o)
	}
}

// TestLargeBodies sends bodies of both framings both ways and compares every byte.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	data := make([]byte, 3<<20+7)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	for name, chunked := range map[string]bool{"length": false, "chunked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			framing := "Content-Length: 3145735\r\n\r\n"
			if chunked {
				framing = "Transfer-Encoding: chunked\r\n\r\n"
			}
			e := newEndpoint(t, func(_ int, c *client) { // an echo that answers while it reads
				for {
					h, ok := c.tryHead()
					if !ok {
						return
					}
					c.reply("HTTP/1.1 200 OK\r\n" + framing)
					if chunked {
						d, _ := c.chunks(t)
						c.reply("5\r\n" + d[:5] + "\r\n" + "300002\r\n" + d[5:] + "\r\n0\r\n\r\n")
					} else if strings.Contains(h, "Content-Length") {
						_, _ = io.CopyN(c.c, c.r, int64(len(data)))
					}
				}
			})
			r := newRig(t, rigOptions{}, e.addr)
			c := r.dial()
			for range 2 {
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					c.reply("PUT /a HTTP/1.1\r\nHost: web\r\n" + framing)
					if chunked {
						c.reply("300006\r\n" + string(data[:len(data)-1]) + "\r\n1\r\n" + string(data[len(data)-1:]) + "\r\n0\r\n\r\n")
						return
					}
					_, _ = c.c.Write(data)
				}()
				c.expect("HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\n" + framing)
				var got []byte
				if chunked {
					d, _ := c.chunks(t)
					got = []byte(d)
				} else {
					got = make([]byte, len(data))
					_, _ = io.ReadFull(c.r, got)
				}
				<-sent
				if !bytes.Equal(got, data) {
					t.Fatalf("%d bytes came back, not as they were sent", len(got))
				}
			}
			if o := r.target.outcome(t, 1); o.RequestBytes != int64(len(data)) || o.ResponseBytes != int64(len(data)) {
				t.Errorf("got %+v", o)
			}
			if n := e.conns.Load(); n != 1 {
				t.Errorf("%d connections to the endpoint", n)
			}
		})
	}
}

func TestBackPressure(t *testing.T) {
	t.Parallel()
	// The endpoint writes without end; the client reads nothing. What the endpoint can get rid of is bounded by socket buffers.
	stuck := make(chan int64, 1)
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		_ = c.c.SetWriteBuffer(64 << 10)
		var total int64
		b := make([]byte, 64<<10)
		for {
			_ = c.c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := c.c.Write(b)
			total += int64(n)
			if err != nil {
				stuck <- total
				return
			}
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	_ = c.c.SetReadBuffer(64 << 10)
	c.send(get)
	if n := <-stuck; n > 64<<20 {
		t.Errorf("the endpoint could write %d bytes that nobody read", n)
	}
	if n := r.s.Buffers().Outstanding(); n > 3 {
		t.Errorf("%d buffers in use by one request", n)
	}
	_ = c.c.Close()
	if o := r.target.outcome(t, 0); o.Reason != ReasonUpstreamTruncated && o.Reason != ReasonClientClosed {
		t.Errorf("got %+v", o)
	}
}

func TestStalledClientIsDropped(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		b := make([]byte, 64<<10)
		for {
			if _, err := c.c.Write(b); err != nil {
				return
			}
		}
	})
	r := newRig(t, rigOptions{limits: Limits{StallTimeout: 50 * time.Millisecond}}, e.addr)
	c := r.dial()
	c.send(get)
	if o := r.target.outcome(t, 0); o.Reason != ReasonClientStalled || o.Class != classify.Ignored {
		t.Errorf("got %+v", o)
	}
}

func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, serveOK)
	r := newRig(t, rigOptions{}, e.addr)
	for range 5 {
		c := r.dial()
		c.send(get)
		c.expect(cliOK)
	}
	eventually(t, "idle connections hold no buffer", func() bool { return r.s.Buffers().Outstanding() == 0 })
}

func TestTruncatedResponses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ reply, want string }{
		"length":  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 5\r\n\r\nab"},
		"chunked": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"},
		"chunk":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nx", "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(_ int, c *client) {
				c.tryHead()
				c.reply(tc.reply)
			})
			r := newRig(t, rigOptions{}, e.addr)
			c := r.dial()
			c.send(get)
			c.expect(tc.want)
			if b, err := io.ReadAll(c.r); len(b) > 0 {
				t.Errorf("then %q, %v", b, err)
			}
			o := r.target.outcome(t, 0)
			if o.Class != classify.Failure || o.Reason != ReasonUpstreamTruncated && o.Reason != ReasonBadResponse {
				t.Errorf("got %+v", o)
			}
		})
	}
	t.Run("close-delimited, reset", func(t *testing.T) {
		t.Parallel()
		read := make(chan struct{})
		e := newEndpoint(t, func(_ int, c *client) {
			c.tryHead()
			c.reply("HTTP/1.0 200 OK\r\n\r\nab")
			<-read
			_ = c.c.SetLinger(0)
		})
		r := newRig(t, rigOptions{}, e.addr)
		c := r.dial()
		c.send("GET /a HTTP/1.0\r\n\r\n")
		c.expect("HTTP/1.1 200 OK\r\nVia: 1.0 fairlead\r\nConnection: close\r\n\r\nab")
		close(read)
		if _, err := c.r.ReadByte(); err == nil || err == io.EOF {
			t.Errorf("got %v: a cut body looks whole", err)
		}
	})
}

func TestEarlyResponse(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, c.r)
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	c.send("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000000\r\n\r\nabc")
	c.expect("HTTP/1.1 413 Content Too Large\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	c.expectEOF()
	if o := r.target.outcome(t, 0); o.Status != 413 || o.Reason != "" {
		t.Errorf("got %+v", o)
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	const send = "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n"
	const up = "POST /a HTTP/1.1\r\nHost: web\r\nExpect: 100-Continue\r\nVia: 1.1 fairlead\r\nContent-Length: 3\r\n\r\n"
	t.Run("100 then body", func(t *testing.T) {
		t.Parallel()
		e := newEndpoint(t, func(_ int, c *client) {
			c.expect(up)
			c.reply("HTTP/1.1 100 Continue\r\n\r\n")
			c.expect("abc")
			c.reply(ok)
			serveOK(0, c)
		})
		r := newRig(t, rigOptions{limits: Limits{ContinueTimeout: limit}}, e.addr)
		c := r.dial()
		c.send(send)
		c.expect("HTTP/1.1 100 Continue\r\n\r\n")
		c.send("abc")
		c.expect(cliOK)
		c.send(get)
		c.expect(cliOK)
	})
	t.Run("refused, body never sent", func(t *testing.T) {
		t.Parallel()
		e := newEndpoint(t, func(_ int, c *client) {
			c.expect(up)
			c.reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			if b, err := c.r.ReadByte(); err == nil {
				t.Errorf("the endpoint got %q", b)
			}
		})
		r := newRig(t, rigOptions{limits: Limits{ContinueTimeout: limit}}, e.addr)
		c := r.dial()
		c.send(send + "abc") // without waiting: still none of it may pass
		c.expect("HTTP/1.1 403 Forbidden\r\nVia: 1.1 fairlead\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		c.expectEOF()
	})
	t.Run("endpoint says nothing", func(t *testing.T) {
		t.Parallel()
		e := newEndpoint(t, func(_ int, c *client) {
			c.expect(up)
			c.expect("abc")
			c.reply(ok)
			serveOK(0, c)
		})
		r := newRig(t, rigOptions{limits: Limits{ContinueTimeout: 20 * time.Millisecond}}, e.addr)
		c := r.dial()
		c.send(send + "abc")
		c.expect(cliOK)
		c.send(get)
		c.expect(cliOK)
	})
}

func TestClientFailsInBody(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		_, _ = io.Copy(io.Discard, c.r)
	})
	for name, tc := range map[string]struct {
		body, reason, head string
		fin                bool
	}{
		"bad chunk": {"5\r\nhello\r\nx\r\n", ReasonBadChunk, "HTTP/1.1 400 ", false},
		"stalled":   {"5\r\nhe", ReasonBodyTimeout, "HTTP/1.1 408 ", false},
		"closed":    {"5\r\nhe", ReasonClientClosed, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stall := limit
			if name == "stalled" {
				stall = 50 * time.Millisecond
			}
			r := newRig(t, rigOptions{limits: Limits{StallTimeout: stall}}, e.addr)
			c := r.dial()
			c.send("POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n")
			c.send(tc.body)
			if tc.fin {
				_ = c.c.Close()
			} else if h := c.head(); !strings.HasPrefix(h, tc.head) {
				t.Errorf("got %q", h)
			}
			if o := r.target.outcome(t, 0); o.Reason != tc.reason || o.Class != classify.Ignored {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// asking is a Router that keeps what it can see of a request.
type asking struct {
	Target
	seen chan string
}

func (a asking) Route(_ uint32, r *Request) (Target, *Failure) {
	s := string(r.Method()) + " " + string(r.Host()) + " " + string(r.Target()) + " " + string(r.HeaderValue("x-A"))
	r.Headers(func(name, value []byte) bool {
		s += "|" + string(name) + "=" + string(value)
		return string(name) != "Last"
	})
	if r.ContentLength() == -1 && r.Minor() == 1 && r.Client().Addr().IsLoopback() && r.HeaderValue("None") == nil {
		s += " chunked"
	}
	a.seen <- s
	return a.Target, nil
}

func TestRequestView(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, serveOK)
	r := newRig(t, rigOptions{}, e.addr)
	a := asking{Target: r.target, seen: make(chan string, 1)}
	r.s.SetRouter(a)
	c := r.dial()
	c.send("POST http://Web:80/p?q HTTP/1.1\r\nHost: x\r\nX-a: 1\r\nX-A: 2\r\nTransfer-Encoding: chunked\r\nLast: \r\nMore: y\r\n\r\n0\r\n\r\n")
	if got, want := <-a.seen, "POST Web:80 /p?q 1|Host=x|X-a=1|X-A=2|Transfer-Encoding=chunked|Last= chunked"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
