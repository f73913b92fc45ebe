package transport

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout means that an operation did not finish by its limit.
var ErrTimeout = errors.New("timed out")

// ErrSpoke means that the peer of an idle connection had closed it or sent something, and that nothing was written.
var ErrSpoke = errors.New("the idle connection was closed or spoken on")

// ErrStopped means that the stop flag of a read or write was raised.
var ErrStopped = errors.New("stopped")

// past is an instant that makes any waiting read or write return at once.
var past = time.Unix(1, 0)

// clock is where monotonic nanoseconds are counted from; it is never changed.
var clock = time.Now().Add(-time.Hour)

// Now returns monotonic nanoseconds. Only differences mean something; it is never 0 or less.
func Now() int64 { return int64(time.Since(clock)) }

// Conn is a TCP connection with lazy deadlines: the operating limit of each call ("wanted") is compared with the deadline
// that the runtime's timer holds ("armed"), and the timer is touched only when it would fire too late. One goroutine may read
// while another writes.
type Conn struct {
	tcp    *net.TCPConn
	raw    syscall.RawConn
	remote netip.AddrPort
	shard  uint32

	readArmed, writeArmed int64
	in, out               moved
	onRead, onWrite       func(fd uintptr) bool
	lazy                  lazyRead
	onLazy                func(fd uintptr) bool
	asked                 askedWrite
	onAsk                 func(fd uintptr) bool
	poll                  [1]unix.PollFd
	onPoll                func(fd uintptr)

	// received and sent are what the kernel gave and took; the goroutine that reads writes the former, the one that writes the latter.
	received, sent int64

	idleSince, born int64
	reused          bool
	closed          atomic.Bool
	onClose         func()
}

// moved is the state of a Read or a Write.
type moved struct {
	p   []byte
	n   int
	err error
}

// lazyRead is the state of a read that takes its buffer when there is something to read.
type lazyRead struct {
	pool *Buffers
	buf  *Buffer
	n    int
	err  error
}

func newConn(tcp *net.TCPConn, shard uint32) (*Conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{tcp: tcp, raw: raw, shard: shard, born: Now()}
	if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		c.remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	c.onRead, c.onWrite = c.readNext, c.writeAll
	c.onLazy = c.readable
	c.onAsk = c.askNow
	c.onPoll = c.pollNow
	return c, nil
}

// Remote returns the peer's address, IPv4 in its own form.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Local returns our own end's address, IPv4 in its own form.
func (c *Conn) Local() netip.AddrPort {
	a, ok := c.tcp.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Moved returns how many bytes were read and written so far. Nobody may be reading or writing meanwhile.
func (c *Conn) Moved() (received, sent int64) { return c.received, c.sent }

// Shard returns the number given when the connection was made; it selects shards of pools, counters and histograms.
func (c *Conn) Shard() uint32 { return c.shard }

// Reused reports whether the connection came idle out of a pool.
func (c *Conn) Reused() bool { return c.reused }

// Close closes the connection; it may be called more than once and from any goroutine.
func (c *Conn) Close() {
	if c.closed.Swap(true) {
		return
	}
	_ = c.tcp.Close() // an error changes nothing: the descriptor is gone either way
	if c.onClose != nil {
		c.onClose()
	}
}

// CloseWrite sends FIN after what was written.
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// Reset makes the following Close send RST, so that the peer cannot take a cut message for a whole one.
func (c *Conn) Reset() {
	_ = c.tcp.SetLinger(0) // without it the peer sees an ordinary end, which its framing shows to be early
	c.Close()
}

// WakeRead makes a waiting Read look at its stop flag.
func (c *Conn) WakeRead() { _ = c.tcp.SetReadDeadline(past) }

// WakeWrite makes a waiting Write look at its stop flag.
func (c *Conn) WakeWrite() { _ = c.tcp.SetWriteDeadline(past) }

func (c *Conn) armRead(want int64) {
	if want == 0 {
		return
	}
	if c.readArmed == 0 || c.readArmed > want {
		c.rearmRead(want)
	}
}

func (c *Conn) rearmRead(want int64) {
	c.readArmed = want
	if want == 0 {
		_ = c.tcp.SetReadDeadline(time.Time{}) // fails on a closed connection only, and then so does the read
		return
	}
	_ = c.tcp.SetReadDeadline(clock.Add(time.Duration(want)))
}

// lateRead decides about a read that the timer woke: nil means that the timer was set to what is wanted and to read on.
func (c *Conn) lateRead(want int64, stop *atomic.Bool) error {
	if stop != nil && stop.Load() {
		return ErrStopped
	}
	if want != 0 && Now() >= want {
		return ErrTimeout
	}
	c.rearmRead(want)
	return nil
}

// Read reads into p until want, in nanoseconds of Now; 0 means no limit. stop, which may be nil, is looked at before each wait: raise
// it and call WakeRead to end the read with ErrStopped.
func (c *Conn) Read(p []byte, want int64, stop *atomic.Bool) (int, error) {
	c.armRead(want)
	for {
		if stop != nil && stop.Load() {
			return 0, ErrStopped
		}
		c.in = moved{p: p}
		err := c.raw.Read(c.onRead)
		in := c.in
		c.in = moved{}
		c.received += int64(in.n)
		if err == nil {
			return in.n, in.err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		if err := c.lateRead(want, stop); err != nil {
			return 0, err
		}
	}
}

// readNext is the poller's callback of Read: it must not block.
func (c *Conn) readNext(fd uintptr) bool {
	n, errno := read(fd, c.in.p)
	if n > 0 {
		c.in.n = n
		return true
	}
	c.in.err = readError(errno)
	return c.in.err != nil
}

// ReadLazy waits like Read but takes a small buffer out of the pool only when there is something to read, so that a silent
// connection holds none. On success the caller owns the buffer, of which n bytes were read. Bytes that had arrived are
// returned even if stop is raised.
func (c *Conn) ReadLazy(pool *Buffers, want int64, stop *atomic.Bool) (*Buffer, int, error) {
	c.armRead(want)
	c.lazy = lazyRead{pool: pool}
	for {
		if stop != nil && stop.Load() {
			return c.readNow(pool)
		}
		if err := c.raw.Read(c.onLazy); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, 0, err
			}
			if err := c.lateRead(want, stop); err != nil {
				if errors.Is(err, ErrStopped) {
					return c.readNow(pool)
				}
				return nil, 0, err
			}
			continue
		}
		return c.lazyResult()
	}
}

