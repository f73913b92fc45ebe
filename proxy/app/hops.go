package app

import (
	"bytes"
	"net/http"
	"sync"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
	"github.com/fairlead/fairlead/proxy/route"
	"github.com/fairlead/fairlead/proxy/transport"
)

const (
	headerService  = "l5d-dst-service"
	headerClient   = "l5d-dst-client"
	headerResidual = "l5d-dst-residual"
	// chosenKey begins the keys of names that another proxy chose: no identifier has that index.
	chosenKey = 0xff
)

// hops are the ways to other nodes' proxies: one each, shared by all endpoints there.
type hops struct {
	pools *transport.Pools

	mu   sync.Mutex // guards what follows
	used map[*naming.Hop]*sharedHop
	ways map[*transport.Hop]*sharedHop
}

type sharedHop struct {
	hop   *naming.Hop
	way   *transport.Hop
	users int
}

func newHops(pools *transport.Pools) *hops {
	return &hops{pools: pools, used: make(map[*naming.Hop]*sharedHop), ways: make(map[*transport.Hop]*sharedHop)}
}

// acquire returns the way of a hop for one more endpoint, or nil for none.
func (h *hops) acquire(hop *naming.Hop) *transport.Hop {
	if hop == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.used[hop]
	if s == nil {
		s = &sharedHop{hop: hop, way: transport.NewHop(h.pools, hop)}
		h.used[hop], h.ways[s.way] = s, s
	}
	s.users++
	return s.way
}

// release closes a way with its last endpoint.
func (h *hops) release(way *transport.Hop) {
	if way == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.ways[way]
	if s.users--; s.users == 0 {
		delete(h.used, s.hop)
		delete(h.ways, way)
		way.Close()
	}
}

// chosen returns the name of a request that comes from another proxy, which chose where it goes, or nil where nothing in it can be
// followed: then it is routed as any other. See docs/security.md on why a client that forges the headers gains nothing.
func (r *router) chosen(shard uint32, req *http1.Request) (*route.Name, *http1.Failure) {
	if req.Endpoint() == nil {
		return nil, nil
	}
	service, client, residual := req.HeaderValue(headerService), req.HeaderValue(headerClient), req.HeaderValue(headerResidual)
	var buffer [keyBufferBytes]byte
	key := append(buffer[:0], chosenKey)
	for _, part := range [...][]byte{service, client, residual} {
		key = append(append(key, part...), 0)
	}
	overridden := isOverridden(req)
	if overridden {
		var failure *http1.Failure
		if key, failure = appendOverrides(key, req); failure != nil {
			return nil, failure
		}
	}
	if name := r.routes.Lookup(key); name != nil {
		return name, nil
	}
	path, to, ok := r.destination(service, client, residual)
	if !ok || len(key) > route.MaxKeyBytes {
		r.routes.RefuseChosen(shard)
		return nil, nil
	}
	var local dtab.Dtab
	if overridden {
		var failure *http1.Failure
		if local, failure = overrides(req); failure != nil {
			return nil, failure
		}
	}
	return r.routes.BindChosen(key, path, to, local), nil
}

// destination reads the names that another proxy chose. Only a name of the cluster's own discovery is taken for an endpoint's.
func (r *router) destination(service, client, residual []byte) (path, to dtab.Path, ok bool) {
	if len(service) == 0 || len(client) == 0 {
		return nil, nil, false
	}
	path, err := dtab.ParsePath(string(service))
	if err != nil || len(path) == 0 || path[0] == "#" || path[0] == "$" || path[0] == "%" {
		return nil, nil, false
	}
	id, err := dtab.ParsePath(string(client))
	if err != nil || bytes.IndexByte(client, ' ') >= 0 {
		return nil, nil, false
	}
	to = id.Untransformed()
	if !r.discoveries.Load().has(to) {
		return nil, nil, false
	}
	if len(residual) > 0 {
		rest, err := dtab.ParsePath(string(residual))
		if err != nil {
			return nil, nil, false
		}
		to = to.Append(rest...)
	}
	return path, to, true
}

// chosenLeaf draws the leaf of a name that another proxy chose.
func chosenLeaf(name *route.Name, req *http1.Request) (http1.Target, *http1.Failure) {
	leaf, err := name.Choose(req.Deadline())
	if err != nil {
		return nil, &http1.Failure{Status: http.StatusBadGateway, Reason: http1.ReasonHopUnbound, Message: err.Error()}
	}
	return (*target)(leaf), nil
}
