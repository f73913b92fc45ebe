package http1

import (
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/transport"
)

// withHop gives the rig's first endpoint a hop.
func (r *rig) withHop(at netip.AddrPort) *naming.Hop {
	hop := &naming.Hop{Node: "n"}
	hop.Set(at, false)
	r.target.nodes[0].Conns.(*transport.Way).Hop = transport.NewHop(r.pools, hop)
	return hop
}

const (
	bigPost  = "POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 200000\r\n\r\n"
	hopError = "HTTP/1.1 502 Bad Gateway\r\nl5d-err: hop-unbound%3A+none\r\nl5d-retryable: true\r\nContent-Length: 0\r\n\r\n"
)

// TestHop: what goes through the hop, and what becomes of a request when the hop does not do as it should.
func TestHop(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		send, headers string
		// hop is what the hop answers; "" means that it closes without a word.
		hop    string
		direct bool // the endpoint itself gets the request then
		status string
		hops   Hop
		resent int
		reason string
	}{
		"answers":         {send: get, hop: ok, status: "200", hops: HopTaken},
		"answers a post":  {send: postX, hop: ok, status: "200", hops: HopTaken},
		"streamed":        {send: bigPost + strings.Repeat("x", 200000), hop: ok, status: "200", hops: HopTaken},
		"large head":      {send: get, headers: "l5d-ctx-dtab: " + strings.Repeat("x", 20000) + "\r\n", hop: ok, status: "200", hops: HopTaken},
		"client's header": {send: "GET /a HTTP/1.1\r\nHost: web\r\nL5d-Dst-Endpoint: 1.1.1.1:1\r\n\r\n", hop: ok, status: "200", hops: HopTaken},

		"dies": {send: get, direct: true, status: "200", hops: HopMissing, resent: 1},
		"dies with a large head": {
			send: get, headers: "l5d-ctx-dtab: " + strings.Repeat("x", 20000) + "\r\n", direct: true, status: "200", hops: HopMissing, resent: 1,
		},
		"dies under a put":       {send: strings.Replace(postX, "POST", "PUT", 1), direct: true, status: "200", hops: HopMissing, resent: 1},
		"dies under a post":      {send: postX, status: "502", hops: HopTaken, reason: ReasonUpstreamClosed},
		"dies after a byte":      {send: get, hop: "H", status: "502", hops: HopTaken, reason: ReasonBadResponse},
		"dies after an interim":  {send: get, hop: "HTTP/1.1 103 Early Hints\r\n\r\n", status: "502", hops: HopTaken, reason: ReasonUpstreamClosed},
		"cannot send":            {send: postX, hop: hopError, direct: true, status: "200", hops: HopMissing, resent: 1},
		"cannot send a stream":   {send: bigPost + strings.Repeat("x", 200000), hop: hopError, status: "502", hops: HopTaken, reason: ReasonHopUnbound},
		"an application says so": {send: postX, hop: strings.Replace(hopError, "l5d-err", "Via: 1.1 fairlead\r\nl5d-err", 1), status: "502", hops: HopTaken},
		"another error of a hop": {send: get, hop: strings.Replace(hopError, "l5d-retryable: true\r\n", "", 1), status: "502", hops: HopTaken, reason: ReasonHopUnbound},
		"no connect and nobody else": {
			send: get, hop: strings.Replace(hopError, "hop-unbound", "connect-refused", 1), status: "502", hops: HopTaken,
			reason: ReasonConnectRefused,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heads := make(chan string, 4)
			hop := newEndpoint(t, func(_ int, c *client) {
				h, whole := c.tryHead()
				if !whole {
					return
				}
				heads <- h
				if strings.Contains(h, "200000") {
					_, _ = io.CopyN(io.Discard, c.r, 200000)
				}
				c.reply(tc.hop)
				if strings.HasSuffix(tc.hop, "ok") {
					_, _ = io.Copy(io.Discard, c.r)
				}
			})
			e := newEndpoint(t, func(_ int, c *client) {
				h, _ := c.tryHead()
				heads <- h
				c.reply(ok)
				_, _ = io.Copy(io.Discard, c.r)
			})
			r := newRig(t, rigOptions{}, e.addr)
			r.target.headers = tc.headers
			r.withHop(hop.addr)
			c := r.dial()
			c.send(tc.send)
			h := c.head()
			for strings.HasPrefix(h, "HTTP/1.1 103") {
				h = c.head()
			}
			o := r.target.outcome(t, 0)
			if !strings.HasPrefix(h, "HTTP/1.1 "+tc.status) || o.Hop != tc.hops || o.HopResends != tc.resent || o.HopFailures != 0 || o.Reason != tc.reason {
				t.Errorf("got %q and %+v", h, o)
			}
			sent := strings.Split(<-heads, "\r\n")
			if sent[1] != HeaderEndpoint+": "+e.addr.String() || strings.Count(strings.ToLower(strings.Join(sent, "\n")), HeaderEndpoint) != 1 {
				t.Errorf("the hop got %.200q", sent)
			}
			if !tc.direct {
				if n := e.conns.Load(); n != 0 {
					t.Errorf("%d connections to the endpoint itself", n)
				}
				return
			}
			if got, want := <-heads, strings.Join(append(sent[:1:1], sent[2:]...), "\r\n"); got != want {
				t.Errorf("the endpoint got %.200q, want %.200q", got, want)
			}
		})
	}
}

