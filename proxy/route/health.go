package route

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// trialEvery is how often a request tries a bound name that is passed over, at most, whatever the number of names that pass it over.
const trialEvery = time.Second

// health tells whether a client has a live endpoint, once that was so for long enough, to the names that want to know. It has no goroutine.
type health struct {
	balancer *balance.Balancer
	// known reports whether the endpoints are: until then the client counts as well. limits are for how long it has no live endpoint until it
	// is unwell, and has one until it is well again.
	known  func() bool
	limits func() (after, back time.Duration)
	clock  func() int64
	// meter adds the metrics, once somebody wants to know.
	meter   func() *telemetry.Counter
	metered sync.Once
	trials  *telemetry.Counter
	// next is when a request may try the client.
	next atomic.Int64

	mu    sync.Mutex // guards what follows
	users int
	// well is what those are told who want to know; nil before there were any. seen says that it is by the endpoints.
	well *naming.Var[bool]
	seen bool
	// timer runs while what is told is not what is so; turn tells it from those before it.
	timer *time.Timer
	turn  int
	// since is when the client became unwell, until when the timer fires.
	since, until int64
}

// vital is one user's part of a health.
type vital struct {
	*naming.Var[bool]
	close func()
}

// Close implements naming.Live.
func (v vital) Close() { v.close() }

// watch returns what is told of the client. released is called when the caller closes it. Who is the first to ask is told what is so now.
func (h *health) watch(released func()) naming.Live[bool] {
	h.metered.Do(func() { h.trials = h.meter() })
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users++; h.users == 1 {
		h.well = naming.NewVar[bool]()
		h.tell()
	}
	return vital{h.well, sync.OnceFunc(func() {
		h.mu.Lock()
		if h.users--; h.users == 0 {
			h.rest()
		}
		h.mu.Unlock()
		released()
	})}
}

func (h *health) isLive() bool { return !h.known() || h.balancer.Live() > 0 }

// isWell returns what is told, or would be.
func (h *health) isWell() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users == 0 {
		return h.isLive()
	}
	well, _, _ := h.well.Load()
	return well
}

// examine is called after whatever may have changed whether there is a live endpoint. It must not block.
func (h *health) examine() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users == 0 {
		return
	}
	told, _, _ := h.well.Load()
	switch is := h.isLive(); {
	case !h.seen:
		h.tell() // what was found at first was never otherwise
	case is == told:
		h.rest()
	case h.timer == nil:
		h.wait(is)
	}
}

// wait lets what is so be told, if it stays so for long enough. mu is held.
func (h *health) wait(is bool) {
	after, back := h.limits()
	if is {
		after = back
	}
	h.turn++
	turn := h.turn
	h.until = h.clock() + int64(after)
	h.timer = time.AfterFunc(after, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.turn == turn {
			h.rest()
			h.tell()
		}
	})
}

// rest ends the wait. mu is held.
func (h *health) rest() {
	h.turn++
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
}

// tell tells what is so. mu is held.
func (h *health) tell() {
	h.seen = h.known()
	told, state, _ := h.well.Load()
	is := h.isLive()
	if state == naming.Ok && is == told {
		return
	}
	if !is {
		h.since = h.clock()
	}
	h.well.Set(is)
}

// mayTry reports whether a request may go to the client though it is passed over. It reports that to one request of each trialEvery, and only
// where there is an endpoint that answers or is due.
func (h *health) mayTry(nowNs int64) bool {
	next := h.next.Load()
	if nowNs < next || !h.next.CompareAndSwap(next, nowNs+int64(trialEvery)) || h.balancer.Live() == 0 && !h.balancer.IsDue(nowNs) {
		return false
	}
	h.trials.Incr(0)
	return true
}

// failed is told that a request that tried the client failed: it has to answer from now on for as long as before.
func (h *health) failed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users == 0 || h.timer == nil {
		return
	}
	if told, _, _ := h.well.Load(); !told {
		h.rest()
		h.wait(true)
	}
}

// state returns since when the client is unwell, and when it is well again if nothing fails; 0 where that is not to be expected.
func (h *health) state() (sinceNs, untilNs int64, unwell bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users == 0 {
		return 0, 0, false
	}
	if told, _, _ := h.well.Load(); told {
		return 0, 0, false
	}
	if h.timer != nil {
		untilNs = h.until
	}
	return h.since, untilNs, true
}

// watchHealth is the naming.Health of names: it keeps the client as long as it is asked.
func (r *Router) watchHealth(b *naming.Bound) naming.Live[bool] {
	c, err := r.acquireClient(b)
	if err != nil {
		return naming.Fixed(true) // the name is refused, and says why
	}
	c.follows(r.settings.Load().router.ClientFor(b.ID))
	return c.health.watch(func() { r.releaseClient(c, b.Addrs) })
}

// glanceHealth is the naming.Health of explanations: it keeps nothing.
func (r *Router) glanceHealth(b *naming.Bound) naming.Live[bool] {
	r.mu.Lock()
	c := r.clients[b.ID.String()]
	r.mu.Unlock()
	if c != nil && c.ready.Load() {
		return naming.Fixed(c.health.isWell())
	}
	addrs, state, _ := b.Addrs.Load()
	well := state == naming.Pending
	for i := range addrs.Endpoints {
		well = well || addrs.Endpoints[i].Serving && addrs.Endpoints[i].Weight > 0
	}
	return naming.Fixed(well)
}

// watchers return what names and explanations know the health of bound names by, or nil where names do not fall over: the proxy that chose
// an endpoint for a router of the node's own does.
func (r *Router) watchers() (watch, glance naming.Health) {
	if cfg := r.settings.Load().router; !cfg.FailsOver || cfg.IsLocal() {
		return nil, nil
	}
	return r.watchHealth, r.glanceHealth
}

// Glance returns what explanations know the health of bound names by, or nil where names do not fall over.
func (r *Router) Glance() naming.Health {
	_, glance := r.watchers()
	return glance
}
