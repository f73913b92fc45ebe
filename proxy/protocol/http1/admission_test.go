package http1

import (
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const nack = "HTTP/1.1 503 Service Unavailable\r\nfinagle-http-nack: true\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"

// holdingEndpoint says when it was asked, and answers when it is told to.
func holdingEndpoint(t *testing.T) (e *endpoint, asked, answer chan struct{}) {
	asked, answer = make(chan struct{}, 8), make(chan struct{}, 8)
	e = newEndpoint(t, func(_ int, c *client) {
		for {
			if _, ok := c.tryHead(); !ok {
				return
			}
			asked <- struct{}{}
			select {
			case <-answer:
			case <-t.Context().Done():
				return
			}
			c.reply(ok)
		}
	})
	return e, asked, answer
}

// TestMaxRequests: the request after the last one that may be under way is refused at once, on a connection that goes on, and the next
// one is taken once another has ended.
func TestMaxRequests(t *testing.T) {
	t.Parallel()
	e, asked, answer := holdingEndpoint(t)
	arrive := func() {
		t.Helper()
		deadline := time.NewTimer(limit)
		defer deadline.Stop()
		select {
		case <-asked:
		case <-deadline.C:
			t.Fatal("the endpoint was not asked")
		}
	}
	for _, edge := range []bool{false, true} {
		r := newRig(t, rigOptions{}, e.addr)
		r.s.SetMaxRequests(2)
		r.s.SetClearContext(edge)
		clients := []*client{r.dial(), r.dial(), r.dial()}
		for _, c := range clients[:2] {
			c.send(get)
			arrive()
		}
		clients[2].send("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi")
		h := clients[2].head()
		if !strings.HasPrefix(h, "HTTP/1.1 503 ") || !strings.Contains(h, "\r\nfinagle-http-nack: true\r\nRetry-After: 0\r\n") ||
			strings.Contains(h, "l5d-") || strings.Contains(h, "Connection: close") {
			t.Errorf("at the edge (%t): the third got %q", edge, h)
		}
		if body := "overload: " + errOverload.Message + "\n"; !edge {
			clients[2].expect(body)
		}
		answer <- struct{}{}
		answer <- struct{}{}
		for i, c := range clients[:2] {
			if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 200 ") {
				t.Errorf("request %d got %q", i, h)
			}
			c.expect("ok")
			r.target.outcome(t, i) // and is no longer under way
		}
		clients[2].send(get)
		arrive()
		answer <- struct{}{}
		if h := clients[2].head(); !strings.HasPrefix(h, "HTTP/1.1 200 ") {
			t.Errorf("the third then got %q", h)
		}
		r.s.SetMaxRequests(0)
		if n := r.s.admission.pending.Load(); n < 0 || n > 1 {
			t.Errorf("%d requests are under way", n)
		}
		r.stop()
	}
}

// TestSharedAdmission: servers that share a bound have it together, beside their own, and a request that one of the two refuses takes no
// place of the other.
func TestSharedAdmission(t *testing.T) {
	t.Parallel()
	e, asked, answer := holdingEndpoint(t)
	var shared Admission
	shared.SetLimit(2)
	rigs := []*rig{newRig(t, rigOptions{}, e.addr), newRig(t, rigOptions{}, e.addr)}
	for _, r := range rigs {
		r.s.SetAdmission(&shared)
	}
	rigs[0].s.SetMaxRequests(1)
	held := []*client{rigs[0].dial(), rigs[1].dial()}
	refuse := func(r *rig) {
		t.Helper()
		c := r.dial()
		c.send(get)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 503 ") || !strings.Contains(h, "\r\nfinagle-http-nack: true\r\n") {
			t.Errorf("beyond the bound: %q", h)
		}
	}
	held[0].send(get)
	<-asked
	refuse(rigs[0]) // by its own bound, though there is room below the shared one
	held[1].send(get)
	<-asked
	refuse(rigs[1]) // by the shared one, though it has none of its own
	answer <- struct{}{}
	answer <- struct{}{}
	for i, c := range held {
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 200 ") {
			t.Errorf("request %d got %q", i, h)
		}
	}
	for _, r := range rigs {
		r.stop()
	}
	if n := shared.pending.Load(); n != 0 {
		t.Errorf("%d requests are under way", n)
	}
}

