package transport

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A hop that cannot be connected to is left alone for hopPause, doubled at each further failure up to hopMaxPause, each with up to a
// quarter added or taken away.
const (
	hopPause    = time.Second
	hopMaxPause = 32 * time.Second
)

// Way is how an endpoint is reached: directly, or through the proxy on its node while there is one.
type Way struct {
	Direct *Pool
	// Hop is nil for an endpoint that is always reached directly.
	Hop *Hop
}

// Place is where the proxy of one node is.
type Place interface {
	// Via returns the address now, or the zero value.
	Via() netip.AddrPort
	// Lost reports whether the proxy that was at the address left without an announcement.
	Lost(netip.AddrPort) bool
}

// Hop is the way to the proxy on one node. All endpoints on that node share it, with one pool of connections.
type Hop struct {
	pools *Pools
	place Place

	current atomic.Pointer[Via]
	mu      sync.Mutex // held while current is replaced; guards closed
	closed  bool
}

// Via is a hop at one address.
type Via struct {
	*Pool
	place Place
	// until is when it may be used again after failed connects (in the time of Now), pause how long it rests after the next failure. Both
	// are 0 while all is well.
	until, pause atomic.Int64
	// probing is true while one request tries whether it works again.
	probing atomic.Bool
}

// NewHop returns the hop of a place. The caller owes one Close.
func NewHop(pools *Pools, place Place) *Hop { return &Hop{pools: pools, place: place} }

// Via returns what to send through now, or nil: there is no proxy, or it could not be connected to a moment ago. Of those who ask once
// that moment is over one gets it, and tries.
func (h *Hop) Via(now int64) *Via {
	at := h.place.Via()
	v := h.current.Load()
	if v == nil || v.Addr() != at {
		if v == nil && !at.IsValid() {
			return nil
		}
		if v = h.replace(); v == nil {
			return nil
		}
	}
	until := v.until.Load()
	if until == 0 {
		return v
	}
	if now < until || !v.until.CompareAndSwap(until, now+v.pause.Load()) {
		return nil
	}
	v.probing.Store(true)
	return v
}

// replace makes the pool of the address there is now. Connections of the one before close when they come back.
func (h *Hop) replace() *Via {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, old := h.place.Via(), h.current.Load()
	if old != nil && old.Addr() == at {
		return old
	}
	if old != nil {
		h.current.Store(nil)
		old.Close()
	}
	if h.closed || !at.IsValid() {
		return nil
	}
	v := &Via{Pool: h.pools.New(at), place: h.place}
	h.current.Store(v)
	return v
}

// Close closes the idle connections.
func (h *Hop) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if v := h.current.Swap(nil); v != nil {
		v.Close()
	}
}

// Lost reports whether the proxy left without an announcement: it may be frozen, and never answer what it was sent.
func (v *Via) Lost() bool { return v.place.Lost(v.Addr()) }

// Works says that the hop answered.
func (v *Via) Works() {
	if v.until.Load() != 0 {
		v.probing.Store(false)
		v.pause.Store(0)
		v.until.Store(0)
	}
}

// Failed says that a connect failed: the hop is left alone for a while. Many that fail at once count as one.
func (v *Via) Failed(now int64) {
	if until := v.until.Load(); now < until && !v.probing.CompareAndSwap(true, false) {
		return
	}
	pause := max(v.pause.Load(), int64(hopPause))
	v.pause.Store(min(2*pause, int64(hopMaxPause)))
	v.until.Store(now + pause - pause/4 + rand.Int64N(pause/2))
}
