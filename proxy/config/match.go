package config

import "github.com/fairlead/fairlead/proxy/dtab"

// ServiceFor returns what the router's services say about a logical name: all entries whose prefix matches merge key by key, and
// the later one wins (Linkerd: io.l5d.static). Prefix is that of the last match.
func (r *Router) ServiceFor(name dtab.Path) Service {
	var out Service
	for i := range r.Services {
		s := &r.Services[i]
		if _, ok := s.Prefix.Matches(name); !ok {
			continue
		}
		out.Prefix = s.Prefix
		override(&out.TotalTimeout, s.TotalTimeout)
		override(&out.CutsResponse, s.CutsResponse)
		override(&out.Classifier, s.Classifier)
		override(&out.RetryBudget, s.RetryBudget)
		override(&out.RetryBackoff, s.RetryBackoff)
		override(&out.MaxRetries, s.MaxRetries)
		override(&out.Faults.DelayPercent, s.Faults.DelayPercent)
		override(&out.Faults.Delay, s.Faults.Delay)
		override(&out.Faults.AbortPercent, s.Faults.AbortPercent)
		override(&out.Faults.AbortStatus, s.Faults.AbortStatus)
	}
	return out
}

// ClientFor returns what the router's clients say about a bound name, in the way of ServiceFor. A prefix is that of the whole name as in
// Linkerd, or, where it does not begin with /%, also that of the name without what transformers put before it.
func (r *Router) ClientFor(id dtab.Path) Client {
	var out Client
	bare := id.Untransformed()
	for i := range r.Clients {
		c := &r.Clients[i]
		_, ok := c.Prefix.Matches(id)
		if !ok {
			_, ok = c.Prefix.Matches(bare)
		}
		if !ok {
			continue
		}
		out.Prefix = c.Prefix
		override(&out.LoadBalancer, c.LoadBalancer)
		override(&out.FailureAccrual, c.FailureAccrual)
		override(&out.AttemptTimeout, c.AttemptTimeout)
		override(&out.ResponseIdleTimeout, c.ResponseIdleTimeout)
		override(&out.MaxPerEndpoint, c.MaxPerEndpoint)
		override(&out.RequeueBudget, c.RequeueBudget)
		override(&out.TrustsClassHeaders, c.TrustsClassHeaders)
		override(&out.FailFast, c.FailFast)
	}
	return out
}

func override[T comparable](to *T, from T) {
	var zero T
	if from != zero {
		*to = from
	}
}
