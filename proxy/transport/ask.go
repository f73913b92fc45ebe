package transport

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// askedWrite is the state of an Ask.
type askedWrite struct {
	p    []byte
	n    int
	done bool // the write was tried: what remains is to wait
	err  error
	// one is where a byte goes that came unasked for.
	one [1]byte
}

// Ask writes p, a whole request, and waits like ReadLazy for the first bytes of what comes back. wrote is how much of p the kernel took.
// On a connection that came out of a pool it asks the kernel first whether the peer closed it or sent anything: what came since would
// be taken for the response. Then it returns ErrSpoke and has written nothing. stall is as for Write. That the write failed is told by
// wrote alone: the peer may have answered before it closed.
//
// Write and ReadLazy would do the same with one system call more: the wait for a response begins before the request is written, so that
// nothing can come unnoticed, and on a connection that was reused a read in vain need not show that nothing came.
func (c *Conn) Ask(pool *Buffers, p []byte, stall time.Duration, want int64, stop *atomic.Bool) (b *Buffer, n, wrote int, err error) {
	c.armRead(want)
	c.lazy = lazyRead{pool: pool}
	c.asked = askedWrite{p: p}
	for {
		err := c.raw.Read(c.onAsk)
		if err == nil {
			break
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = c.lateRead(want, stop)
		}
		if err != nil {
			return nil, 0, c.asked.n, err
		}
	}
	c.asked.p = nil
	if c.asked.err != nil {
		return nil, 0, 0, c.asked.err
	}
	if c.lazy.buf == nil && c.lazy.err == nil { // the kernel took a part
		rest, err := c.Write(p[c.asked.n:], stall, nil)
		if errors.Is(err, ErrTimeout) {
			return nil, 0, c.asked.n + rest, err
		}
		b, n, err = c.ReadLazy(pool, want, stop)
		return b, n, c.asked.n + rest, err
	}
	b, n, err = c.lazyResult()
	return b, n, c.asked.n, err
}

// askNow is the poller's callback of Ask: it must not block.
func (c *Conn) askNow(fd uintptr) bool {
	a := &c.asked
	if a.done {
		return c.readable(fd)
	}
	if c.reused {
		if _, errno := read(fd, a.one[:]); errno != syscall.EAGAIN {
			a.err = ErrSpoke
			return true
		}
	}
	a.done = true
	n, errno := write(fd, a.p)
	a.n = max(n, 0)
	c.sent += int64(a.n)
	if errno != 0 && errno != syscall.EAGAIN {
		return c.readable(fd)
	}
	// On a new connection the peer may have spoken before the wait began, which the poller does not tell again. On one that was reused the
	// read above was in vain, after it began.
	return a.n < len(a.p) || !c.reused && c.readable(fd)
}

// pollNow is a Control callback: it asks the kernel without waiting and without reading.
func (c *Conn) pollNow(fd uintptr) {
	c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
	for {
		_, err := unix.Poll(c.poll[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			c.poll[0].Revents = unix.POLLERR
		}
		return
	}
}

// Quiet reports whether the peer has neither sent anything nor closed: an idle connection that may be used. It does not block.
func (c *Conn) Quiet() bool {
	if err := c.raw.Control(c.onPoll); err != nil {
		return false
	}
	return c.poll[0].Revents == 0
}

// Gone reports whether the peer has reset the connection or ended its side of it. It does not block.
func (c *Conn) Gone() bool {
	if err := c.raw.Control(c.onPoll); err != nil {
		return true
	}
	return c.poll[0].Revents&(unix.POLLRDHUP|unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}
