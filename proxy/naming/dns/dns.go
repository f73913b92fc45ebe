// Package dns keeps what name servers say live: the addresses of hosts, and SRV records. It is not a namer: /$/inet, io.l5d.fs and
// others resolve their hosts here, so that one host is asked for once however many names lead to it.
package dns

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
)

const (
	// MinTTL and MaxTTL bound how soon an answer is asked for again, whatever its TTL.
	MinTTL = time.Second
	// MaxTTL bounds how long an answer is believed.
	MaxTTL = 5 * time.Minute
	// MaxNegativeTTL bounds it for a name that does not exist: it may begin to.
	MaxNegativeTTL = 30 * time.Second
	// RefreshInterval stands in for a TTL where there is none: for names of the hosts file, and after a failure. Linkerd's inet namer
	// asks that often for all.
	RefreshInterval = 5 * time.Second
	// MissingGrace is how long a name that had an answer must be said not to exist until that is believed. A name server that begins to
	// serve, or lost a zone for a moment, says so too.
	MissingGrace = 30 * time.Second
	// QueryTimeout bounds one resolution: two name servers of resolv.conf may be silent before a third one answers.
	QueryTimeout = 11 * time.Second
	// MaxNames bounds the names kept live. One beyond fails at once, and is counted.
	MaxNames = 20_000
	// MaxRecords bounds the addresses, or records, kept of one name.
	MaxRecords = 1000
	// maxQueries bounds the resolutions under way: each has sockets.
	maxQueries = 64
)

// LookupFunc resolves a host to its addresses. ttl says for how long the answer holds, also one that there is no such host (a
// net.DNSError with IsNotFound); 0 where that is not known.
type LookupFunc func(ctx context.Context, host string) (addrs []netip.Addr, ttl time.Duration, err error)

// Options of a Resolver. The zero value of a field means its default.
type Options struct {
	// Lookup is the system's resolution unless given.
	Lookup LookupFunc
	// Servers, as host:port, are asked in their order in place of those of resolv.conf.
	Servers []string
	// MinSRVInterval is how often SRV records are asked for at most; the TTL alone decides unless given.
	MinSRVInterval time.Duration
}

// Resolver keeps names live. Close ends all of its work.
//
//nolint:containedctx // it is the lifetime of the background work that Close ends, not that of a call
type Resolver struct {
	options Options
	system  system
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	// slots holds a token for each resolution under way.
	slots chan struct{}
	stats struct{ queries, failures, refused atomic.Uint64 }

	// maxNames is MaxNames, lower in tests.
	maxNames int

	mu    sync.Mutex // guards what follows
	hosts map[hostKey]*naming.Shared[[]netip.Addr]
	srv   map[string]*naming.Shared[[]SRV]
}

type hostKey struct {
	host string
	once bool
}

// Stats are what a Resolver did since it was made, and how many names it keeps.
type Stats struct{ Names, Queries, Failures, Refused uint64 }

// New returns a Resolver.
func New(o Options) *Resolver {
	r := &Resolver{
		options: o, system: system{servers: o.Servers}, slots: make(chan struct{}, maxQueries), maxNames: MaxNames,
		hosts: make(map[hostKey]*naming.Shared[[]netip.Addr]), srv: make(map[string]*naming.Shared[[]SRV]),
	}
	if r.options.Lookup == nil {
		r.options.Lookup = r.system.hosts
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends all resolution and waits for it.
func (r *Resolver) Close() {
	r.cancel()
	r.wait.Wait()
}

// Stats returns what the Resolver did.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{
		Names:   uint64(len(r.hosts) + len(r.srv)),
		Queries: r.stats.queries.Load(), Failures: r.stats.failures.Load(), Refused: r.stats.refused.Load(),
	}
}

// Resolve returns the live addresses of a host: a name or an IP literal. A host that does not exist is Ok without addresses;
// a failure keeps the last good addresses, those of one family where it is of that one, and so does, for MissingGrace, the answer that a host is no more.
func (r *Resolver) Resolve(host string) naming.Live[[]netip.Addr] { return r.resolve(host, false) }

// ResolveOnce is Resolve for a host whose first answer stays for as long as somebody uses it.
func (r *Resolver) ResolveOnce(host string) naming.Live[[]netip.Addr] { return r.resolve(host, true) }

func (r *Resolver) resolve(host string, once bool) naming.Live[[]netip.Addr] {
	if ip, ok := ParseLiteral(host); ok {
		return naming.Fixed([]netip.Addr{ip})
	}
	return follow(r, r.hosts, hostKey{host, once}, &question[[]netip.Addr]{
		once: once,
		ask: func(ctx context.Context) ([]netip.Addr, time.Duration, error) {
			addrs, ttl, err := r.options.Lookup(ctx, host)
			return tidy(addrs), ttl, err
		},
		empty: func(a []netip.Addr) bool { return len(a) == 0 },
		equal: slices.Equal[[]netip.Addr],
		join: func(answer, last []netip.Addr, half *halfAnswer) []netip.Addr {
			kept := slices.DeleteFunc(slices.Clone(last), func(a netip.Addr) bool { return !half.lacks(a) })
			return tidy(append(kept, answer...))
		},
	})
}

// tidy sorts the addresses, each once.
func tidy(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Clone(addrs)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), MaxRecords)]
}

// SRV is one record of a service (RFC 2782).
type SRV struct {
	// Target is a host, without the dot at its end.
	Target           string
	Port             uint16
	Priority, Weight uint16
}

// ResolveSRV returns the live SRV records of a name, which is taken as absolute: no search domain is tried. Records without a target
// (".") say that there is no such service, and are left out. Otherwise it is as Resolve.
func (r *Resolver) ResolveSRV(name string) naming.Live[[]SRV] {
	return follow(r, r.srv, name, &question[[]SRV]{
		floor: r.options.MinSRVInterval,
		ask: func(ctx context.Context) ([]SRV, time.Duration, error) {
			records, ttl, err := r.system.services(ctx, name)
			slices.SortFunc(records, func(a, b SRV) int {
				return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Target, b.Target),
					cmp.Compare(a.Port, b.Port), cmp.Compare(a.Weight, b.Weight))
			})
			records = slices.Compact(records)
			return records[:min(len(records), MaxRecords)], ttl, err
		},
		empty: func(s []SRV) bool { return len(s) == 0 },
		equal: slices.Equal[[]SRV],
	})
}

// follow returns the live answer to a question, asked once for all its users.
func follow[K comparable, T any](r *Resolver, shared map[K]*naming.Shared[T], key K, q *question[T]) naming.Live[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := shared[key]; s != nil {
		if live, ok := s.Acquire(); ok {
			return live
		}
	}
	q.v = naming.NewVar[T]()
	if len(r.hosts)+len(r.srv) >= r.maxNames {
		r.stats.refused.Add(1)
		q.v.Fail(fmt.Errorf("more than %d names are asked of name servers", r.maxNames))
		return q.v
	}
	ctx, cancel := context.WithCancel(r.ctx)
	var s *naming.Shared[T]
	s = naming.NewShared(q.v, func() {
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		if shared[key] == s {
			delete(shared, key)
		}
	})
	shared[key] = s
	live, _ := s.Acquire()
	r.wait.Go(func() { q.run(ctx, r) })
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
