package app

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/identify"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
	"github.com/fairlead/fairlead/proxy/route"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/proxy/transport"
)

// Reasons this package finds. Those of naming are in package route, those of the wire in protocol/http1.
const (
	reasonUnidentified   = "unidentified"
	reasonBadOverride    = "bad-dtab-override"
	reasonLargeOverride  = "dtab-override-too-large"
	maxOverrideDentries  = 100
	headerContextDtab    = "l5d-ctx-dtab"
	headerDtab           = "l5d-dtab"
	tokenBufferBytes     = 512
	identifierGeneration = 256
)

// router is one router of the Mesh for the HTTP/1 engine: it identifies a request, looks its name up and draws a leaf.
type router struct {
	name   string
	scope  telemetry.Scope
	routes *route.Router
	ids    atomic.Pointer[identifiers]
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
		Scope: scope,
		NewConns: func(id dtab.Path, e naming.Endpoint) any {
			addr := e.Addr
			if e.Via.IsValid() {
				addr = e.Via
			}
			if a.isDiscovered(id) && !isResolved(e) {
				return a.discovered.New(addr)
			}
			return a.guarded.New(addr)
		},
		CloseConns: func(conns any) { conns.(*transport.Pool).Close() },
	})
	return r
}

// isDiscovered reports whether the endpoints of a bound name come from the cluster's own API: they may be dialled wherever they are.
func (a *App) isDiscovered(id dtab.Path) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.config.Mesh.Spec.Namers {
		if !n.NeedsCluster() {
			continue
		}
		if prefix, err := dtab.ParsePath("/#" + n.Prefix); err == nil && id.HasPrefix(prefix) {
			return true
		}
	}
	return false
}

// isResolved reports whether the address came from a name server: that of a load balancer may.
func isResolved(e naming.Endpoint) bool {
	_, literal := dns.ParseLiteral(e.Host)
	return e.Host != "" && !literal
}

// set makes rc what the router follows. When it returns, no request that begins follows the old rules.
func (r *router) set(rc *config.Router, mounts []naming.Mount) {
	old := r.ids.Load()
	if old == nil || !sameIdentifiers(old, rc) {
		next := &identifiers{set: identify.New(rc.Identifiers, rc.DstPrefix), config: rc.Identifiers, prefix: rc.DstPrefix}
		if old != nil {
			next.generation = byte((int(old.generation) + 1) % identifierGeneration)
		}
		r.ids.Store(next)
	}
	r.routes.Set(rc, mounts, settleTimeout)
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
	ids := r.ids.Load()
	token, which, ok := ids.set.Token(req)
	if !ok {
		return nil, &http1.Failure{
			Status: http.StatusBadRequest, Reason: reasonUnidentified,
			Message: "unknown destination: no identifier of router " + r.name + " names this request",
		}
	}
	var buffer [tokenBufferBytes]byte
	key := append(buffer[:0], byte(which), ids.generation)
	key = append(key, token...)
	overridden := req.HeaderValue(headerDtab) != nil || req.HeaderValue(headerContextDtab) != nil
	if overridden {
		key = appendOverrides(key, req)
	}
	name := r.routes.Lookup(key)
	if name == nil {
		var failure *http1.Failure
		if name, failure = r.bind(key, ids, which, token, overridden, req); failure != nil {
			return nil, failure
		}
	}
	leaf, err := name.Choose()
	if err != nil {
		return nil, &http1.Failure{Status: http.StatusBadGateway, Reason: err.Reason, Message: err.Message}
	}
	return (*target)(leaf), nil
}

// bind is the cold path: the first request for a name.
func (r *router) bind(key []byte, ids *identifiers, which int, token []byte, overridden bool, req *http1.Request) (*route.Name, *http1.Failure) {
	path, err := ids.set.Name(which, token)
	if err != nil {
		return nil, &http1.Failure{Status: http.StatusBadRequest, Reason: reasonUnidentified, Message: err.Error()}
	}
	var local dtab.Dtab
	if overridden {
		if len(key) > route.MaxKeyBytes {
			return nil, &http1.Failure{
				Status: http.StatusBadRequest, Reason: reasonLargeOverride,
				Message: "l5d-dtab and l5d-ctx-dtab are longer than this proxy takes",
			}
		}
		if local, err = overrides(req); err != nil {
			return nil, &http1.Failure{Status: http.StatusBadRequest, Reason: reasonBadOverride, Message: err.Error()}
		}
	}
	return r.routes.Bind(key, path, local), nil
}

// target is a leaf as the HTTP/1 engine wants it.
type target route.Leaf

func (t *target) leaf() *route.Leaf { return (*route.Leaf)(t) }