// readNow returns what has arrived without waiting, or ErrStopped. The deadline may be past, so it goes around the poller.
func (c *Conn) readNow(pool *Buffers) (*Buffer, int, error) {
	c.lazy = lazyRead{pool: pool}
	var ready bool
	if err := c.raw.Control(func(fd uintptr) { ready = c.readable(fd) }); err != nil {
		return nil, 0, err
	}
	if !ready {
		return nil, 0, ErrStopped
	}
	return c.lazyResult()
}

func (c *Conn) lazyResult() (*Buffer, int, error) {
	l := c.lazy
	c.lazy = lazyRead{}
	if l.err != nil {
		return nil, 0, l.err
	}
	c.received += int64(l.n)
	return l.buf, l.n, nil
}

// readable is the poller's callback: it must not block.
func (c *Conn) readable(fd uintptr) bool {
	l := &c.lazy
	b := l.pool.Get(c.shard)
	n, errno := read(fd, b.B)
	if n > 0 {
		l.buf, l.n = b, n
		return true
	}
	l.pool.Put(c.shard, b)
	l.err = readError(errno)
	return l.err != nil
}

// readError is the error of a read that brought nothing, or nil where it has to be waited for something.
func readError(errno syscall.Errno) error {
	switch errno {
	case 0:
		return io.EOF
	case syscall.EAGAIN:
		return nil
	}
	return errno
}

// Write writes all of p. stall limits the time without progress; 0 means no limit. stop is as for Read, with WakeWrite. It returns
// the number of bytes that the kernel took.
func (c *Conn) Write(p []byte, stall time.Duration, stop *atomic.Bool) (int, error) {
	var want int64
	if stall > 0 {
		want = Now() + int64(stall)
		if c.writeArmed == 0 || c.writeArmed > want {
			c.rearmWrite(want)
		}
	}
	done := 0
	for {
		if stop != nil && stop.Load() {
			return done, ErrStopped
		}
		c.out = moved{p: p[done:]}
		err := c.raw.Write(c.onWrite)
		n, failed := c.out.n, c.out.err
		c.out = moved{}
		done += n
		c.sent += int64(n)
		if err == nil {
			return done, failed
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return done, err
		}
		now := Now()
		if n > 0 && stall > 0 {
			want = now + int64(stall)
		}
		if want != 0 && now >= want {
			return done, ErrTimeout
		}
		c.rearmWrite(want)
	}
}

// writeAll is the poller's callback of Write: it must not block. It goes on until all is written or there is no room.
func (c *Conn) writeAll(fd uintptr) bool {
	for o := &c.out; o.n < len(o.p); {
		n, errno := write(fd, o.p[o.n:])
		switch {
		case n > 0:
			o.n += n
		case errno == syscall.EAGAIN:
			return false
		case errno == 0:
			o.err = io.ErrUnexpectedEOF
			return true
		default:
			o.err = errno
			return true
		}
	}
	return true
}

func (c *Conn) rearmWrite(want int64) {
	c.writeArmed = want
	if want == 0 {
		_ = c.tcp.SetWriteDeadline(time.Time{}) // as in rearmRead
		return
	}
	_ = c.tcp.SetWriteDeadline(clock.Add(time.Duration(want)))
}
