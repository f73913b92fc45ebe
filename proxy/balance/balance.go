// Package balance spreads requests over the endpoints of one bound name.
//
// This package is the contract; each policy is a child package. It knows no Kubernetes client, exporter or logger.
package balance

import (
	"errors"
	"sync/atomic"

	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// ErrNoEndpoints means that the bound name has no endpoint that may be picked.
var ErrNoEndpoints = errors.New("no endpoints are available")

// ErrTried means that every endpoint that may be picked was tried already.
var ErrTried = errors.New("every endpoint was tried")

// ErrBusy means that every endpoint that may be picked has as many requests under way as allowed.
var ErrBusy = errors.New("every endpoint has as many requests under way as allowed")

// Balancer picks the endpoint of each request. Pick may be called from any goroutine, never blocks and works on an immutable
// snapshot. All other methods are called from one goroutine.
type Balancer interface {
	// Update replaces the set of endpoints. The node of an endpoint that stays (same Addr and Hop) is kept with all its state.
	Update(endpoints []naming.Endpoint)
	// Pick returns a node that is not among tried and counts one pending request on it; the caller owes one Done. A node that has most
	// requests under way gets no other; 0 means no limit.
	Pick(shard uint32, tried []*Node, most int64) (*Node, error)
	// Nodes returns the nodes of the current snapshot. It must not be changed. Safe from any goroutine.
	Nodes() []*Node
}

// Node is one endpoint inside a balancer, with its load. It lives as long as the endpoint stays in the set or has requests.
type Node struct {
	// Endpoint is immutable. A change of weight or conditions makes a new Node that shares load and Conns (see Renew).
	Endpoint naming.Endpoint
	// Conns holds what the transport keeps per endpoint, opaque here.
	Conns any

	load *load
}

// load is padded to its own cache line: it is written by every request.
type load struct {
	pending atomic.Int64
	_       [56]byte
}

// NewNode returns a node with no load.
func NewNode(e naming.Endpoint, conns any) *Node {
	return &Node{Endpoint: e, Conns: conns, load: new(load)}
}

// Renew returns a node for the same address with new conditions and the load and connections of n.
func (n *Node) Renew(e naming.Endpoint) *Node {
	return &Node{Endpoint: e, Conns: n.Conns, load: n.load}
}

// Pending returns the number of requests under way.
func (n *Node) Pending() int64 { return n.load.pending.Load() }

// Start counts one request as under way, unless that would be more than most, where it is not 0. It reports whether it did. Balancers call
// it in Pick.
func (n *Node) Start(most int64) bool {
	if now := n.load.pending.Add(1); most == 0 || now <= most {
		return true
	}
	n.load.pending.Add(-1)
	return false
}

// Done ends one request that Pick began. Times are monotonic nanoseconds.
func (n *Node) Done(startNs, endNs int64, c classify.Class) {
	n.load.pending.Add(-1)
}
