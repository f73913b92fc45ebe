// Package p2c is the balancer "power of two choices, least loaded": of two endpoints chosen at random, the one with fewer requests
// under way gets the request (Linkerd's kind p2c).
package p2c

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Options say how nodes come and go.
type Options struct {
	// NewConns returns what Node.Conns of a new endpoint holds.
	NewConns func(naming.Endpoint) any
	// CloseConns is called with Node.Conns of an endpoint that left.
	CloseConns func(any)
}

// Balancer implements balance.Balancer.
type Balancer struct {
	options Options
	// nodes by identity; owned by the goroutine that calls Update.
	nodes    map[identity]*balance.Node
	snapshot atomic.Pointer[snapshot]
}

// identity is what makes two endpoints the same for load and connections. An address that moves to another node is another endpoint.
type identity struct {
	addr netip.AddrPort
	hop  *naming.Hop
}

// snapshot is what Pick works on. It is immutable.
type snapshot struct {
	all     []*balance.Node
	serving []*balance.Node
	// cumulative weights of serving; nil where all weights are equal.
	cumulative []float64
}

// New returns a Balancer without endpoints.
func New(o Options) *Balancer {
	b := &Balancer{options: o, nodes: make(map[identity]*balance.Node)}
	b.snapshot.Store(&snapshot{})
	return b
}

// Update implements balance.Balancer.
func (b *Balancer) Update(endpoints []naming.Endpoint) {
	next := make(map[identity]*balance.Node, len(endpoints))
	s := &snapshot{}
	for _, e := range endpoints {
		id := identity{e.Addr, e.Hop}
		if next[id] != nil {
			continue
		}
		node := b.nodes[id]
		switch {
		case node == nil:
			node = balance.NewNode(e, b.options.NewConns(e))
		case node.Endpoint != e:
			node = node.Renew(e)
		}
		next[id] = node
		s.all = append(s.all, node)
		if e.Serving && e.Weight > 0 {
			s.serving = append(s.serving, node)
		}
	}
	s.weigh()
	b.snapshot.Store(s)
	for id, node := range b.nodes {
		if next[id] == nil {
			b.options.CloseConns(node.Conns)
		}
	}
	b.nodes = next
}

// Close forgets every endpoint.
func (b *Balancer) Close() { b.Update(nil) }

// Nodes implements balance.Balancer.
func (b *Balancer) Nodes() []*balance.Node { return b.snapshot.Load().all }

// Available returns how many endpoints may be picked.
func (b *Balancer) Available() int { return len(b.snapshot.Load().serving) }

func (s *snapshot) weigh() {
	if len(s.serving) == 0 {
		return
	}
	first, equal, total := s.serving[0].Endpoint.Weight, true, 0.0
	cumulative := make([]float64, len(s.serving))
	for i, node := range s.serving {
		equal = equal && node.Endpoint.Weight == first
		total += node.Endpoint.Weight
		cumulative[i] = total
	}
	if !equal {
		s.cumulative = cumulative
	}
}

// Pick implements balance.Balancer.
func (b *Balancer) Pick(_ uint32, tried []*balance.Node, most int64) (*balance.Node, error) {
	s := b.snapshot.Load()
	if len(s.serving) == 0 {
		return nil, balance.ErrNoEndpoints
	}
	if len(tried) > 0 {
		return s.pickUntried(tried, most)
	}
	return s.pick(most)
}

// pick returns the less loaded of two nodes that serve, of which there is one at least, and counts a request on it. Where both are at their
// limit it is the first that is not, from a random one on.
func (s *snapshot) pick(most int64) (*balance.Node, error) {
	n := len(s.serving)
	first := s.draw()
	if n > 1 {
		// A second draw that hits the same node again is as good as none: weights are what say how often that may be.
		second := s.draw()
		if s.cumulative == nil && second == first {
			second = (first + 1 + rand.IntN(n-1)) % n
		}
		first = s.lighter(first, second)
	}
	if node := s.serving[first]; node.Start(most) {
		return node, nil
	}
	for from, i := rand.IntN(n), 0; i < n; i++ {
		if node := s.serving[(from+i)%n]; node.Start(most) {
			return node, nil
		}
	}
	return nil, balance.ErrBusy
}

func (s *snapshot) draw() int {
	if s.cumulative == nil {
		return rand.IntN(len(s.serving))
	}
	x := rand.Float64() * s.cumulative[len(s.cumulative)-1]
	return min(sort.SearchFloat64s(s.cumulative, x), len(s.serving)-1)
}

// lighter returns the index with less load per weight, and i where both have the same: of idle nodes the draw alone has to decide, since
// it went by weight already.
func (s *snapshot) lighter(i, j int) int {
	a, b := s.serving[i], s.serving[j]
	if float64(b.Pending())*a.Endpoint.Weight < float64(a.Pending())*b.Endpoint.Weight {
		return j
	}
	return i
}

// pickUntried is the rare path of a second attempt: Pick among what is left.
func (s *snapshot) pickUntried(tried []*balance.Node, most int64) (*balance.Node, error) {
	left := &snapshot{serving: make([]*balance.Node, 0, len(s.serving))}
	for _, node := range s.serving {
		if !slices.ContainsFunc(tried, func(t *balance.Node) bool { return t.Endpoint.Addr == node.Endpoint.Addr }) {
			left.serving = append(left.serving, node)
		}
	}
	if len(left.serving) == 0 {
		return nil, balance.ErrTried
	}
	left.weigh()
	return left.pick(most)
}
