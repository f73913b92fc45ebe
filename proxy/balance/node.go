package balance

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// DefaultDecay is how long an endpoint is remembered to have been slow, as in Linkerd.
const DefaultDecay = 10 * time.Second

// Node is one endpoint inside a balancer, with its load. It lives as long as the endpoint stays in the set or has requests.
type Node struct {
	// Endpoint is immutable. A change of weight or conditions makes a new Node that shares state and Conns.
	Endpoint naming.Endpoint
	// Conns holds what the transport keeps per endpoint, opaque here.
	Conns any

	balancer *Balancer
	watcher  Watcher
	state    *state
	zone     *zoneState // the balancer's, nil where no zone is preferred
}

// state is what an endpoint keeps while it is known. It has its own cache line: every request writes it.
type state struct {
	pending atomic.Int64
	// cost is a float64, the peak-sensitive mean of response times in nanoseconds, as it was at stamp; decay in nanoseconds.
	cost  atomic.Uint64
	stamp atomic.Int64
	decay atomic.Int64
	// down is 0 for an endpoint that is up, else when it may be probed; negative while a probe is under way.
	down atomic.Int64
	// lost is since when nobody could connect to the endpoint, 0 where one can.
	lost atomic.Int64
	// breaker is nil where nobody judges.
	breaker atomic.Pointer[breaker]
	// times are seldom asked for, and have no room in the cache line.
	times *times
}

// times of an endpoint.
type times struct {
	// since is when it went down, ready when it came to serve beside others that did, 0 where it was among the first.
	since, ready atomic.Int64
}

// breaker is where a Breaker stands that may be replaced.
type breaker struct {
	Breaker
	// spared is 0, or when an endpoint that fails, and stays up since too many others are down, would be probed if it were down as well.
	spared atomic.Int64
}

// NewNode returns a node with no load.
func NewNode(e naming.Endpoint, conns any) *Node {
	s := &state{times: new(times)}
	s.decay.Store(int64(DefaultDecay))
	return &Node{Endpoint: e, Conns: conns, state: s}
}

// renew returns a node for the same address with new conditions, and the state and connections of n.
func (n *Node) renew(e naming.Endpoint, w Watcher) *Node {
	out := &Node{Endpoint: e, Conns: n.Conns, balancer: n.balancer, watcher: w, state: n.state}
	if n.balancer != nil {
		out.zone = n.balancer.zone
	}
	return out
}

// Identity is what the nodes of one endpoint have in common: two that are == share their state.
type Identity struct{ state *state }

// Identity returns that of the endpoint.
func (n *Node) Identity() Identity { return Identity{n.state} }

// Pending returns the number of requests under way.
func (n *Node) Pending() int64 { return n.state.pending.Load() }

// Up reports whether the endpoint may get requests: it can be connected to, and is not down, or due to be probed and nobody does yet.
func (n *Node) Up(nowNs int64) bool {
	down := n.state.down.Load()
	return (down == 0 || down > 0 && nowNs >= down) && n.state.lost.Load() == 0
}

// Due returns when an endpoint that is down may be probed; 0 for one that is up or being probed.
func (n *Node) Due() int64 { return max(n.state.down.Load(), 0) }

// IsDown reports whether requests are kept away, also while the endpoint is probed, and since when and until when they are.
func (n *Node) IsDown() (sinceNs, untilNs int64, down bool) {
	until := n.state.down.Load()
	return n.state.times.since.Load(), max(until, -until), until != 0
}

// IsLost reports whether nobody could connect to the endpoint, and since when.
func (n *Node) IsLost() (sinceNs int64, lost bool) {
	since := n.state.lost.Load()
	return since, since != 0
}

// IsAway reports whether requests are kept away, for whatever reason.
func (n *Node) IsAway() bool { return n.state.down.Load() != 0 || n.state.lost.Load() != 0 }

// ConnectFailed is told when a connection to the endpoint could not be made.
func (n *Node) ConnectFailed(nowNs int64) {
	if n.balancer != nil && n.balancer.options.ConnectFailed != nil {
		n.balancer.options.ConnectFailed(n, nowNs)
	}
}

// TakeDown keeps requests away until then, when one of them may try.
func (n *Node) TakeDown(untilNs, nowNs int64) {
	if n.state.down.Swap(max(untilNs, 1)) == 0 {
		n.state.times.since.Store(nowNs)
	}
	n.turned(nowNs)
}

