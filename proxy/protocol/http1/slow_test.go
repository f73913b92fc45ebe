package http1

import (
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// A body that comes slower than allowed is answered with 408, whether it is waited for before the request is sent or after.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		_, _ = io.Copy(io.Discard, c.r)
	})
	for name, length := range map[string]int{"short": 100, "long": 100_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{limits: Limits{BodyRate: 1000, BodyGrace: 50 * time.Millisecond, StallTimeout: limit}, obs: newSeen()}, e.addr)
			c := r.dial()
			c.send(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: %d\r\n\r\nabc", length))
			h := c.head()
			if !strings.HasPrefix(h, "HTTP/1.1 408 ") || !strings.Contains(h, "\r\nConnection: close\r\n") || !strings.Contains(h, "minBodyBytesPerSecond") {
				t.Errorf("got %q", h)
			}
			if o := r.s.observer.(*seen).next(t); o.Reason != ReasonBodySlow || o.Class != classify.Ignored {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// The time that a body may be waited for grows with what came of it, and what was waited counts, all else does not.
func TestBodyPatience(t *testing.T) {
	t.Parallel()
	x := &exchange{limits: &Limits{BodyRate: 1000, BodyGrace: time.Second}}
	for _, c := range []struct {
		kind   framing
		came   int64
		waited time.Duration
		want   int64
	}{
		{framingLength, 0, 0, int64(time.Second)},
		{framingLength, 500, 0, int64(1500 * time.Millisecond)},
		{framingLength, 500, 1400 * time.Millisecond, int64(100 * time.Millisecond)},
		{framingLength, 1, time.Minute, int64(1001*time.Millisecond - time.Minute)},
		{framingLength, 1 << 60, time.Hour, 1 << 62},
		{framingChunked, 1, time.Hour, math.MaxInt64},
	} {
		x.req.length, x.reqBody = c.came+500, body{kind: c.kind, left: 500}
		x.bodyWaited = int64(c.waited)
		if got := x.bodyPatience(); got != c.want {
			t.Errorf("%d bytes after %v: %v, want %v", c.came, c.waited, time.Duration(got), time.Duration(c.want))
		}
	}
}
