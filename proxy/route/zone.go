package route

import (
	"sync/atomic"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Zone is where this process runs, as far as endpoints of its own node have told: who reads Nodes needs rights for it, and discovery says the
// same. The zero value knows nothing.
type Zone struct{ name atomic.Pointer[string] }

// Load returns the zone, or "".
func (z *Zone) Load() string {
	if z == nil {
		return ""
	}
	if name := z.name.Load(); name != nil {
		return *name
	}
	return ""
}

// learn takes the zone of an endpoint on the node. A node does not change its zone.
func (z *Zone) learn(node string, endpoints []naming.Endpoint) {
	if z == nil || node == "" || z.Load() != "" {
		return
	}
	for i := range endpoints {
		if e := &endpoints[i]; e.Node == node && e.Zone != "" {
			z.name.Store(&e.Zone)
			return
		}
	}
}

// preferZone makes the client's balancer prefer the zone, if the configuration says so and it is known. updating is held.
func (c *client) preferZone() {
	c.balancer.SetZonePreference(balance.ZonePreference{Zone: c.zone.Load(), SpillFactor: c.kind.SpillFactor})
}

// rezone tells the clients of a zone that became known after they were configured.
func (r *Router) rezone() {
	now := r.options.Zone.Load()
	if now == r.zone {
		return
	}
	r.zone = now
	r.mu.Lock()
	clients := make([]*client, 0, len(r.clients))
	for _, c := range r.clients {
		clients = append(clients, c)
	}
	r.mu.Unlock()
	for _, c := range clients {
		c.updating.Lock()
		c.preferZone()
		c.updating.Unlock()
	}
}
