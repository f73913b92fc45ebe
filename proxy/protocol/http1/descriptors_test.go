package http1

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// A request for which no descriptor became free says so, asks no other endpoint, where there would be none either, and speaks against
// neither the endpoint nor the hop.
func TestTooFewDescriptors(t *testing.T) {
	t.Parallel()
	first, second, hop := newEndpoint(t, serveOK), newEndpoint(t, serveOK), newEndpoint(t, serveOK)
	for name, isHopped := range map[string]bool{"directly": false, "through a hop": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{dial: transport.DialOptions{
				Timeout: 10 * time.Millisecond, Allow: func(netip.AddrPort) error { return transport.ErrDescriptors },
			}}, first.addr, second.addr)
			if isHopped {
				r.withHop(hop.addr)
			}
			c := r.dial()
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			h := c.head()
			if !strings.HasPrefix(h, "HTTP/1.1 503 ") || !strings.Contains(h, "\r\nl5d-err: too-few-descriptors%3A+connect+to+") ||
				!strings.Contains(h, "RLIMIT_NOFILE") || !strings.Contains(h, "waited+10ms") || !strings.Contains(h, "\r\nl5d-retryable: true\r\n") {
				t.Errorf("got %q", h)
			}
			o := r.target.outcome(t, 0)
			if o.Reason != ReasonDescriptors || o.Class != classify.Failure || o.HopFailures != 0 || r.target.picks.Load() != 1 {
				t.Errorf("%+v after %d picks", o, r.target.picks.Load())
			}
		})
	}
}
