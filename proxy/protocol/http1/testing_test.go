package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits for what should come at once.
const limit = 10 * time.Second

// target sends every request to fixed endpoints, first to last.
type target struct {
	nodes   []*balance.Node
	headers string
	policy  resilience.Policy
	// retry, where there is one, says whether a failed attempt is repeated, and requeue whether a request that nothing was done for is.
	retry   func(*resilience.Attempt) (Target, time.Duration)
	requeue func(done int) bool
	// status, when it is not 0, answers in place of the endpoints.
	status int

	mu       sync.Mutex
	outcomes []Outcome
	changed  chan struct{}
	picks    atomic.Int64
	// service and client are the names of messages.
	service, client string
	quiet           bool
}

func (t *target) Pick(_ uint32, now int64, _ *Request, tried []*balance.Node) (*balance.Node, error) {
	t.picks.Add(1)
next:
	for _, n := range t.nodes {
		for _, o := range tried {
			if n == o {
				continue next
			}
		}
		n.Start(now, 0)
		return n, nil
	}
	if len(t.nodes) == 0 {
		return nil, balance.ErrNoEndpoints
	}
	return nil, balance.ErrTried
}

func (t *target) AppendHeaders(dst []byte) []byte { return append(dst, t.headers...) }
func (t *target) Status() int                     { return t.status }
func (t *target) Policy() *resilience.Policy      { return &t.policy }
func (t *target) Begin(int64)                     {}

func (t *target) Requeue(_ uint32, _ int64, done int) bool {
	return t.requeue == nil || t.requeue(done)
}

func (t *target) Retry(_ uint32, _ int64, a *resilience.Attempt) (Target, time.Duration) {
	if t.retry == nil {
		return nil, 0
	}
	return t.retry(a)
}

func (t *target) Diagnose(int64) string { return "service: " + t.service + "\n" }

func (t *target) Explain(int64) string {
	switch {
	case t.service == "":
		return ""
	case t.client == "":
		return "service " + t.service
	}
	return "service " + t.service + ", client " + t.client
}

func (t *target) Finish(_ uint32, o *Outcome) {
	if t.quiet {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes = append(t.outcomes, *o)
	close(t.changed)
	t.changed = make(chan struct{})
}

// outcome waits for the i-th outcome.
func (t *target) outcome(tb testing.TB, i int) Outcome {
	tb.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		t.mu.Lock()
		ch := t.changed
		if len(t.outcomes) > i {
			defer t.mu.Unlock()
			return t.outcomes[i]
		}
		t.mu.Unlock()
		select {
		case <-ch:
		case <-deadline.C:
			tb.Fatalf("outcome %d did not come", i)
		}
	}
}

type fixedRouter struct{ t Target }

func (r fixedRouter) Route(uint32, *Request) (Target, *Failure) { return r.t, nil }

type failRouter struct{ f *Failure }

func (r failRouter) Route(uint32, *Request) (Target, *Failure) { return nil, r.f }

// rig is a server between a test's client and its endpoints.
type rig struct {
	tb      testing.TB
	s       *Server
	l       *transport.Listener
	dialer  *transport.Dialer
	pools   *transport.Pools
	target  *target
	served  chan struct{}
	stopped bool
}

type rigOptions struct {
	limits Limits
	pool   transport.PoolOptions
	dial   transport.DialOptions
	router Router
	obs    Observer
}

