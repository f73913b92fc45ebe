package transport

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 10 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// accepting returns a listener whose connections arrive on a channel, both closed with the test.
func accepting(t *testing.T, o ListenOptions) (*Listener, <-chan *Conn) {
	t.Helper()
	l, err := Listen(t.Context(), loopback, o)
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *Conn, 100)
	end := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Serve(func(c *Conn) {
			conns <- c
			<-end
			c.Close()
		})
	}()
	t.Cleanup(func() {
		l.Close()
		close(end)
		<-done
		if n := l.Open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
	return l, conns
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	return c
}

// eventually waits for what the kernel or another goroutine is about to make true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := Now() + int64(limit); !f(); <-tick.C {
		if Now() > deadline {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	l, _ := accepting(t, ListenOptions{})
	_, err := Listen(t.Context(), l.Addr(), ListenOptions{})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()) ||
		!strings.Contains(err.Error(), "stop the process") || strings.Count(err.Error(), "in use") != 1 || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	_, err = Listen(t.Context(), netip.MustParseAddrPort("192.0.2.1:0"), ListenOptions{})
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("got %v", err)
	}
}

func TestMaxConns(t *testing.T) {
	t.Parallel()
	l, conns := accepting(t, ListenOptions{MaxConns: 1, Acceptors: 2})
	dial(t, l)
	first := <-conns
	if over, err := net.Dial("tcp", l.Addr().String()); err == nil { // the reset may be there before connect returns
		if _, err := over.Read(make([]byte, 1)); err == nil {
			t.Error("a connection over the limit was served")
		}
		_ = over.Close()
	}
	if l.Refused.Load() != 1 || l.Accepted.Load() != 1 {
		t.Errorf("refused %d, accepted %d", l.Refused.Load(), l.Accepted.Load())
	}
	first.Close()
	dial(t, l)
	eventually(t, "there is room after a connection was closed", func() bool { return len(conns) == 1 })
}

func TestReadLimits(t *testing.T) {
	t.Parallel()
	l, conns := accepting(t, ListenOptions{})
	peer := dial(t, l)
	c := <-conns
	b := make([]byte, 10)
	pool := NewBuffers()
	ms := int64(time.Millisecond)

	if _, err := c.Read(b, Now()+5*ms, nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if _, _, err := c.ReadLazy(pool, Now()+5*ms, nil); !errors.Is(err, ErrTimeout) || pool.Outstanding() != 0 {
		t.Errorf("got %v with %d buffers out", err, pool.Outstanding())
	}
	// A deadline armed by an earlier call must not end a later one with a later limit.
	_, _ = peer.Write([]byte("x"))
	if n, err := c.Read(b, Now()+20*ms, nil); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	start := Now()
	if _, err := c.Read(b, start+100*ms, nil); !errors.Is(err, ErrTimeout) || Now()-start < 100*ms {
		t.Errorf("got %v after %v", err, time.Duration(Now()-start))
	}
	// Nor may a far one that is armed hold up a near one.
	_, _ = peer.Write([]byte("x"))
	if n, err := c.Read(b, Now()+int64(time.Hour), nil); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := c.Read(b, Now()+5*ms, nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	// A stop flag wins, but bytes that have arrived are not lost.
	var stop atomic.Bool
	woken := make(chan error, 1)
	go func() {
		_, _, err := c.ReadLazy(pool, 0, &stop)
		woken <- err
	}()
	stop.Store(true)
	c.WakeRead()
	if err := <-woken; !errors.Is(err, ErrStopped) {
		t.Errorf("got %v", err)
	}
	_, _ = peer.Write([]byte("y"))
	eventually(t, "the byte arrives", func() bool { return !c.Quiet() })
	buf, n, err := c.ReadLazy(pool, 0, &stop)
	if err != nil || n != 1 || buf.B[0] != 'y' {
		t.Fatalf("got %d, %v", n, err)
	}
	pool.Put(0, buf)
	_ = peer.Close()
	if _, _, err := c.ReadLazy(pool, 0, nil); !errors.Is(err, io.EOF) || pool.Outstanding() != 0 {
		t.Errorf("got %v with %d buffers out", err, pool.Outstanding())
	}
}

func TestWriteLimits(t *testing.T) {
	t.Parallel()
	l, conns := accepting(t, ListenOptions{})
	peer := dial(t, l)
	c := <-conns
	big := make([]byte, 64<<20)
	if n, err := c.Write(big, 20*time.Millisecond, nil); !errors.Is(err, ErrTimeout) || n == 0 || n == len(big) {
		t.Errorf("got %d, %v", n, err)
	}
	// Slow progress is no stall.
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(big[:32<<20], 200*time.Millisecond, nil)
		done <- err
	}()
	b := make([]byte, 1<<20)
	slow := time.NewTicker(20 * time.Millisecond)
	defer slow.Stop()
	for reading := true; reading; {
		if _, err := peer.Read(b); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			reading = false
		case <-slow.C:
		}
	}
	var stop atomic.Bool
	go func() {
		_, err := c.Write(big, 0, &stop)
		done <- err
	}()
	stop.Store(true)
	c.WakeWrite()
	if err := <-done; !errors.Is(err, ErrStopped) {
		t.Errorf("got %v", err)
	}
}