func TestHopRefuses(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, serveOK)
	r := newRig(t, rigOptions{}, e.addr)
	r.withHop(deadAddr(t))
	c := r.dial()
	for i := range 3 {
		c.send(postX)
		c.expect(cliOK)
		o, failures := r.target.outcome(t, i), 0
		if i == 0 {
			failures = 1 // and then it is left alone
		}
		if o.Hop != HopMissing || o.HopFailures != failures || o.ConnectRetries != 0 || o.Node != r.target.nodes[0] {
			t.Errorf("request %d: %+v", i, o)
		}
	}
}

// TestHopSaysConnectFailed: the endpoint could not be connected to from its own node, so the next one is taken.
func TestHopSaysConnectFailed(t *testing.T) {
	t.Parallel()
	hop := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply(strings.Replace(hopError, "hop-unbound", "connect-refused", 1))
	})
	first, second := newEndpoint(t, serveOK), newEndpoint(t, serveOK)
	r := newRig(t, rigOptions{}, first.addr, second.addr)
	r.withHop(hop.addr)
	c := r.dial()
	c.send(postX)
	c.expect(cliOK)
	if o := r.target.outcome(t, 0); o.ConnectRetries != 1 || o.Node != r.target.nodes[1] || o.Hop != HopNone || first.conns.Load() != 0 {
		t.Errorf("got %+v", o)
	}
}

// TestHopIsFrozen: a hop that takes a request and answers nothing holds it until it is known not to be ready; one that merely ends is
// waited for.
func TestHopIsFrozen(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		send string
		lost bool
		hops Hop
	}{
		"lost":              {get, true, HopMissing},
		"ending":            {get, false, HopTaken},
		"lost under a post": {postX, true, HopTaken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked, answer := make(chan struct{}), make(chan struct{})
			frozen := newEndpoint(t, func(_ int, c *client) {
				c.tryHead()
				close(asked)
				<-answer
				c.reply(ok)
			})
			e := newEndpoint(t, serveOK)
			r := newRig(t, rigOptions{}, e.addr)
			hop := r.withHop(frozen.addr)
			c := r.dial()
			c.send(tc.send)
			<-asked
			hop.Set(netip.AddrPort{}, tc.lost)
			if tc.hops == HopTaken {
				time.AfterFunc(2*clientCheck, func() { close(answer) })
			} else {
				defer close(answer)
			}
			c.expect(cliOK)
			if o := r.target.outcome(t, 0); o.Hop != tc.hops || o.Reason != "" {
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestTunnelThroughHop(t *testing.T) {
	t.Parallel()
	hop := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nVia: 1.1 fairlead\r\n\r\nhello")
		_, _ = io.Copy(c.c, c.r)
	})
	r := newRig(t, rigOptions{}, deadAddr(t))
	r.withHop(hop.addr)
	c := r.dial()
	c.send("GET /a HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	c.head()
	c.expect("hello")
	c.send("echo")
	c.expect("echo")
	_ = c.c.CloseWrite()
	c.expectEOF()
	if o := r.target.outcome(t, 0); !o.Tunnel || o.Hop != HopTaken || o.RequestBytes != 4 || o.ResponseBytes != 9 {
		t.Errorf("got %+v", o)
	}
}

// TestHopAtTheEdge: what a hop says is heard where nobody else gets to hear it.
func TestHopAtTheEdge(t *testing.T) {
	t.Parallel()
	hop := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply(hopError)
	})
	e := newEndpoint(t, serveOK)
	r := newRig(t, rigOptions{}, e.addr)
	r.s.SetClearContext(true)
	r.withHop(hop.addr)
	c := r.dial()
	c.send(postX)
	c.expect(cliOK)
	if o := r.target.outcome(t, 0); o.HopResends != 1 || o.Hop != HopMissing || o.Reason != "" {
		t.Errorf("got %+v", o)
	}
}