func newRig(tb testing.TB, o rigOptions, upstreams ...netip.AddrPort) *rig {
	tb.Helper()
	d := transport.NewDialer(o.dial)
	r := &rig{tb: tb, dialer: d, pools: transport.NewPools(d, o.pool), target: &target{changed: make(chan struct{})},
		served: make(chan struct{})}
	for _, a := range upstreams {
		r.target.nodes = append(r.target.nodes, balance.NewNode(naming.Endpoint{Addr: a}, &transport.Way{Direct: r.pools.New(a)}))
	}
	if o.router == nil {
		o.router = fixedRouter{r.target}
	}
	r.s = NewServer(Options{Router: o.router, Limits: o.limits, Observer: o.obs})
	l, err := transport.Listen(tb.Context(), netip.MustParseAddrPort("127.0.0.1:0"), transport.ListenOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	r.l = l
	go func() { r.s.Serve(l); close(r.served) }()
	tb.Cleanup(r.stop)
	return r
}

// stop shuts down and checks that nothing is left: connections, buffers, pending requests.
func (r *rig) stop() {
	if r.stopped {
		return
	}
	r.stopped = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.tb.Context()), 2*time.Second)
	defer cancel()
	_ = r.s.Shutdown(ctx)
	<-r.served
	r.pools.Close()
	if n := r.s.Buffers().Outstanding(); n != 0 {
		r.tb.Errorf("%d buffers were not given back", n)
	}
	if n := r.dialer.Open.Load(); n != 0 {
		r.tb.Errorf("%d connections to endpoints are open", n)
	}
	if n := r.l.Open.Load(); n != 0 {
		r.tb.Errorf("%d client connections are open", n)
	}
	for _, n := range r.target.nodes {
		if p := n.Pending(); p != 0 {
			r.tb.Errorf("%d requests are pending on %s", p, n.Endpoint.Addr)
		}
	}
}

func (r *rig) dial() *client {
	r.tb.Helper()
	c, err := net.Dial("tcp", r.l.Addr().String())
	if err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	return &client{tb: r.tb, c: c.(*net.TCPConn), r: bufio.NewReader(c)}
}

// client speaks raw bytes.
type client struct {
	tb testing.TB
	c  *net.TCPConn
	r  *bufio.Reader
}

func (c *client) send(s string) {
	c.tb.Helper()
	if _, err := io.WriteString(c.c, s); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

// expect reads exactly want.
func (c *client) expect(want string) {
	c.tb.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if string(got[:n]) != want {
		rest := make([]byte, c.r.Buffered())
		_, _ = io.ReadFull(c.r, rest)
		c.tb.Fatalf("got %q (%v)\nwant %q", string(got[:n])+string(rest), err, want)
	}
}

// head reads up to the blank line.
func (c *client) head() string {
	c.tb.Helper()
	var b strings.Builder
	for {
		l, err := c.r.ReadString('\n')
		b.WriteString(l)
		if err != nil {
			c.tb.Fatalf("head: %v after %q", err, b.String())
		}
		if l == "\r\n" {
			return b.String()
		}
	}
}

// expectEOF checks that the connection ends without another byte.
func (c *client) expectEOF() {
	c.tb.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		c.tb.Fatalf("got byte %q, want the end", b)
	} else if !errors.Is(err, io.EOF) {
		c.tb.Fatalf("got %v, want the end", err)
	}
}

// endpoint is a TCP server whose connections are handled one function call each, with the connection's number from 0.
type endpoint struct {
	addr  netip.AddrPort
	conns atomic.Int64
}

func newEndpoint(tb testing.TB, handle func(i int, c *client)) *endpoint {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	e := &endpoint{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			i := int(e.conns.Add(1)) - 1
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(limit))
				handle(i, &client{tb: tb, c: c.(*net.TCPConn), r: bufio.NewReader(c)})
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return e
}

// tryHead is head for endpoints: ok is false when the connection ended first.
func (c *client) tryHead() (string, bool) {
	var b bytes.Buffer
	for {
		l, err := c.r.ReadString('\n')
		b.WriteString(l)
		if err != nil {
			return b.String(), false
		}
		if l == "\r\n" {
			return b.String(), true
		}
	}
}

func (c *client) reply(s string) { _, _ = io.WriteString(c.c, s) }

// deadAddr is an address that refuses: its port is taken by a socket that does not listen.
func deadAddr(tb testing.TB) netip.AddrPort {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		tb.Fatal(err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
}

func newReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }

// eventually waits for what the kernel or another goroutine is about to make true.
func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !f(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
	}
}
