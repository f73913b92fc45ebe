package transport

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// place is where a function says, and never lost.
type place func() netip.AddrPort

func (p place) Via() netip.AddrPort      { return p() }
func (p place) Lost(netip.AddrPort) bool { return false }

func TestHopRests(t *testing.T) {
	pools := NewPools(NewDialer(DialOptions{}), PoolOptions{})
	defer pools.Close()
	var at atomic.Pointer[netip.AddrPort]
	at.Store(&netip.AddrPort{})
	h := NewHop(pools, place(func() netip.AddrPort { return *at.Load() }))
	defer h.Close()
	if h.Via(0) != nil {
		t.Fatal("a hop without an address")
	}
	one, two := netip.MustParseAddrPort("10.0.0.1:4141"), netip.MustParseAddrPort("10.0.0.2:4141")
	at.Store(&one)
	v := h.Via(1)
	if v == nil || v.Addr() != one || h.Via(2) != v {
		t.Fatalf("got %+v", v)
	}
	now := int64(time.Minute)
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 32} {
		pause *= time.Second
		v.Failed(now)
		v.Failed(now + 1) // one of many that failed with it
		if h.Via(now+int64(pause*3/4)-1) != nil {
			t.Errorf("pause %s: tried too soon", pause)
		}
		now += int64(pause*5/4) + 1
		if h.Via(now) != v {
			t.Fatalf("pause %s: not tried again", pause)
		}
		if h.Via(now) != nil {
			t.Errorf("pause %s: a second one tries", pause)
		}
	}
	v.Works()
	if h.Via(now) != v || h.Via(now) != v { //nolint:staticcheck // asked twice: the second time it is remembered
		t.Error("it works and rests")
	}
	v.Failed(now)
	if h.Via(now+int64(5*time.Second/4)+1) != v {
		t.Error("the first pause after it worked is not the shortest")
	}
	v.Failed(now)
	at.Store(&two)
	if next := h.Via(now); next == nil || next == v || next.Addr() != two || !v.closed.Load() {
		t.Errorf("another address: %+v", next)
	}
	at.Store(&netip.AddrPort{})
	if h.Via(now) != nil {
		t.Error("the address that was is used")
	}
	at.Store(&one)
	h.Close()
	if h.Via(now) != nil {
		t.Error("closed and used")
	}
}

// TestHopMovesUnderUse: whatever happens at once, every pool but the last one is closed.
func TestHopMovesUnderUse(t *testing.T) {
	pools := NewPools(NewDialer(DialOptions{}), PoolOptions{})
	defer pools.Close()
	var n atomic.Uint32
	h := NewHop(pools, place(func() netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n.Load())}), 4141)
	}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				h.Via(1)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	h.Via(1)
	pools.mu.Lock()
	open := len(pools.all)
	pools.mu.Unlock()
	if open != 1 {
		t.Errorf("%d pools", open)
	}
	h.Close()
	if pools.mu.Lock(); len(pools.all) != 0 {
		t.Errorf("%d pools after Close", len(pools.all))
	}
	pools.mu.Unlock()
}
