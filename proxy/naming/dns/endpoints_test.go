package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
)

// Targets of which none has an address say why: that of the first, and how many there are beside it.
func TestEndpointsSayWhyThereAreNone(t *testing.T) {
	t.Parallel()
	r := New(Options{Lookup: func(_ context.Context, host string) ([]netip.Addr, time.Duration, error) {
		switch host {
		case "gone":
			return nil, time.Hour, &net.DNSError{IsNotFound: true}
		case "silent":
			return nil, time.Hour, errors.New("no answer")
		}
		return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, time.Hour, nil
	}})
	defer r.Close()
	for _, c := range []struct {
		hosts []string
		want  string
	}{
		{[]string{"gone"}, `0: "gone" is not resolved: there is no such host`},
		{[]string{"silent", "gone"}, `0: "silent" is not resolved: no answer; and 1 more`},
		{[]string{"gone", "web"}, "1: "},
		{nil, "0: "},
	} {
		e := r.Endpoints()
		var targets []Target
		for _, host := range c.hosts {
			targets = append(targets, Target{Host: host, Port: 80})
		}
		e.Follow(targets)
		got := ""
		for deadline := time.After(10 * time.Second); got != c.want; {
			changed := e.Changed()
			if addrs, state, _ := e.Load(); state == naming.Ok {
				got = fmt.Sprintf("%d: %s", len(addrs.Endpoints), addrs.None)
			}
			if got == c.want {
				break
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("%v: %s, want %s", c.hosts, got, c.want)
			}
		}
		e.End()
	}
}