// TakeUp lets requests come again.
func (n *Node) TakeUp(nowNs int64) {
	n.state.down.Store(0)
	n.turned(nowNs)
}

func (n *Node) turned(nowNs int64) {
	if n.watcher != nil {
		n.watcher.Turned(n, nowNs)
	}
}

// Admit counts one request as under way on an endpoint that is up, unless that would be more than most, where it is not 0. It reports
// whether it did. The first request to an endpoint that is due takes the probe. Pickers call it.
func (n *Node) Admit(nowNs, most int64) bool {
	down := n.state.down.Load()
	if n.state.lost.Load() != 0 || down != 0 && (down < 0 || nowNs < down || !n.state.down.CompareAndSwap(down, -down)) {
		return false
	}
	if n.count(most) {
		return true
	}
	if down != 0 {
		n.state.down.CompareAndSwap(-down, down)
	}
	return false
}

// Start counts one request as under way, whether the endpoint is up or not, unless that would be more than most, where it is not 0. It
// reports whether it did; then the caller owes one Done.
func (n *Node) Start(nowNs, most int64) bool {
	if !n.count(most) {
		return false
	}
	n.began(nowNs)
	return true
}

func (n *Node) began(nowNs int64) {
	if n.watcher != nil {
		n.watcher.Began(n, nowNs)
	}
}

func (n *Node) count(most int64) bool {
	if now := n.state.pending.Add(1); most == 0 || now <= most {
		return true
	}
	n.state.pending.Add(-1)
	return false
}

// abandon takes back what Admit did, before anything was sent.
func (n *Node) abandon(nowNs int64) {
	if down := n.state.down.Load(); down < 0 {
		n.state.down.CompareAndSwap(down, -down)
	}
	n.end(nowNs)
}

// Done ends one request that Pick began. Times are monotonic nanoseconds.
func (n *Node) Done(startNs, endNs int64, c classify.Class) {
	n.observe(endNs-startNs, endNs, c != classify.Ignored)
	if n.zone != nil && c != classify.Ignored {
		n.zone.record(n, endNs-startNs)
	}
	n.judge(c, endNs)
	n.end(endNs)
}

func (n *Node) end(nowNs int64) {
	n.state.pending.Add(-1)
	if n.watcher != nil {
		n.watcher.Ended(n, nowNs)
	}
}

// judge lets the breaker learn what became of a request.
func (n *Node) judge(c classify.Class, nowNs int64) {
	b, down := n.state.breaker.Load(), n.state.down.Load()
	failed := c != classify.Success
	switch {
	case down > 0: // the request began before the endpoint went down
	case down < 0 && (b == nil || c == classify.Ignored):
		n.state.down.CompareAndSwap(down, -down) // the next one probes
	case b == nil || c == classify.Ignored:
	case down < 0:
		n.balancer.probed(n, b.Probed(failed), nowNs)
	default:
		n.balancer.record(n, b, failed, nowNs)
	}
}

// SetDecay says how long it takes until the response times of before count for a third.
func (n *Node) SetDecay(d time.Duration) { n.state.decay.Store(int64(d)) }

// Cost returns the peak-sensitive, exponentially weighted mean of response times in nanoseconds. It decays while nothing is heard, so that
// an endpoint that was slow is tried again; 0 means that nothing was heard yet.
func (n *Node) Cost(nowNs int64) float64 {
	s := n.state
	cost := math.Float64frombits(s.cost.Load())
	if cost == 0 {
		return 0
	}
	return cost * s.weight(nowNs-s.stamp.Load())
}

// weight of what was known before so many nanoseconds.
func (s *state) weight(elapsed int64) float64 {
	if elapsed <= 0 {
		return 1
	}
	return math.Exp(-float64(elapsed) / float64(s.decay.Load()))
}

// observe learns a response time: a greater one than the mean counts whole and at once, as in Finagle's peak EWMA. Of a request that ended
// before its response came (whole is false) only that is known.
func (n *Node) observe(took, nowNs int64, whole bool) {
	s := n.state
	w := s.weight(nowNs - s.stamp.Swap(nowNs))
	for {
		bits := s.cost.Load()
		before, rtt := math.Float64frombits(bits), float64(took)
		after := before*w + rtt*(1-w)
		switch {
		case rtt > before*w:
			after = rtt
		case !whole:
			after = before * w
		}
		if s.cost.CompareAndSwap(bits, math.Float64bits(after)) {
			return
		}
	}
}
