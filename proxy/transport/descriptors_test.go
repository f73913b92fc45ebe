package transport

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// With few descriptors left clients are refused at once and counted, while those who are connected are served on; then there are none for
// endpoints either. Both come back by themselves.
func TestDescriptorsAreKeptBack(t *testing.T) {
	t.Parallel()
	l, conns := accepting(t, ListenOptions{})
	addr := l.Addr()
	d := NewDialer(DialOptions{})
	first, err := d.Dial(t.Context(), 0, addr, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	<-conns

	l.starve(true)
	over, err := net.Dial("tcp", addr.String())
	if err == nil { // the reset may be there before connect returns
		if _, err := over.Read(make([]byte, 1)); err == nil {
			t.Error("a connection over the limit was served")
		}
		_ = over.Close()
	}
	eventually(t, "the refusal is counted", func() bool { return l.Starved.Load() == 1 })
	if l.Refused.Load() != 0 || l.Errors.Load() != 0 || l.Open.Load() != 1 {
		t.Errorf("refused %d, errors %d, open %d", l.Refused.Load(), l.Errors.Load(), l.Open.Load())
	}
	d.starve(true)
	if _, err := d.Dial(t.Context(), 0, addr, limit); !errors.Is(err, ErrDescriptors) || d.Failed.Load() != 1 {
		t.Errorf("error %v, %d failed", err, d.Failed.Load())
	}

	l.starve(false)
	d.starve(false)
	again, err := d.Dial(t.Context(), 0, addr, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	(<-conns).Close()
}

// starve makes the process look as if it had no descriptors left.
func (l *Listener) starve(on bool) { l.limit.Store(pretended(on)) }

func (d *Dialer) starve(on bool) { d.limit.Store(pretended(on)) }

func pretended(on bool) uint64 {
	if on {
		return 1
	}
	return 0
}

func TestWhoMayHaveADescriptor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fd                 uintptr
		limit              uint64
		clients, endpoints bool
	}{
		{71, 96, true, true}, {72, 96, false, true}, {83, 96, false, true}, {84, 96, false, false},
		{767, 1024, true, true}, {768, 1024, false, true}, {896, 1024, false, false},
		{749_999, 1_000_000, true, true}, {750_000, 1_000_000, false, true}, {999_871, 1_000_000, false, true},
		{1 << 30, ^uint64(0), true, true}, {3, 0, false, false},
	} {
		if got := isForClients(c.fd, c.limit); got != c.clients {
			t.Errorf("%d of %d for clients: %v", c.fd, c.limit, got)
		}
		if got := isForEndpoints(c.fd, c.limit); got != c.endpoints {
			t.Errorf("%d of %d for endpoints: %v", c.fd, c.limit, got)
		}
	}
}

// Idle connections to other endpoints make room for one that is needed.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	p, pool, dial := pooled(t, PoolOptions{})
	c, peer := dial()
	defer peer.Close()
	pool.Put(1, c)
	l, conns := accepting(t, ListenOptions{})
	other := p.New(l.Addr())
	defer other.Close()
	// The test cannot say which number the kernel gives: the limit is met by the first try, and not by the second.
	tries := 0
	p.Dialer().dialer.Control = func(_, _ string, _ syscall.RawConn) error {
		if tries++; tries == 1 {
			return ErrDescriptors
		}
		return nil
	}
	got, err := other.Dial(t.Context(), 0, limit)
	if err != nil {
		t.Fatal(err)
	}
	got.Close()
	(<-conns).Close()
	if p.Idle() != 0 || p.Overflow.Load() != 1 {
		t.Errorf("%d idle, %d made room", p.Idle(), p.Overflow.Load())
	}
	tries = 0
	if _, err := other.Dial(t.Context(), 0, limit); !errors.Is(err, ErrDescriptors) || tries != 1 {
		t.Errorf("without idle ones: error %v after %d tries", err, tries)
	}
}
