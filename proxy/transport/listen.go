// Package transport accepts, dials and pools TCP connections, with limits and lazy deadlines.
//
// It moves bytes; it knows no protocol, no route and no metric tree (its counters are read by whoever assembles the proxy).
package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const defaultMaxConns = 10_000

// ListenOptions of a Listener. Zero values mean defaults.
type ListenOptions struct {
	// MaxConns is the greatest number of open connections; 10,000 by default. A connection beyond it is accepted, counted and
	// reset at once: a caller learns in a round trip what a full backlog would hide until its own timeout.
	MaxConns int
	// Acceptors is the number of goroutines that accept; 1 by default.
	Acceptors int
	// KeepAlive is the interval of TCP keep-alive probes; 15 s by default.
	KeepAlive time.Duration
	// Descriptors are shared with other listeners and with dialers; nil: with none.
	Descriptors *Descriptors
	// Socket listens on the address already; nil: one is opened. Its connections have KeepAlive's default.
	Socket *net.TCPListener
}

// Listener accepts TCP connections.
type Listener struct {
	tcp *net.TCPListener
	// acceptTCP gives the next connection, or why there is none: AcceptTCP, other than in tests.
	acceptTCP func() (*net.TCPConn, error)
	addr      netip.AddrPort
	opts      ListenOptions
	next      atomic.Uint32
	// queue is the same socket: who reads it waits for a client without accepting it.
	queue *os.File
	stop  chan struct{}
	once  sync.Once
	// maxConns may change while the listener is open.
	maxConns atomic.Int64
	// lastError is that of the last accept that failed, or nil.
	lastError atomic.Pointer[error]

	// Open is the number of open connections; Accepted, Refused (over MaxConns), Starved (refused too, for the descriptors that are left
	// are not for clients) and Errors (of accept) count.
	Open                               atomic.Int64
	Accepted, Refused, Starved, Errors atomic.Uint64
}

// listenError says once what the kernel says in other words.
type listenError struct {
	addr  netip.AddrPort
	text  string
	cause syscall.Errno
}

// Error implements error.
func (e *listenError) Error() string { return "listen on " + e.addr.String() + ": " + e.text }

// Unwrap returns the cause.
func (e *listenError) Unwrap() error { return e.cause }

// Listen opens addr. Its errors are one line that says what to do.
func Listen(ctx context.Context, addr netip.AddrPort, o ListenOptions) (*Listener, error) {
	if o.Acceptors <= 0 {
		o.Acceptors = 1
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 15 * time.Second
	}
	if o.Descriptors == nil {
		o.Descriptors = NewDescriptors()
	}
	tl := o.Socket
	if tl == nil {
		var err error
		if tl, err = open(ctx, addr, o.KeepAlive); err != nil {
			return nil, err
		}
	}
	queue, err := tl.File()
	if err != nil {
		_ = tl.Close() // it is not used
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	l := &Listener{tcp: tl, queue: queue, acceptTCP: tl.AcceptTCP, opts: o, stop: make(chan struct{})}
	l.addr = tl.Addr().(*net.TCPAddr).AddrPort()
	l.SetMaxConns(o.MaxConns)
	return l, nil
}

func open(ctx context.Context, addr netip.AddrPort, keepAlive time.Duration) (*net.TCPListener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive}}
	l, err := lc.Listen(ctx, "tcp", addr.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &listenError{addr, fmt.Sprintf("address already in use: stop the process that holds port %d or choose another port", addr.Port()),
			syscall.EADDRINUSE}
	case errors.Is(err, syscall.EACCES):
		return nil, &listenError{addr, "permission denied: a port below 1024 needs CAP_NET_BIND_SERVICE; grant it or choose a higher port",
			syscall.EACCES}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, &listenError{addr, "no interface of this host has the address", syscall.EADDRNOTAVAIL}
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l.(*net.TCPListener), nil
}

// SetMaxConns replaces ListenOptions.MaxConns. Connections that are open stay open.
func (l *Listener) SetMaxConns(n int) {
	if n <= 0 {
		n = defaultMaxConns
	}
	l.maxConns.Store(int64(n))
}

// Addr returns the address listened on, with the port that was chosen for port 0.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// SyscallConn gives the socket to who hands it over to another process. It must not be made to block.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return l.tcp.SyscallConn() }

// Close stops accepting. Open connections are not touched.
func (l *Listener) Close() {
	l.once.Do(func() {
		close(l.stop)
		_ = l.tcp.Close() // the only error is that it was closed
		_ = l.queue.Close()
	})
}

// Serve accepts until Close and runs handle on a goroutine of its own for each connection, which handle must close. It returns
// after Close, when the last call of handle has returned.
func (l *Listener) Serve(handle func(*Conn)) {
	var wg sync.WaitGroup
	for range l.opts.Acceptors {
		wg.Go(func() { l.accept(&wg, handle) })
	}
	wg.Wait()
}

func (l *Listener) accept(wg *sync.WaitGroup, handle func(*Conn)) {
	var pause time.Duration
	var door door
	for {
		if door.isNear {
			l.wait(&door)
		}
		nc, err := l.acceptTCP()
		if err != nil {
			select {
			case <-l.stop:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.failed(err)
			// Out of descriptors or memory: no reason to stop serving.
			if isShortage(err) {
				l.opts.Descriptors.makeRoom()
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if !l.rest(pause) {
				return
			}
			continue
		}
		pause = 0
		c, err := l.admit(nc, &door)
		if err != nil {
			l.failed(err)
		}
		if c == nil {
			continue
		}
		l.Accepted.Add(1)
		c.onClose = l.connClosed
		wg.Go(func() { handle(c) })
	}
}

// admit makes a connection of what was accepted, or refuses it and returns none.
func (l *Listener) admit(nc *net.TCPConn, door *door) (*Conn, error) {
	c, err := newConn(nc, l.next.Add(1))
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	refused := &l.Starved
	if l.opens(door, c.raw) {
		if l.Open.Add(1) <= l.maxConns.Load() {
			l.opts.Descriptors.open.Add(1)
			return c, nil
		}
		l.Open.Add(-1)
		refused = &l.Refused
	}
	refused.Add(1)
	c.Reset() // RST in place of FIN; either way the connection goes
	l.opts.Descriptors.freed()
	return nil, nil
}

func (l *Listener) failed(err error) {
	l.lastError.Store(&err)
	l.Errors.Add(1)
}

// LastError returns why an accept failed last, or nil.
func (l *Listener) LastError() error {
	if err := l.lastError.Load(); err != nil {
		return *err
	}
	return nil
}

// rest waits, and reports false if the listener was closed meanwhile.
func (l *Listener) rest(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.stop:
		return false
	case <-t.C:
		return true
	}
}

func (l *Listener) connClosed() {
	l.Open.Add(-1)
	l.opts.Descriptors.closed()
}
