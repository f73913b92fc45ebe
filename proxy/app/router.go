package app

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/identify"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/transformer"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
	"github.com/fairlead/fairlead/proxy/route"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/proxy/transport"
)

// Reasons this package finds. Those of naming are in package route, those of the wire in protocol/http1.
const (
	reasonUnidentified = "unidentified"
	reasonLongName     = "name-too-long"
)

const (
	// keyBufferBytes is the room for a key on the stack; a longer one costs an allocation.
	keyBufferBytes       = 512
	identifierGeneration = 256
)

// router is one router of the Mesh for the HTTP/1 engine: it identifies a request, looks its name up and draws a leaf.
type router struct {
	name   string
	scope  telemetry.Scope
	routes *route.Router
	// admission bounds the requests under way on all listeners of the router.
	admission http1.Admission
	ids       atomic.Pointer[identifiers]
	// isLocal says that other proxies send requests here whose endpoint they chose, discoveries which names those may have.
	isLocal     atomic.Bool
	discoveries atomic.Pointer[discoveries]
	// bindings are what names are bound by beside the rules.
	bindings atomic.Pointer[bindings]
}

// bindings are the namers of a router and its transformers.
type bindings struct {
	mounts  []naming.Mount
	changes []*naming.Transformer
}

// identifiers are an immutable set of identifiers. generation keeps names made by other sets apart.
type identifiers struct {
	set        *identify.Set
	config     []config.Identifier
	prefix     dtab.Path
	generation byte
}

func (a *App) newRouter(name string) *router {
	scope := a.options.Metrics.Scope("rt", name)
	r := &router{name: name, scope: scope}
	r.routes = route.New(route.Options{
		Connect: connect, Lost: a.lost(name), FellOver: a.fellOver(name),
		Zone: &a.zone, Name: name, Scope: scope, Node: a.options.Node, Clock: transport.Now, Turned: a.turned(name),
		NewConns: func(id dtab.Path, e naming.Endpoint) any {
			pools := a.guarded
			if a.isDiscovered(id) && !isResolved(e) {
				pools = a.discovered
			}
			return &transport.Way{Direct: pools.New(e.Addr), Hop: a.hops.acquire(e.Hop)}
		},
		CloseConns: func(conns any) {
			w := conns.(*transport.Way)
			w.Direct.Close()
			a.hops.release(w.Hop)
		},
	})
	return r
}

// connect makes a connection to an endpoint itself, in case requests can come to it again.
func connect(ctx context.Context, conns any) error {
	way := conns.(*transport.Way)
	c, err := way.Direct.Dial(ctx, 0, 0)
	if err == nil {
		way.Direct.Put(0, c)
	}
	return err
}

// isDiscovered reports whether the endpoints of a bound name come from the cluster's own API: they may be dialled wherever they are.
// Addresses that a transformer made are not.
func (a *App) isDiscovered(id dtab.Path) bool {
	if transformer.Invents(id) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return newDiscoveries(a.config.Mesh.Spec.Namers).has(id.Untransformed())
}

// isResolved reports whether the address came from a name server: that of a load balancer may.
func isResolved(e naming.Endpoint) bool {
	_, literal := dns.ParseLiteral(e.Host)
	return e.Host != "" && !literal
}

// set makes rc what the router follows. When it returns, no request that begins follows the old rules.
func (r *router) set(rc *config.Router, mounts []naming.Mount, changes []*naming.Transformer) {
	r.isLocal.Store(rc.IsLocal())
	r.admission.SetLimit(rc.MaxConcurrentRequests)
	old := r.ids.Load()
	if old == nil || !sameIdentifiers(old, rc) {
		next := &identifiers{set: identify.New(rc.Identifiers, rc.DstPrefix), config: rc.Identifiers, prefix: rc.DstPrefix}
		if old != nil {
			next.generation = byte((int(old.generation) + 1) % identifierGeneration)
		}
		r.ids.Store(next)
	}
	if rc.AllowAddressOverrides {
		mounts = slices.Clone(mounts)
		for i := range mounts {
			mounts[i].Address = false
		}
	}
	r.bindings.Store(&bindings{mounts, changes})
	r.routes.Set(rc, mounts, settleTimeout, changes...)
}

