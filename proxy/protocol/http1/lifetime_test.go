package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

func TestTimeouts(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) { _, _ = io.Copy(io.Discard, c.r) })
	for name, tc := range map[string]struct {
		timeouts resilience.Timeouts
		limits   Limits
		reason   string
	}{
		"total":   {timeouts: resilience.Timeouts{Total: 50 * time.Millisecond, Attempt: limit}, reason: ReasonTotalTimeout},
		"attempt": {timeouts: resilience.Timeouts{Total: limit, Attempt: 50 * time.Millisecond}, reason: ReasonAttemptTimeout},
		"silence": {limits: Limits{UpstreamIdleTimeout: 50 * time.Millisecond}, reason: ReasonUpstreamTimeout},
		"silence of the target": {
			timeouts: resilience.Timeouts{Silence: 50 * time.Millisecond}, limits: Limits{UpstreamIdleTimeout: limit}, reason: ReasonUpstreamTimeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{limits: tc.limits}, e.addr)
			r.target.policy.Timeouts = tc.timeouts
			c := r.dial()
			for range 2 {
				c.send(get)
				h := c.head()
				if !strings.HasPrefix(h, "HTTP/1.1 503 ") {
					t.Fatalf("got %q", h)
				}
				_, n, _ := strings.Cut(h, "Content-Length: ")
				n, _, _ = strings.Cut(n, "\r\n")
				var size int
				for _, d := range n {
					size = size*10 + int(d-'0')
				}
				_, _ = c.r.Discard(size)
			}
			for i := range 2 {
				if o := r.target.outcome(t, i); o.Reason != tc.reason || o.Class != classify.Failure {
					t.Errorf("got %+v", o)
				}
			}
		})
	}
	t.Run("head", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, rigOptions{limits: Limits{HeaderTimeout: 50 * time.Millisecond}}, e.addr)
		c := r.dial()
		c.send("GET / HT")
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 408 ") {
			t.Errorf("got %q", h)
		}
	})
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, rigOptions{limits: Limits{IdleTimeout: 50 * time.Millisecond}}, e.addr)
		r.dial().expectEOF()
	})
	t.Run("client leaves while the endpoint thinks", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, rigOptions{}, e.addr)
		c := r.dial()
		c.send(get)
		_ = c.c.Close()
		if o := r.target.outcome(t, 0); o.Reason != ReasonClientClosed || o.Class != classify.Ignored || o.Status != 0 {
			t.Errorf("got %+v", o)
		}
	})
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.expect("GET /a HTTP/1.1\r\nHost: web\r\nUpgrade: echo\r\nVia: 1.1 fairlead\r\nConnection: Upgrade\r\n\r\n")
		c.reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello")
		b, _ := io.ReadAll(c.r) // until the client's half-close
		c.reply("got " + string(b))
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	c.send("GET /a HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
	c.expect("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nVia: 1.1 fairlead\r\nConnection: Upgrade\r\n\r\nhello")
	c.send("late")
	if err := c.c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.expect("got early late")
	c.expectEOF()
	if o := r.target.outcome(t, 0); o.Status != 101 || !o.Tunnel || o.RequestBytes != 10 || o.ResponseBytes != 19 {
		t.Errorf("got %+v", o)
	}
}

func TestTunnelIdle(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(io.Discard, c.r)
	})
	r := newRig(t, rigOptions{limits: Limits{TunnelIdleTimeout: 50 * time.Millisecond}}, e.addr)
	c := r.dial()
	c.send("GET /a HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	c.head()
	if _, err := io.ReadAll(c.r); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v", err)
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			h, ok2 := c.tryHead()
			if !ok2 {
				return
			}
			if strings.HasPrefix(h, "GET /slow") {
				close(asked)
				<-answer
			}
			c.reply(ok)
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	idle, kept, busy, fresh := r.dial(), r.dial(), r.dial(), r.dial()
	for _, c := range []*client{idle, kept} {
		c.send(get)
		c.expect(cliOK)
	}
	busy.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
	<-asked
	eventually(t, "all are accepted", func() bool { return r.l.Accepted.Load() == 4 })
	done := make(chan error, 1)
	go func() { done <- r.s.Shutdown(t.Context()) }()
	eventually(t, "it drains", r.s.draining.Load)
	eventually(t, "it stopped accepting", func() bool {
		c, err := net.Dial("tcp", r.l.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	for _, c := range []*client{fresh, kept} { // opened before: each may ask once more
		c.send(get)
		c.expect("HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		c.expectEOF()
	}
	idle.expectEOF()
	release()
	busy.expect("HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	busy.expectEOF()
	if err := <-done; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := net.Dial("tcp", r.l.Addr().String()); err == nil {
		t.Error("still accepting")
	}
}

func TestShutdownHard(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		close(asked)
		_, _ = io.Copy(io.Discard, c.r)
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	c.send(get)
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var cut *CutError
	if err := r.s.Shutdown(ctx); !errors.Is(err, context.Canceled) || !errors.As(err, &cut) || cut.Cut != 1 {
		t.Errorf("got %v", err)
	}
	if o := r.target.outcome(t, 0); o.Reason != ReasonShutdown {
		t.Errorf("got %+v", o)
	}
}

// A request whose time is up when it is about to be written says so: the endpoint was silent for no time at all.
func TestTotalTimeoutBeforeTheWrite(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			if _, ok2 := c.tryHead(); !ok2 {
				return
			}
			c.reply(ok)
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	c := r.dial()
	c.send(get) // its connection is there for the next one
	c.expect(cliOK)
	late := &target{changed: make(chan struct{}), nodes: r.target.nodes, policy: resilience.Policy{Timeouts: resilience.Timeouts{Total: 1}}}
	r.s.SetRouter(fixedRouter{late})
	c.send(get)
	c.head()
	if o := late.outcome(t, 0); o.Reason != ReasonTotalTimeout {
		t.Errorf("got %+v", o)
	}
}
