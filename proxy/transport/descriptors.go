package transport

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrDescriptors means that the descriptors left are kept for what matters more than a connection to an endpoint.
var ErrDescriptors = errors.New("too few file descriptors: raise RLIMIT_NOFILE of the process")

// Of the numbers that descriptors may have, the highest quarter, limited to 4096, is not for clients, so that who is connected can still be
// served; and of it the highest half, limited to 128, is not for endpoints either: the admin port, files of configuration and names, and queries to name
// servers need few, but without them nobody sees what is wrong. The kernel gives the lowest number that is free, so the number of a new
// connection says enough, and nothing has to be counted.
const (
	notForClients   = 4
	maxForEndpoints = 4096
	notForEndpoints = 8
	maxReserve      = 128
)

// lineInterval is how often who waits for a descriptor tries without having heard of a free one: files and the like close unseen.
const lineInterval = 100 * time.Millisecond

// Descriptors are those of the process, which listeners and dialers share. Who finds none for a connection to an endpoint gets in line.
type Descriptors struct {
	// pretended is what a test says that the limit is, or 0.
	pretended atomic.Uint64
	// open is the number of connections.
	open atomic.Int64
	// waiting is the length of line, for those who may not wait for the lock.
	waiting atomic.Int32

	mu    sync.Mutex // guards what follows
	line  []*waiter  // who came first is first
	pools []*Pools   // replaced, never changed: it is read without the lock
}

// waiter is a place in the line.
type waiter struct {
	pool  *Pool
	since int64
	// turn gets a connection to the endpoint of pool, or nil: there may be room for one. It holds one, and is sent to once for each time
	// that the waiter is taken from the line.
	turn chan *Conn
}

// NewDescriptors returns what the listeners and dialers of a process share.
func NewDescriptors() *Descriptors { return &Descriptors{} }

// DescriptorLimits says how many descriptors a process may have, how many of them may be those of clients, and how many those of clients
// and endpoints together.
func DescriptorLimits() (all, clients, connections uint64) {
	all = NewDescriptors().limit()
	return all, forClients(all), forEndpoints(all)
}

// limit returns the limit of the process, which may change while it runs.
func (d *Descriptors) limit() uint64 {
	if limit := d.pretended.Load(); limit > 0 {
		return limit
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return unix.RLIM_INFINITY // as if there was none: what goes beyond it fails by itself
	}
	return l.Cur
}

func forClients(limit uint64) uint64 { return limit - min(limit/notForClients, maxForEndpoints) }

func forEndpoints(limit uint64) uint64 { return limit - min(limit/notForEndpoints, maxReserve) }

// isForClients reports whether a client may have this descriptor.
func isForClients(fd uintptr, limit uint64) bool { return uint64(fd) < forClients(limit) }

// isForEndpoints reports whether a connection to an endpoint may have this descriptor.
func isForEndpoints(fd uintptr, limit uint64) bool { return uint64(fd) < forEndpoints(limit) }

// allows reports whether a connection to an endpoint may have the descriptor.
func (d *Descriptors) allows(raw syscall.RawConn) bool {
	fd, ok := number(raw)
	return !ok || isForEndpoints(fd, d.limit())
}

// number returns a descriptor, or false where it is closed.
func number(raw syscall.RawConn) (fd uintptr, ok bool) {
	err := raw.Control(func(n uintptr) { fd = n })
	return fd, err == nil
}

// isShortage reports whether an error of the kernel means that there are no descriptors, in the process or on the host.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// join adds pools whose idle connections make room; leave takes them away.
func (d *Descriptors) join(p *Pools) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pools = append(d.pools, p)
}

func (d *Descriptors) leave(p *Pools) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pools = slices.DeleteFunc(slices.Clone(d.pools), func(o *Pools) bool { return o == p })
}

// makeRoom closes an idle connection to an endpoint, and reports whether there was one.
func (d *Descriptors) makeRoom() bool {
	d.mu.Lock()
	pools := d.pools
	d.mu.Unlock()
	return slices.ContainsFunc(pools, (*Pools).makeRoom)
}

// closed says that a connection is.
func (d *Descriptors) closed() {
	d.open.Add(-1)
	d.freed()
}

// freed lets the first in line try: a descriptor was closed.
func (d *Descriptors) freed() {
	if d.waiting.Load() == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.line) > 0 {
		d.first() <- nil
	}
}

// first takes the first in line away. d.mu is held.
func (d *Descriptors) first() chan<- *Conn {
	w := d.line[0]
	d.line = slices.Delete(d.line, 0, 1)
	d.waiting.Store(int32(len(d.line)))
	return w.turn
}

// handOver gives a connection that nobody uses any more to the first in line, if that waits for one to the same endpoint.
func (d *Descriptors) handOver(p *Pool, c *Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.line) == 0 || d.line[0].pool != p {
		return false
	}
	d.first() <- c
	return true
}

// await takes the waiter's place in line, until it is its turn, for lineInterval, until ctx ends or until its time is up, whichever comes
// first. It returns a connection if one was handed over.
func (d *Descriptors) await(ctx context.Context, w *waiter, until int64) *Conn {
	d.mu.Lock()
	at, _ := slices.BinarySearchFunc(d.line, w.since, func(o *waiter, since int64) int { return cmp.Compare(o.since, since) })
	d.line = slices.Insert(d.line, at, w)
	d.waiting.Store(int32(len(d.line)))
	d.mu.Unlock()
	t := time.NewTimer(min(lineInterval, time.Duration(until-Now())))
	defer t.Stop()
	select {
	case c := <-w.turn:
		return c
	case <-t.C:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := slices.Index(d.line, w); at >= 0 {
		d.line = slices.Delete(d.line, at, at+1)
		d.waiting.Store(int32(len(d.line)))
		return nil
	}
	return <-w.turn // it was sent with the lock held
}