func sameIdentifiers(old *identifiers, rc *config.Router) bool {
	if len(old.config) != len(rc.Identifiers) || !old.prefix.Equal(rc.DstPrefix) {
		return false
	}
	for i := range old.config {
		if old.config[i] != rc.Identifiers[i] {
			return false
		}
	}
	return true
}

func (r *router) close() { r.routes.Close() }

// closeAfter closes the router once the requests of its listeners had their time to end, or at once when quit closes.
func (r *router) closeAfter(d time.Duration, quit <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-quit:
	}
	r.close()
}

// Route implements http1.Router.
func (r *router) Route(shard uint32, req *http1.Request) (http1.Target, *http1.Failure) {
	if r.isLocal.Load() {
		if name, failure := r.chosen(shard, req); failure != nil {
			return nil, failure
		} else if name != nil {
			return chosenLeaf(name, req)
		}
	}
	ids := r.ids.Load()
	var buffer [keyBufferBytes]byte
	key, match, err := ids.set.AppendKey(buffer[:keyHead], req)
	if err != nil {
		return nil, unidentified(err)
	}
	key[0], key[1] = byte(match.Index), ids.generation
	named := len(key)
	if isOverridden(req) {
		var failure *http1.Failure
		if key, failure = appendOverrides(key, req); failure != nil {
			return nil, failure
		}
	}
	name := r.routes.Lookup(key)
	if name == nil {
		var failure *http1.Failure
		if name, failure = r.bind(key, named, ids, match, req); failure != nil {
			return nil, failure
		}
	}
	if match.Consume > 0 {
		req.ConsumeTarget(match.Consume)
	}
	leaf, problem := name.Choose(req.Deadline())
	if problem != nil {
		return nil, &http1.Failure{Status: statusOf(problem.Reason), Reason: problem.Reason, Message: problem.Message}
	}
	return (*target)(leaf), nil
}

// keyHead is what stands before the identifier's bytes in a key: which identifier of which set.
const keyHead = 2

func unidentified(err error) *http1.Failure {
	reason := reasonUnidentified
	if errors.Is(err, identify.ErrTooLong) {
		reason = reasonLongName
	}
	return &http1.Failure{Status: http.StatusBadRequest, Reason: reason, Message: err.Error()}
}

// statusOf returns the status of a request whose name leads nowhere: 502, as Linkerd has it, but for what the rules of the request
// itself did.
func statusOf(reason string) int {
	switch reason {
	case route.ReasonOverrideAddress:
		return http.StatusForbidden
	case route.ReasonOverrideLookups:
		return http.StatusBadRequest
	case route.ReasonOverrideNames, route.ReasonTotalTimeout, route.ReasonDeadline:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// bind is the cold path: the first request for a name. named is how much of the key it would have without rules of its own.
func (r *router) bind(key []byte, named int, ids *identifiers, m identify.Match, req *http1.Request) (*route.Name, *http1.Failure) {
	path, err := ids.set.Name(m.Index, key[keyHead:named])
	if err != nil {
		return nil, unidentified(err)
	}
	if len(key) == named {
		return r.routes.Bind(key, path, nil), nil
	}
	local, failure := overrides(req)
	if failure != nil {
		return nil, failure
	}
	if len(local) == 0 {
		key = key[:named] // nothing but blanks and comments, of which there are endlessly many: the name is that of all
	}
	return r.routes.Bind(key, path, local), nil
}

// target is a leaf as the HTTP/1 engine wants it.
type target route.Leaf

func (t *target) leaf() *route.Leaf { return (*route.Leaf)(t) }
