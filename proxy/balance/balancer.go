package balance

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
)

const (
	// atticTime is how long the state of an endpoint that left is kept, in case it comes again, and atticRoom of how many.
	atticTime = time.Minute
	atticRoom = 1024
	// untriedEffort is how often a policy is asked for an endpoint that was not tried, and scanLimit how many are looked at for one that
	// is up once a policy found none.
	untriedEffort = 8
	scanLimit     = 64
)

// Options say how nodes come and go.
type Options struct {
	Policy Policy
	// NewConns returns what Node.Conns of a new endpoint holds.
	NewConns func(naming.Endpoint) any
	// CloseConns is called with Node.Conns of an endpoint that left.
	CloseConns func(any)
	// NewBreaker returns what judges a new endpoint; nil: nobody does. Turned is told what came of it; it must not block. nil: nobody is.
	NewBreaker func() Breaker
	Turned     func(Turn)
	// ConnectFailed is told of endpoints that could not be connected to; it must not block. nil: nobody is.
	ConnectFailed func(n *Node, nowNs int64)
}

// Balancer keeps the endpoints of one bound name and picks one for each request.
//
// Pick may be called from any goroutine, never blocks and works on an immutable snapshot, and so do the methods that tell of it. Update,
// SetPolicy, SetSlowStart, SetZonePreference and Close are called one at a time.
type Balancer struct {
	options  Options
	nodes    map[identity]*Node
	attic    map[identity]remembered
	snapshot atomic.Pointer[snapshot]

	// Added and Removed count endpoints that came and went, Exhausted the requests for which the policy found no endpoint that is up with
	// its effort.
	Added, Removed, Exhausted atomic.Uint64
	judging                   sync.Mutex // makes one decision at a time about how many may be down
	slowStart                 *SlowStart // nil where it is off
	zone                      *zoneState // nil where no zone is preferred
}

// identity is what makes two endpoints the same for load and connections. An address that moves to another node is another endpoint.
type identity struct {
	addr netip.AddrPort
	hop  *naming.Hop
}

// remembered is the state of an endpoint that left.
type remembered struct {
	state *state
	until int64
}

// snapshot is what Pick works on. It is immutable.
type snapshot struct {
	all     []*Node
	serving int
	// classes hold those that serve, by weight.
	classes []class
	// near is nil where no zone is preferred, slowStart where it is off.
	near      *near
	slowStart *SlowStart
}

// class is the endpoints of one weight.
type class struct {
	weight float64
	nodes  []*Node
	picker Picker
	// upTo is the sum of the weights of all nodes of this class and of those before it.
	upTo float64
}

// New returns a Balancer without endpoints.
func New(o Options) *Balancer {
	b := &Balancer{options: o, nodes: make(map[identity]*Node), attic: make(map[identity]remembered)}
	b.snapshot.Store(&snapshot{})
	return b
}

// Update replaces the set of endpoints. What is known of an endpoint that stays (same Addr and Hop), or that comes again within a minute,
// is kept. Times are monotonic nanoseconds.
func (b *Balancer) Update(endpoints []naming.Endpoint, nowNs int64) {
	serving := b.snapshot.Load().serving
	next := make(map[identity]*Node, len(endpoints))
	order := make([]identity, 0, len(endpoints))
	for _, e := range endpoints {
		id := identity{e.Addr, e.Hop}
		if next[id] != nil {
			continue
		}
		node := b.nodes[id]
		before := node
		switch {
		case node == nil:
			node = NewNode(e, b.options.NewConns(e))
			node.balancer = b
			node.state.breaker.Store(b.breaker())
			if old, ok := b.attic[id]; ok && nowNs < old.until {
				node.state = old.state
			}
			delete(b.attic, id)
			b.Added.Add(1)
		case node.Endpoint != e:
			node = node.renew(e, node.watcher)
		}
		if isNew(before, node, serving) {
			node.state.times.ready.Store(max(nowNs, 1))
		}
		next[id] = node
		order = append(order, id)
	}
	gone := b.nodes
	b.nodes = next
	b.arrange(order, true)
	for id, node := range gone {
		if next[id] == nil {
			b.Removed.Add(1)
			b.remember(id, node, nowNs)
			b.options.CloseConns(node.Conns)
		}
	}
}

// remember keeps the state of an endpoint that left, for a while and as long as there is room.
func (b *Balancer) remember(id identity, n *Node, nowNs int64) {
	if len(b.attic) >= atticRoom {
		for id, old := range b.attic {
			if nowNs >= old.until {
				delete(b.attic, id)
			}
		}
	}
	if len(b.attic) < atticRoom {
		b.attic[id] = remembered{n.state, nowNs + int64(atticTime)}
	}
}

// SetPolicy makes another policy choose, among the same endpoints and by what is known of them.
func (b *Balancer) SetPolicy(p Policy) {
	if p == b.options.Policy {
		return
	}
	b.options.Policy = p
	b.arrange(b.order(), false)
}

// rearrange makes the snapshot anew, of the same endpoints by the same policy.
func (b *Balancer) rearrange() { b.arrange(b.order(), true) }

