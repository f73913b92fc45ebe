package route

import (
	"context"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// ClientView is one client as the admin page and the reports show it.
type ClientView struct {
	ID        string         `json:"id"`
	Endpoints []EndpointView `json:"endpoints"`
	Available int            `json:"available"`
	// Ejected are ready, but left alone since their requests fail.
	Ejected int `json:"ejected"`
	// InUse is false for a client that no rule leads to any more.
	InUse bool `json:"inUse"`
	// PassedOver says that names fall over to alternates of this one, since it has no live endpoint, and since when. BackInMs is when they come
	// back if it goes on answering; 0 while it does not.
	PassedOver      bool    `json:"passedOver,omitempty"`
	PassedOverForMs float64 `json:"passedOverForMs,omitempty"`
	BackInMs        float64 `json:"backInMs,omitempty"`
}

// EndpointView is one endpoint of a client.
type EndpointView struct {
	Addr string `json:"addr"`
	// Via is the proxy that requests go through now, where the endpoint has a hop.
	Via     string  `json:"via,omitempty"`
	Node    string  `json:"node,omitempty"`
	Zone    string  `json:"zone,omitempty"`
	Weight  float64 `json:"weight"`
	Serving bool    `json:"serving"`
	Pending int64   `json:"pending"`
	// LatencyMs is what the balancer takes the response time for; 0 where nothing is known.
	LatencyMs float64 `json:"latencyMs"`
	// Down says that requests are kept away after failures, since and for how long still, until one may probe.
	Down      bool    `json:"down,omitempty"`
	DownForMs float64 `json:"downForMs,omitempty"`
	ProbeInMs float64 `json:"probeInMs,omitempty"`
	// Lost says that requests are kept away since nobody could connect, and for how long.
	Lost      bool    `json:"lost,omitempty"`
	LostForMs float64 `json:"lostForMs,omitempty"`
	// Spared says that requests fail, and are not kept away since too many others are down.
	Spared bool `json:"spared,omitempty"`
}

// Clients returns all clients, sorted by name.
func (r *Router) Clients() []ClientView {
	r.mu.Lock()
	out := make([]ClientView, 0, len(r.clients))
	balancers := make([]*client, 0, len(r.clients))
	for id, c := range r.clients {
		out = append(out, ClientView{ID: id, InUse: c.users > 0})
		balancers = append(balancers, c)
	}
	r.mu.Unlock()
	now := r.options.Clock()
	for i, c := range balancers {
		for _, n := range c.balancer.Nodes() {
			via := ""
			if hop := n.Endpoint.Hop; hop != nil && hop.Via().IsValid() {
				via = hop.Via().String()
			}
			e := EndpointView{
				Via: via, Addr: n.Endpoint.Addr.String(), Node: n.Endpoint.Node, Zone: n.Endpoint.Zone,
				Weight: n.Endpoint.Weight, Serving: n.Endpoint.Serving, Pending: n.Pending(), LatencyMs: n.Cost(now) / 1e6,
			}
			if since, until, down := n.IsDown(); down {
				e.Down, e.DownForMs, e.ProbeInMs = true, float64(now-since)/1e6, max(float64(until-now)/1e6, 0)
			}
			if since, lost := n.IsLost(); lost {
				e.Lost, e.LostForMs = true, float64(now-since)/1e6
			}
			_, e.Spared = n.IsSpared()
			out[i].Endpoints = append(out[i].Endpoints, e)
		}
		if since, until, unwell := c.health.state(); unwell {
			out[i].PassedOver, out[i].PassedOverForMs = true, float64(now-since)/1e6
			if until > 0 {
				out[i].BackInMs = max(float64(until-now)/1e6, 0)
			}
		}
		out[i].Available, out[i].Ejected = c.balancer.Available(), c.balancer.Down()
	}
	slices.SortFunc(out, func(a, b ClientView) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Names returns the logical names kept bound, sorted.
func (r *Router) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]string, 0, len(r.services))
	for name := range r.services {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Requests returns how many requests each destination had since it was first used, and forgets those that nothing leads to.
func (r *Router) Requests() map[DestinationKey]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[DestinationKey]int64, len(r.destinations))
	for key, d := range r.destinations {
		out[key] = d.requests.Load()
		if d.users == 0 {
			delete(r.destinations, key)
		}
	}
	return out
}

// Follow keeps a path bound that no request asked for, under the router's rules, until the name is closed.
func (r *Router) Follow(p dtab.Path) *naming.Name {
	return r.interpreter.Bind(p, nil, func(naming.Tree, naming.State, error) {})
}

// Explain tells where a path leads under the router's rules and those of local, with every branch tried. See
// naming.Interpreter.Explain.
func (r *Router) Explain(ctx context.Context, p dtab.Path, local dtab.Dtab) *naming.Explanation {
	return r.interpreter.Explain(ctx, p, local)
}

// Use is a logical name in use.
type Use struct {
	Path dtab.Path
	// Requests since the name came into use.
	Requests uint64
}

// Uses returns the logical names kept bound, sorted by their show form.
func (r *Router) Uses() []Use {
	r.mu.Lock()
	out := make([]Use, 0, len(r.services))
	for _, s := range r.services {
		u := Use{Path: s.path}
		if s.metrics != nil {
			u.Requests = s.metrics.requests.Value()
		}
		out = append(out, u)
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b Use) int { return strings.Compare(a.Path.String(), b.Path.String()) })
	return out
}