// TestNack: a request that its endpoint, or the hop, did not take goes to another one, whatever its method; the response is passed on where
// there is no other, or the request cannot be sent again.
func TestNack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		send, refusal string
		hop, alone    bool
		status        string
		retries       int
		kept          bool // the connection of the one that refused
	}{
		"get":                    {send: get, refusal: nack, status: "200", retries: 1, kept: true},
		"post":                   {send: postX, refusal: nack, status: "200", retries: 1, kept: true},
		"post by a hop":          {send: postX, refusal: nack, hop: true, status: "200", retries: 1, kept: true},
		"with a body":            {send: postX, refusal: strings.Replace(nack, "0\r\n\r\n", "2\r\n\r\nno", 1), status: "200", retries: 1, kept: true},
		"that closes":            {send: postX, refusal: strings.Replace(nack, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1), status: "200", retries: 1},
		"stream":                 {send: bigPost + strings.Repeat("x", 200000), refusal: nack, status: "503"},
		"from the only endpoint": {send: get, refusal: nack, alone: true, status: "503", kept: true},
		"without the header":     {send: get, refusal: strings.Replace(nack, "finagle-http-nack", "x", 1), status: "200", retries: 1, kept: true},
		"without it, post":       {send: postX, refusal: strings.Replace(nack, "finagle-http-nack", "x", 1), status: "503", kept: true},
		"come again later":       {send: get, refusal: answer("503 No", "Retry-After: 10"), status: "503", kept: true},
		"another status":         {send: get, refusal: strings.Replace(nack, "503", "500", 1), status: "500", kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusing := newEndpoint(t, func(_ int, c *client) {
				for {
					h, whole := c.tryHead()
					if !whole {
						return
					}
					if strings.Contains(h, "200000") {
						_, _ = io.CopyN(io.Discard, c.r, 200000)
					} else if strings.HasPrefix(h, "POST") {
						_, _ = io.CopyN(io.Discard, c.r, 1)
					}
					c.reply(tc.refusal)
				}
			})
			taking := newEndpoint(t, func(_ int, c *client) {
				_, _ = c.tryHead()
				c.reply(ok)
				_, _ = io.Copy(io.Discard, c.r)
			})
			r := newRig(t, rigOptions{}, refusing.addr, taking.addr)
			if tc.hop {
				r.withHop(refusing.addr)
			}
			if tc.alone {
				r.target.nodes = r.target.nodes[:1]
			}
			c := r.dial()
			c.send(tc.send)
			if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 "+tc.status) {
				t.Errorf("got %q", h)
			}
			o := r.target.outcome(t, 0)
			if o.ConnectRetries != tc.retries {
				t.Errorf("outcome %+v", o)
			}
			kept := int64(0)
			if tc.kept {
				kept++
			}
			if tc.status == "200" {
				kept++
			}
			if got := r.pools.Idle(); got != kept && !strings.HasPrefix(tc.send, bigPost) {
				t.Errorf("%d connections are kept, want %d", got, kept)
			}
		})
	}
}

// TestMaxRequestsOneAfterTheOther: who has the whole answer can ask again, on whatever connection: the request before is no longer under
// way then, although what follows the answer (here: its target is told of the outcome) is not done.
func TestMaxRequestsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			if _, whole := c.tryHead(); !whole {
				return
			}
			c.reply(ok)
		}
	})
	for name, tc := range map[string]struct {
		at     netip.AddrPort
		status int
		want   string
	}{
		"by an endpoint": {at: e.addr, want: "200"}, "a failure": {at: deadAddr(t), want: "502"}, "by the rules": {at: e.addr, status: 204, want: "204"},
	} {
		r := newRig(t, rigOptions{}, tc.at)
		r.target.status = tc.status
		r.s.SetMaxRequests(1)
		r.target.mu.Lock() // holds every Finish
		for i, c := range []*client{r.dial(), r.dial()} {
			c.send("HEAD /a HTTP/1.1\r\n" + hd + "\r\n")
			if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 "+tc.want) {
				t.Errorf("%s: request %d got %q", name, i, h)
			}
		}
		r.target.mu.Unlock()
		r.stop()
		if n := r.s.admission.pending.Load(); n != 0 {
			t.Errorf("%s: %d requests are under way", name, n)
		}
	}
}
