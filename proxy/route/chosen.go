package route

import (
	"errors"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// errChosenFailed: the proxy that chose the endpoint chooses again, not this one.
var errChosenFailed = errors.New("the endpoint that was chosen could not be connected to")

// chosenStats count what became of the choices of other proxies.
type chosenStats struct {
	obeyed, unknown, elsewhere, unavailable, refused, remote *telemetry.Counter
}

func newChosenStats(s telemetry.Scope) chosenStats {
	return chosenStats{
		obeyed: s.Counter("obeyed"), unknown: s.Counter("unknown"), elsewhere: s.Counter("elsewhere"),
		unavailable: s.Counter("unavailable"), refused: s.Counter("refused"), remote: s.Counter("remote"),
	}
}

// BindChosen is Bind for requests whose bound name another proxy chose: to is that name without what transformers put before it,
// with its residual. Where it does not exist here, the router's own rules for path hold. The rules of local were that proxy's to
// follow; here they only travel on.
func (r *Router) BindChosen(key []byte, path, to dtab.Path, local dtab.Dtab) *Name {
	prefix := make(dtab.Prefix, len(path))
	for i, label := range path {
		prefix[i].Label = label
	}
	rule := dtab.Dtab{{Prefix: prefix, Dst: dtab.Tree{Kind: dtab.Leaf, Path: to}}}
	return r.bind(&Name{router: r, key: string(key), local: local, path: path, chosen: true}, rule)
}

// RefuseChosen counts a choice whose headers say nothing that could be followed.
func (r *Router) RefuseChosen(shard uint32) { r.chosen.refused.Incr(shard) }

// IsChosen reports whether requests of the leaf name the endpoint that they are for.
func (l *Leaf) IsChosen() bool { return l.chosen }

// PickChosen returns the endpoint with this address (ip:port), if it is on this node and serves, and what Pick does otherwise. Each case
// is counted. An endpoint that was chosen is the only one tried. The caller owes the node's Done.
func (l *Leaf) PickChosen(shard uint32, nowNs int64, address []byte, tried []*balance.Node) (*balance.Node, error) {
	r := l.router
	if node := l.client.find(address); node != nil && node.Endpoint.Node == r.options.Node && node.Endpoint.Serving {
		if len(tried) > 0 {
			return nil, errChosenFailed
		}
		if !node.Start(nowNs, l.most) {
			return nil, balance.ErrBusy
		}
		r.chosen.obeyed.Incr(shard)
		return node, nil
	} else if len(tried) == 0 {
		r.chosen.astray(node, r.options.Node).Incr(shard)
	}
	return l.Pick(shard, nowNs, tried)
}

// astray returns the counter of why a choice was not followed.
func (s *chosenStats) astray(node *balance.Node, own string) *telemetry.Counter {
	switch {
	case node == nil:
		return s.unknown
	case node.Endpoint.Node != own:
		return s.elsewhere
	}
	return s.unavailable
}

// find returns the node with this address, or nil. It does not allocate.
func (c *client) find(address []byte) *balance.Node {
	index := c.index.Load()
	if index == nil {
		return nil
	}
	return (*index)[string(address)]
}

// reindex follows an update of the balancer. updating is held.
func (c *client) reindex() {
	nodes := c.balancer.Nodes()
	index := make(map[string]*balance.Node, len(nodes))
	for _, n := range nodes {
		index[n.Endpoint.Addr.String()] = n
	}
	c.index.Store(&index)
}
