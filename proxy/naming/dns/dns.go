// Package dns keeps the addresses of host names live. It is not a namer: /$/inet and io.l5d.fs resolve their hosts here, so that
// one host is asked for once however many names lead to it.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
)

const (
	// RefreshInterval is how often a host in use is resolved again, as Linkerd's inet namer does.
	RefreshInterval = 5 * time.Second
	// QueryTimeout bounds one resolution.
	QueryTimeout = 4 * time.Second
	// MaxAddresses bounds the addresses kept of one host.
	MaxAddresses = 1000
)

// LookupFunc resolves a host to its addresses. net.Resolver.LookupNetIP with network "ip" is one.
type LookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// Resolver keeps hosts live. Close ends all of its work.
//
//nolint:containedctx // it is the lifetime of the background work that Close ends, not that of a call
type Resolver struct {
	lookup LookupFunc
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu    sync.Mutex // guards hosts
	hosts map[string]*naming.Shared[[]netip.Addr]
}

// New returns a Resolver; a nil lookup means the system's.
func New(lookup LookupFunc) *Resolver {
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	r := &Resolver{lookup: lookup, hosts: make(map[string]*naming.Shared[[]netip.Addr])}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends all resolution and waits for it.
func (r *Resolver) Close() {
	r.cancel()
	r.wait.Wait()
}

// Resolve returns the live addresses of a host: a name or an IP literal. A host that does not exist is Ok without addresses;
// every other failure keeps the last good addresses.
func (r *Resolver) Resolve(host string) naming.Live[[]netip.Addr] {
	if ip, ok := ParseLiteral(host); ok {
		return naming.Fixed([]netip.Addr{ip})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if shared := r.hosts[host]; shared != nil {
		if live, ok := shared.Acquire(); ok {
			return live
		}
	}
	ctx, cancel := context.WithCancel(r.ctx)
	v := naming.NewVar[[]netip.Addr]()
	var shared *naming.Shared[[]netip.Addr]
	shared = naming.NewShared(v, func() {
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.hosts[host] == shared {
			delete(r.hosts, host)
		}
	})
	r.hosts[host] = shared
	live, _ := shared.Acquire()
	r.wait.Go(func() { r.refresh(ctx, host, v) })
	return live
}

// ParseLiteral returns the address that a host writes out, if it is no name. Beside the usual forms it knows the short decimal ones of
// inet_aton with two or three parts, as in /$/inet/127.1/8080, the way Linkerd's own documents write the local host.
func ParseLiteral(host string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), true
	}
	parts := strings.Split(host, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 32 - 8*i // the last part fills what is left
		}
		n, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return netip.Addr{}, false
		}
		value = value<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

func (r *Resolver) refresh(ctx context.Context, host string, v *naming.Var[[]netip.Addr]) {
	tick := time.NewTicker(RefreshInterval)
	defer tick.Stop()
	for {
		r.query(ctx, host, v)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Resolver) query(ctx context.Context, host string, v *naming.Var[[]netip.Addr]) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	addrs, err := r.lookup(ctx, host)
	var notFound *net.DNSError
	if errors.As(err, &notFound) && notFound.IsNotFound {
		addrs, err = nil, nil
	}
	if err != nil {
		if ctx.Err() != context.Canceled {
			v.Fail(err)
		}
		return
	}
	addrs = slices.Clone(addrs)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	addrs = addrs[:min(len(addrs), MaxAddresses)]
	if old, state, _ := v.Load(); state != naming.Ok || !slices.Equal(old, addrs) {
		v.Set(addrs)
	}
}
