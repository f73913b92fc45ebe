package transport

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDialsShareLocalPorts gives a dialer fewer local ports than there are endpoints (Linux 6.3 or later): connections to different
// endpoints have one at the same time.
func TestDialsShareLocalPorts(t *testing.T) {
	t.Parallel()
	const ports = 8
	l, _ := accepting(t, ListenOptions{})
	first := int(l.Addr().Port()) &^ (ports - 1)
	d := NewDialer(DialOptions{})
	d.dialer.Control = func(_, _ string, rc syscall.RawConn) (err error) {
		if e := rc.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, (first+ports-1)<<16|first)
		}); e != nil {
			return e
		}
		return err
	}
	for i := range ports + 1 {
		l, _ := accepting(t, ListenOptions{})
		c, err := d.Dial(t.Context(), 0, l.Addr(), limit)
		if err != nil {
			t.Fatalf("endpoint %d: %v", i, err)
		}
		t.Cleanup(c.Close)
	}
}
