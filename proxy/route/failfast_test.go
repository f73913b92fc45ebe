package route

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

func failing(t *testing.T, on bool) *config.Router {
	return &config.Router{
		Dtab: dtab.RulesOf(parse(t, "/svc => /#/a")), BindingTimeout: time.Second,
		Clients: []config.Client{{Prefix: dtab.Prefix{{Label: "#"}}, FailFast: on}},
	}
}

// TestFailFast: an endpoint that could not be connected to gets no request; it is tried in the background after one second, two and so on,
// up to 32 each, and comes back with the first connect that works. Where it is off the metrics are there and 0.
func TestFailFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "")
		defer h.Close()
		begin := time.Now()
		h.options.Clock = func() int64 { return int64(time.Since(begin)) + 1 }
		var tries atomic.Int64
		var works atomic.Bool
		h.options.Connect = func(context.Context, any) error {
			tries.Add(1)
			if works.Load() {
				return nil
			}
			return errors.New("refused")
		}
		var told []bool
		h.options.Lost = func(_ dtab.Path, _ naming.Endpoint, lost bool, _ time.Duration) { told = append(told, lost) }
		h.fake.bind("/a/web", endpoint(1), endpoint(2))
		h.configure(failing(t, false))
		l := h.leaf("/svc/web")
		bad := l.client.balancer.Nodes()[0]
		bad.ConnectFailed(h.options.Clock())
		if _, lost := bad.IsLost(); lost {
			t.Error("an endpoint is lost though failFast is off")
		}
		metrics := func(want map[string]string) {
			t.Helper()
			for name, v := range want {
				if got := h.metric("client/#/a/web/failfast/" + name); got != v {
					t.Errorf("%s: %s, want %s", name, got, v)
				}
			}
		}
		metrics(map[string]string{"marked_dead": "0", "marked_available": "0", "unhealthy_for_ms": "0", "unhealthy_num_tries": "0", "is_marked_dead": "0"})

		h.configure(failing(t, true))
		bad.ConnectFailed(h.options.Clock())
		bad.ConnectFailed(h.options.Clock())
		for range 100 {
			n, err := l.Pick(0, h.options.Clock(), nil)
			if err != nil || n.Identity() == bad.Identity() {
				t.Fatalf("%v, %v", n, err)
			}
			n.Done(0, 1, classify.Success)
		}
		time.Sleep(999 * time.Millisecond) // the clock of the bubble
		synctest.Wait()
		if n := tries.Load(); n != 0 {
			t.Errorf("%d tries within the first second", n)
		}
		time.Sleep(9*time.Minute - 999*time.Millisecond) // the clock of the bubble
		synctest.Wait()
		if n := tries.Load(); n < 540/32 || n > 540/16 {
			t.Errorf("%d tries within nine minutes, want one every 32 s and some at first", n)
		}
		metrics(map[string]string{"marked_dead": "1", "marked_available": "0", "unhealthy_for_ms": "540000", "is_marked_dead": "1"})
		works.Store(true)
		time.Sleep(32 * time.Second) // the clock of the bubble
		synctest.Wait()
		if _, lost := bad.IsLost(); lost || !bad.Up(h.options.Clock()) {
			t.Error("it can be connected to, and is lost still")
		}
		metrics(map[string]string{"marked_dead": "1", "marked_available": "1", "unhealthy_for_ms": "0", "unhealthy_num_tries": "0", "is_marked_dead": "0"})
		if len(told) != 2 || !told[0] || told[1] {
			t.Errorf("told %v", told)
		}
	})
}

// TestFailFastEnds: an endpoint that left is not tried any more, nor is one of a router that is closed, also where a connect hangs.
func TestFailFastEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "")
		begin := time.Now()
		h.options.Clock = func() int64 { return int64(time.Since(begin)) + 1 }
		var tries atomic.Int64
		h.options.Connect = func(ctx context.Context, _ any) error {
			tries.Add(1)
			<-ctx.Done()
			return ctx.Err()
		}
		h.fake.bind("/a/web", endpoint(1), endpoint(2), endpoint(3))
		h.configure(failing(t, true))
		nodes := h.leaf("/svc/web").client.balancer.Nodes()
		nodes[0].ConnectFailed(1)
		nodes[1].ConnectFailed(1)
		h.fake.bind("/a/web", endpoint(2), endpoint(3))
		synctest.Wait()
		time.Sleep(time.Minute) // the clock of the bubble
		synctest.Wait()
		if n := tries.Load(); n != 1 {
			t.Errorf("%d tries, want that of the one that is still there", n)
		}
		h.Close()
	})
}
