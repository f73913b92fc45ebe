package transport

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// While descriptors are short, clients wait in the kernel's queue for one: for doorWait, in which it is looked for each doorInterval. Once
// that was in vain they are refused at once, until there is room for one again.
const (
	doorWait     = time.Second
	doorInterval = 5 * time.Millisecond
	// nearLimit is the part of the limit from which on it is looked before a client is let in: those let in before may need one more each.
	nearLimit = 4
)

// door is what an acceptor knows of the room for clients.
type door struct {
	// isNear says that it is to be looked.
	isNear bool
	// hadRoom says that there was a descriptor for the next client. A connection to an endpoint may take it in between; then the client may
	// have one of the first half of those that are for endpoints alone.
	hadRoom bool
	// isShut says that clients waited in vain.
	isShut bool
}

// opens reports whether a client may have the descriptor of its connection.
func (l *Listener) opens(d *door, raw syscall.RawConn) bool {
	fd, ok := number(raw)
	if !ok {
		return true // its user will see that it is closed
	}
	limit := l.opts.Descriptors.limit()
	d.isNear = max(uint64(fd), uint64(l.opts.Descriptors.open.Load())) >= limit/nearLimit
	inTurn := d.hadRoom && uint64(fd) < (forClients(limit)+forEndpoints(limit))/2
	d.hadRoom = false
	if isForClients(fd, limit) || inTurn {
		d.isShut = false
		return true
	}
	return false
}

// wait waits for a client, and then until there is a descriptor for it. Connections to endpoints that are idle make room.
func (l *Listener) wait(d *door) {
	queue, err := l.queue.SyscallConn()
	if err != nil || queue.Read(hasClient) != nil {
		return // closed: accept will say so
	}
	for until := Now() + int64(doorWait); !isForClients(lowestFree(queue), l.opts.Descriptors.limit()); {
		if l.opts.Descriptors.makeRoom() {
			continue
		}
		if d.isShut = d.isShut || Now() >= until; d.isShut || !l.rest(doorInterval) {
			return
		}
	}
	d.hadRoom = true
}

// hasClient is the poller's callback: it must not block.
func hasClient(fd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return n > 0 || err != nil
		}
	}
}

// lowestFree returns the number that the next descriptor will have.
func lowestFree(raw syscall.RawConn) uintptr {
	next := -1
	_ = raw.Control(func(fd uintptr) { // fails on a closed listener, where no number matters
		var err error
		if next, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			_ = unix.Close(next) // nothing was done with it
		}
	})
	if next < 0 {
		return 1 << 31 // there is none
	}
	return uintptr(next)
}