func TestDial(t *testing.T) {
	t.Parallel()
	l, conns := accepting(t, ListenOptions{})
	denied := errors.New("loopback")
	d := NewDialer(DialOptions{Allow: func(a netip.AddrPort) error {
		if a.Port() == 1 {
			return denied
		}
		return nil
	}})
	if _, err := d.Dial(t.Context(), 0, netip.MustParseAddrPort("127.0.0.1:1"), 0); !errors.Is(err, ErrDenied) || !errors.Is(err, denied) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Dial(t.Context(), 0, netip.MustParseAddrPort("127.0.0.9:9"), 0); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Dial(t.Context(), 0, l.Addr(), time.Nanosecond); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	c, err := d.Dial(t.Context(), 3, l.Addr(), 0)
	if err != nil {
		t.Fatal(err)
	}
	<-conns
	if c.Shard() != 3 || c.Remote() != l.Addr() || d.Open.Load() != 1 {
		t.Errorf("shard %d, remote %s, %d open", c.Shard(), c.Remote(), d.Open.Load())
	}
	c.Close()
	c.Close()
	if d.Open.Load() != 0 || d.Connects.Load() != 1 || d.Denied.Load() != 1 || d.Refused.Load() != 1 || d.TimedOut.Load() != 1 {
		t.Errorf("open %d, connects %d, denied %d, refused %d, timed out %d", d.Open.Load(), d.Connects.Load(), d.Denied.Load(),
			d.Refused.Load(), d.TimedOut.Load())
	}
}

// pooled returns a pool with n connections of which the peers arrive on the channel in order.
func pooled(t *testing.T, o PoolOptions) (*Pools, *Pool, func() (*Conn, *Conn)) {
	t.Helper()
	l, conns := accepting(t, ListenOptions{})
	p := NewPools(NewDialer(DialOptions{}), o)
	t.Cleanup(func() {
		p.Close()
		if p.Idle() != 0 || p.Dialer().Open.Load() != 0 {
			t.Errorf("%d idle, %d open", p.Idle(), p.Dialer().Open.Load())
		}
	})
	pool := p.New(l.Addr())
	return p, pool, func() (*Conn, *Conn) {
		t.Helper()
		c, err := pool.Dial(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return c, <-conns
	}
}

func TestPoolIsLIFOAndSteals(t *testing.T) {
	t.Parallel()
	p, pool, dial := pooled(t, PoolOptions{})
	a, _ := dial()
	b, _ := dial()
	pool.Put(1, a)
	pool.Put(1, b)
	if got := pool.Get(1); got != b || !got.Reused() {
		t.Error("not the newest first")
	}
	if got := pool.Get(2); got != a {
		t.Error("another shard's connection was not taken")
	}
	if pool.Get(1) != nil || p.Idle() != 0 || p.Reused() != 2 {
		t.Errorf("idle %d, reused %d", p.Idle(), p.Reused())
	}
	a.Close()
	b.Close()
}

func TestPoolLimits(t *testing.T) {
	t.Parallel()
	p, pool, dial := pooled(t, PoolOptions{MaxIdle: 1, IdleTimeout: 20 * time.Millisecond})
	a, _ := dial()
	b, peer := dial()
	pool.Put(0, a)
	pool.Put(0, b)
	if p.Overflow.Load() != 1 || p.Idle() != 1 {
		t.Errorf("overflow %d, idle %d", p.Overflow.Load(), p.Idle())
	}
	if _, err := peer.Read(make([]byte, 1), Now()+int64(limit), nil); !errors.Is(err, io.EOF) {
		t.Errorf("the connection over the limit: %v", err)
	}
	eventually(t, "the sweeper closes the idle connection", func() bool { return p.Idle() == 0 })
	if p.Expired.Load() != 1 {
		t.Errorf("expired %d", p.Expired.Load())
	}
}

func TestPoolCloseAndAge(t *testing.T) {
	t.Parallel()
	p, pool, dial := pooled(t, PoolOptions{MaxAge: time.Nanosecond})
	c, _ := dial()
	pool.Put(0, c)
	if p.Expired.Load() != 1 || pool.Get(0) != nil {
		t.Error("an old connection was kept")
	}
	q, pool, dial := pooled(t, PoolOptions{})
	idle, idlePeer := dial()
	busy, busyPeer := dial()
	pool.Put(0, idle)
	pool.Close()
	pool.Close()
	if _, err := idlePeer.Read(make([]byte, 1), Now()+int64(limit), nil); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection: %v", err)
	}
	if !busy.Quiet() {
		t.Error("a connection in use was closed")
	}
	pool.Put(0, busy)
	if _, err := busyPeer.Read(make([]byte, 1), Now()+int64(limit), nil); !errors.Is(err, io.EOF) {
		t.Errorf("the returned connection: %v", err)
	}
	q.Close()
	if late := q.New(pool.Addr()); late.Get(0) != nil {
		t.Error("a pool made after Close holds connections")
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	l, conns := accepting(t, ListenOptions{})
	peer := dial(t, l)
	c := <-conns
	_, _ = peer.Write([]byte("x"))
	if c.Gone() {
		t.Error("a peer that speaks is not gone")
	}
	_ = peer.Close()
	eventually(t, "a peer that closed is gone", c.Gone)
}
