// Package balance spreads requests over the endpoints of one bound name.
//
// A Balancer keeps the endpoints with their state, whatever comes and goes. A Policy says how one of them is chosen; each kind is a child
// package. The package knows no Kubernetes client, exporter or logger.
package balance

import (
	"errors"
	"time"
)

// ErrNoEndpoints means that the bound name has no endpoint that may be picked.
var ErrNoEndpoints = errors.New("no endpoints are available")

// ErrTried means that every endpoint that may be picked was tried already.
var ErrTried = errors.New("every endpoint was tried")

// ErrBusy means that every endpoint that may be picked has as many requests under way as allowed.
var ErrBusy = errors.New("every endpoint has as many requests under way as allowed")

// DefaultMaxEffort is how often a policy chooses anew where it chose an endpoint that is down, as in Linkerd.
const DefaultMaxEffort = 5

// Policy is a way to choose an endpoint. Two that are == do the same.
type Policy interface {
	// New returns what picks among endpoints of one weight, as yet without any.
	New() Picker
}

// Picker picks among the endpoints of one weight. It never blocks. Any goroutine may call Pick, also during a Set.
type Picker interface {
	// Set replaces the nodes, of which there is one at least. The slice must not be changed.
	Set(nodes []*Node)
	// Pick returns a node that is up and has fewer than most requests under way (0: no limit), and counts one more on it by Admit.
	// nil means that its effort found none. Times are monotonic nanoseconds.
	Pick(nowNs, most int64) *Node
}

// Breaker judges one endpoint by what became of its requests. Any goroutine may call it. Times are monotonic nanoseconds.
type Breaker interface {
	// Record is told of a request that ended while the endpoint was up. It returns for how long the endpoint is to be left alone, or 0.
	Record(failed bool, nowNs int64) time.Duration
	// Probed is told what a probe came to, and returns for how long the endpoint is to be left alone again; 0 after a success.
	Probed(failed bool) time.Duration
	// Reset forgets what was counted, and the last wait: the endpoint stays up though it failed, since too many others are down.
	Reset()
}

// Watcher is a Picker that wants to know what happens to its nodes.
type Watcher interface {
	Picker
	// Began is called when somebody else than its Pick counted a request on a node.
	Began(n *Node, nowNs int64)
	// Ended is called when a request is no longer under way, whoever began it.
	Ended(n *Node, nowNs int64)
	// Turned is called when a node went up or down.
	Turned(n *Node, nowNs int64)
}
