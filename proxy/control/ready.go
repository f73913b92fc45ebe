package control

import (
	"errors"
	"fmt"
	"time"
)

// Ready returns nil when the proxy serves what it should: what the API server says, or, once the API server failed to answer or
// was silent for half a second, what is on disk. The error says what is waited for.
func (c *Cluster) Ready() error {
	_, broken := c.contacts()
	c.mu.Lock()
	st := c.state
	c.mu.Unlock()
	if st.served == nil {
		return c.notServing(&st, broken)
	}
	endpointsCurrent := !c.needsEndpoints(&st) || c.opts.Endpoints.Synced()
	if st.current && endpointsCurrent {
		return nil
	}
	if broken == nil && time.Since(st.started) < diskGrace {
		return errors.New("waiting for the API server")
	}
	if !endpointsCurrent && !c.opts.Endpoints.Known() {
		return fmt.Errorf("waiting for the API server: no endpoints are known%s", because(broken))
	}
	return nil
}

func (c *Cluster) notServing(st *state, broken error) error {
	switch {
	case st.failed != nil:
		return fmt.Errorf("configuration not applied: %w", st.failed.Err)
	case st.gone != "":
		return errors.New(st.gone)
	}
	for _, r := range st.refused {
		if r.Kind == "Mesh" {
			return fmt.Errorf("mesh %s/%s is not accepted: %w", r.Namespace, r.Name, r.Err)
		}
	}
	return fmt.Errorf("%s%s", st.wanting, because(broken))
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + message(err)
}

// needsEndpoints reports whether the served Mesh names anything by Kubernetes Services.
func (c *Cluster) needsEndpoints(st *state) bool {
	for i := range st.served.Mesh.Spec.Namers {
		if st.served.Mesh.Spec.Namers[i].NeedsCluster() {
			return true
		}
	}
	return false
}

// stale returns for how long the API server has not confirmed what is served: 0 while every watch works.
func (c *Cluster) stale() time.Duration {
	heard, broken := c.contacts()
	c.mu.Lock()
	st := c.state
	c.mu.Unlock()
	if st.served == nil || st.current && broken == nil {
		return 0
	}
	if heard.IsZero() {
		heard = st.started
		if !st.asOf.IsZero() {
			heard = st.asOf
		}
	}
	return max(0, time.Since(heard))
}
