package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// Errors of Dial, for errors.Is.
var (
	ErrDenied  = errors.New("denied by policy")
	ErrRefused = errors.New("connection refused")
)

// DialOptions of a Dialer. Zero values mean defaults.
type DialOptions struct {
	// Allow, when set, is asked before each dial; an error denies it.
	Allow func(netip.AddrPort) error
	// Timeout limits a connect; 1 s by default, as in Finagle.
	Timeout time.Duration
	// KeepAlive is the interval of TCP keep-alive probes; 15 s by default.
	KeepAlive time.Duration
	// Descriptors are shared with other dialers and with listeners; nil: with none.
	Descriptors *Descriptors
}

// Dialer connects to endpoints and counts how that went.
type Dialer struct {
	opts   DialOptions
	dialer net.Dialer

	// Connects, Denied, Refused, TimedOut and Failed count the outcomes of Dial; Open is the number of open connections.
	Connects, Denied, Refused, TimedOut, Failed atomic.Uint64
	Open                                        atomic.Int64
}

// NewDialer returns a Dialer.
func NewDialer(o DialOptions) *Dialer {
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 15 * time.Second
	}
	if o.Descriptors == nil {
		o.Descriptors = NewDescriptors()
	}
	d := &Dialer{opts: o}
	d.dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: o.KeepAlive, Interval: o.KeepAlive}
	d.dialer.Control = d.control
	return d
}

// Dial connects to addr. The limit is the smaller of the dialer's own and limit, if that is positive. Errors satisfy ErrDenied,
// ErrRefused, ErrTimeout or ErrDescriptors where they are that.
func (d *Dialer) Dial(ctx context.Context, shard uint32, addr netip.AddrPort, limit time.Duration) (*Conn, error) {
	if d.opts.Allow != nil {
		if err := d.opts.Allow(addr); err != nil {
			d.Denied.Add(1)
			return nil, fmt.Errorf("connect to %s: %w: %w", addr, ErrDenied, err)
		}
	}
	t := d.opts.Timeout
	if limit > 0 {
		t = min(t, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, t)
	defer cancel()
	// Not DialTCP: it binds a local port first, which then no connection to any other endpoint can have, also while the kernel
	// remembers the closed one for a minute.
	nc, err := d.dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, d.failed(addr, err)
	}
	c, err := newConn(nc.(*net.TCPConn), shard)
	if err != nil {
		_ = nc.Close() // the connect already failed
		return nil, d.failed(addr, err)
	}
	d.Connects.Add(1)
	d.Open.Add(1)
	d.opts.Descriptors.open.Add(1)
	c.onClose = d.connClosed
	return c, nil
}

// control looks at a socket before it connects.
func (d *Dialer) control(_, _ string, raw syscall.RawConn) error {
	if !d.opts.Descriptors.allows(raw) {
		return ErrDescriptors
	}
	return nil
}

func (d *Dialer) connClosed() {
	d.Open.Add(-1)
	d.opts.Descriptors.closed()
}

func (d *Dialer) failed(addr netip.AddrPort, err error) error {
	if isShortage(err) {
		err = ErrDescriptors
	}
	if !errors.Is(err, ErrDescriptors) {
		d.opts.Descriptors.freed()
	}
	var ne net.Error
	switch {
	case errors.Is(err, ErrDescriptors):
		d.Failed.Add(1)
		return fmt.Errorf("connect to %s: %w", addr, ErrDescriptors)
	case errors.Is(err, syscall.ECONNREFUSED):
		d.Refused.Add(1)
		return fmt.Errorf("connect to %s: %w", addr, ErrRefused)
	case errors.As(err, &ne) && ne.Timeout(), errors.Is(err, context.DeadlineExceeded):
		d.TimedOut.Add(1)
		return fmt.Errorf("connect to %s: %w", addr, ErrTimeout)
	}
	d.Failed.Add(1)
	return fmt.Errorf("connect to %s: %w", addr, err)
}