// order returns the endpoints in the order they came.
func (b *Balancer) order() []identity {
	order := make([]identity, 0, len(b.nodes))
	for _, n := range b.snapshot.Load().all {
		order = append(order, identity{n.Endpoint.Addr, n.Endpoint.Hop})
	}
	return order
}

// arrange makes a snapshot of the nodes in this order. keep says that the policy is that of the last one.
func (b *Balancer) arrange(order []identity, keep bool) {
	s := &snapshot{all: make([]*Node, 0, len(order))}
	byWeight := make(map[float64][]identity)
	for _, id := range order {
		if e := &b.nodes[id].Endpoint; e.Serving && e.Weight > 0 {
			byWeight[e.Weight] = append(byWeight[e.Weight], id)
		}
	}
	previous := b.snapshot.Load()
	for weight, ids := range byWeight {
		c := class{weight: weight, nodes: make([]*Node, len(ids))}
		if i := slices.IndexFunc(previous.classes, func(c class) bool { return c.weight == weight }); keep && i >= 0 {
			c.picker = previous.classes[i].picker
		} else {
			c.picker = b.options.Policy.New()
		}
		w, _ := c.picker.(Watcher)
		for i, id := range ids {
			if n := b.nodes[id]; n.watcher != w || n.zone != b.zone {
				b.nodes[id] = n.renew(n.Endpoint, w)
			}
			c.nodes[i] = b.nodes[id]
		}
		c.picker.Set(c.nodes)
		s.serving += len(ids)
		s.classes = append(s.classes, c)
	}
	slices.SortFunc(s.classes, func(a, b class) int { return cmp.Compare(a.weight, b.weight) })
	total := 0.0
	for i := range s.classes {
		total += s.classes[i].weight * float64(len(s.classes[i].nodes))
		s.classes[i].upTo = total
	}
	for _, id := range order {
		s.all = append(s.all, b.nodes[id])
	}
	s.near, s.slowStart = b.near(s), b.slowStart
	b.snapshot.Store(s)
}

// Close forgets every endpoint.
func (b *Balancer) Close() { b.Update(nil, 0) }

// Nodes returns the nodes of the current snapshot. It must not be changed.
func (b *Balancer) Nodes() []*Node { return b.snapshot.Load().all }

// Available returns how many endpoints serve and are not down.
func (b *Balancer) Available() int { return b.snapshot.Load().serving - b.Down() }

// Pick returns an endpoint that is not among tried, and counts one request on it; the caller owes one Done. An endpoint that has most
// requests under way gets no other; 0 means no limit. Where all endpoints are down one of them gets the request anyway.
func (b *Balancer) Pick(nowNs int64, tried []*Node, most int64) (*Node, error) {
	s := b.snapshot.Load()
	if len(s.classes) == 0 {
		return nil, ErrNoEndpoints
	}
	slow, effort := s.slowStart, 1
	if len(tried) > 0 || slow != nil {
		effort = untriedEffort
	}
	for i := range effort {
		n := s.draw().picker.Pick(nowNs, most)
		if n == nil {
			b.Exhausted.Add(1)
			break
		}
		if s.near != nil {
			n = s.near.instead(n, nowNs, most, tried)
		}
		if !isTried(n, tried) && (slow == nil || i == effort-1 || !slow.holdsBack(n, nowNs)) {
			return n, nil
		}
		n.abandon(nowNs)
	}
	return s.scan(nowNs, tried, most)
}

// draw returns a class, by the weight of all its endpoints.
func (s *snapshot) draw() *class {
	n := len(s.classes)
	if n == 1 {
		return &s.classes[0]
	}
	x := rand.Float64() * s.classes[n-1].upTo
	return &s.classes[min(sort.Search(n, func(i int) bool { return s.classes[i].upTo > x }), n-1)]
}

func isTried(n *Node, tried []*Node) bool {
	return slices.ContainsFunc(tried, func(t *Node) bool { return t.Endpoint.Addr == n.Endpoint.Addr })
}

// scan looks from a random endpoint on for one that is up, and then for any.
func (s *snapshot) scan(nowNs int64, tried []*Node, most int64) (*Node, error) {
	from, untried := rand.IntN(len(s.classes)), false
	for _, up := range [...]bool{true, false} {
		for i := range s.classes {
			n, any := s.classes[(from+i)%len(s.classes)].scan(nowNs, tried, most, up)
			if n != nil {
				return n, nil
			}
			untried = untried || any
		}
	}
	if untried {
		return nil, ErrBusy
	}
	return nil, ErrTried
}

// scan reports also whether there was any that was not tried.
func (c *class) scan(nowNs int64, tried []*Node, most int64, up bool) (n *Node, untried bool) {
	limit := len(c.nodes)
	if up {
		limit = min(limit, scanLimit)
	}
	for from, i := rand.IntN(len(c.nodes)), 0; i < limit; i++ {
		n := c.nodes[(from+i)%len(c.nodes)]
		if isTried(n, tried) {
			continue
		}
		untried = true
		if up && n.Admit(nowNs, most) {
			n.began(nowNs)
			return n, true
		}
		if !up && n.Start(nowNs, most) {
			return n, true
		}
	}
	return nil, untried
}
