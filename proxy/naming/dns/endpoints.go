package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/fairlead/fairlead/proxy/naming"
)

// Target is a host at a port: a name or an IP literal.
type Target struct {
	Host   string
	Port   uint16
	Weight float64
	// Tier orders targets: those of a tier are used where no host of a lower one has an address.
	Tier int
}

// Endpoints are the live endpoints of a list of targets, each host resolved. Follow and End are called by one goroutine at a time.
type Endpoints struct {
	*naming.Var[naming.Addrs]
	resolver *Resolver
	stops    []func()

	mu      sync.Mutex // guards targets and hosts against publish
	targets []Target
	hosts   map[string]naming.Live[[]netip.Addr]
}

// Endpoints returns the endpoints of no target yet: they are Pending until Follow. The caller owes one End.
func (r *Resolver) Endpoints() *Endpoints {
	return &Endpoints{Var: naming.NewVar[naming.Addrs](), resolver: r}
}

// Follow replaces the targets. Watches of hosts that stay are made before those of before are ended, so that their addresses stay.
func (e *Endpoints) Follow(targets []Target) {
	hosts := make(map[string]naming.Live[[]netip.Addr])
	for _, t := range targets {
		if hosts[t.Host] == nil {
			hosts[t.Host] = e.resolver.Resolve(t.Host)
		}
	}
	e.mu.Lock()
	old, stops := e.hosts, e.stops
	e.targets, e.hosts, e.stops = targets, hosts, nil
	e.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	for _, live := range old {
		live.Close()
	}
	e.publish()
	for host, live := range hosts {
		if _, literal := ParseLiteral(host); !literal {
			e.stops = append(e.stops, naming.Watch(live, func([]netip.Addr, naming.State, error) { e.publish() }))
		}
	}
}

// publish makes the endpoints of the lowest tier that has any. It stays Pending while no host of it is known.
func (e *Endpoints) publish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []naming.Endpoint
	known, waiting := len(e.targets) == 0, false
	var missing unresolved
	seen := make(map[netip.AddrPort]bool)
	for tier, more := e.tier(0, true); more && len(out) == 0 && !waiting; tier, more = e.tier(tier, false) {
		for _, t := range e.targets {
			if t.Tier != tier {
				continue
			}
			ips, state, err := e.hosts[t.Host].Load()
			if len(ips) == 0 && state != naming.Pending {
				missing.add(t.Host, err)
			}
			known, waiting = known || state != naming.Pending, waiting || state == naming.Pending
			for _, ip := range ips {
				addr := netip.AddrPortFrom(ip, t.Port)
				if !seen[addr] {
					seen[addr] = true
					out = append(out, naming.Endpoint{Addr: addr, Host: t.Host, Weight: t.Weight, Serving: true})
				}
			}
		}
	}
	if known {
		set := naming.Addrs{Endpoints: out}
		if len(out) == 0 {
			set.None = missing.String()
		}
		e.Var.Set(set)
	}
}

// unresolved are hosts without an address: why the first one has none, and the number of all.
type unresolved struct {
	first string
	count int
}

func (u *unresolved) add(host string, err error) {
	if u.count++; u.count == 1 {
		u.first = Unresolved(host, err)
	}
}

// String says it in words, "" for none.
func (u *unresolved) String() string {
	if u.count > 1 {
		return fmt.Sprintf("%s; and %d more", u.first, u.count-1)
	}
	return u.first
}

// Unresolved says in words that a host has no address. Without an error there is no such host.
func Unresolved(host string, err error) string {
	if err == nil {
		err = errors.New("there is no such host")
	}
	return fmt.Sprintf("%q is not resolved: %v", host, err)
}

// tier returns the lowest tier there is, or the lowest above one.
func (e *Endpoints) tier(above int, any bool) (lowest int, ok bool) {
	for _, t := range e.targets {
		if (any || t.Tier > above) && (!ok || t.Tier < lowest) {
			lowest, ok = t.Tier, true
		}
	}
	return lowest, ok
}

// End ends the watches. The last endpoints stay: whoever still holds them has requests under way.
func (e *Endpoints) End() {
	for _, stop := range e.stops {
		stop()
	}
	for _, live := range e.hosts {
		live.Close()
	}
	e.stops, e.hosts = nil, nil
}
