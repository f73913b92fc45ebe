package transport

import (
	"errors"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrDescriptors means that the descriptors left are kept for what matters more than a connection to an endpoint.
var ErrDescriptors = errors.New("too many open files: raise the limit of the process")

// Of the numbers that descriptors may have, the highest quarter is not for clients, so that who is connected can still be served; and of
// it the highest half, limited to 128, is not for endpoints either: the admin port, files of configuration and names, and queries to name
// servers need few, but without them nobody sees what is wrong. The kernel gives the lowest number that is free, so the number of a new
// connection says enough, and nothing has to be counted.
const (
	notForClients   = 4
	notForEndpoints = 8
	maxReserve      = 128
)

// descriptorLimit returns the limit of the process, which may change while it runs, or the pretended one of a test.
func descriptorLimit(pretended *atomic.Uint64) uint64 {
	if limit := pretended.Load(); limit > 0 {
		return limit
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return unix.RLIM_INFINITY // as if there was none: what goes beyond it fails by itself
	}
	return l.Cur
}

// isForClients reports whether a client may have this descriptor.
func isForClients(fd uintptr, limit uint64) bool { return uint64(fd) < limit-limit/notForClients }

// isForEndpoints reports whether a connection to an endpoint may have this descriptor.
func isForEndpoints(fd uintptr, limit uint64) bool {
	return uint64(fd) < limit-min(limit/notForEndpoints, maxReserve)
}

// allowed reports what is says of a connection's descriptor.
func allowed(raw syscall.RawConn, pretended *atomic.Uint64, is func(uintptr, uint64) bool) (ok bool) {
	ok = true
	_ = raw.Control(func(fd uintptr) { ok = is(fd, descriptorLimit(pretended)) }) // fails where the connection is closed: then its user will see that
	return ok
}
