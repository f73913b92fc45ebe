package route

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// client serves one bound name: its balancer and what it holds. Clients are shared by every name that binds to them.
type client struct {
	id       dtab.Path
	balancer *balance.Balancer
	scope    telemetry.Scope
	metrics  requestMetrics
	budget   budget
	requeues requeueStats
	failFast failFast
	node     string
	zone     *Zone
	indexed  bool
	health   health

	// ready is set, and readied closed, once the endpoints were told for the first time.
	ready   atomic.Bool
	readied chan struct{}

	// users and released (in ticks) are guarded by Router.mu.
	users    int
	released int64

	attaching sync.Mutex // guards sources, addrs and stop
	// sources counts the leaves in use by the live set they came with. The same bound name may come with several: one for each
	// answer of a namer.
	sources map[naming.Live[naming.Addrs]]int
	// addrs is the one that feeds the balancer: one of sources, or the last there was.
	addrs  naming.Live[naming.Addrs]
	stop   func()
	closed bool

	updating sync.Mutex // makes updates of the balancer one at a time, and guards kind and accrual
	kind     config.LoadBalancer
	accrual  config.FailureAccrual
	clock    func() int64
	stats    balancerStats
	// index holds the nodes by the text of their address, in a router that is told by others which to take; nil elsewhere.
	index atomic.Pointer[map[string]*balance.Node]
}

// acquireClient returns the client of a bound name for one more leaf.
func (r *Router) acquireClient(b *naming.Bound) (*client, *Error) {
	key := b.ID.String()
	r.mu.Lock()
	c := r.clients[key]
	var idle *client
	if c == nil {
		if len(r.clients) >= r.maxClients {
			idle = r.evictClient()
		}
		if len(r.clients) >= r.maxClients {
			r.mu.Unlock()
			r.stats.refused.Incr(0)
			return nil, &Error{ReasonTooManyClients, "as many bound names as this proxy keeps are in use; refused " + key}
		}
		c = r.newClient(b.ID)
		r.clients[key] = c
	}
	c.users++
	r.mu.Unlock()
	if idle != nil {
		idle.close()
	}
	c.attach(b.Addrs)
	return c, nil
}

// evictClient removes the client that nothing has led to for longest, if there is one. A client is left alone for a moment after its
// last name: requests that chose it before may not have picked an endpoint yet. r.mu is held.
func (r *Router) evictClient() *client {
	var victim *client
	key, now := "", r.now.Load()
	for id, c := range r.clients {
		if c.users == 0 && now-c.released > 1 && (victim == nil || c.released < victim.released) {
			victim, key = c, id
		}
	}
	if victim != nil {
		r.forget(key, victim)
	}
	return victim
}

// forget removes a client, which is then to be closed. r.mu is held. Its metrics go now: a client that comes to the same name later
// has its own in the same place.
func (r *Router) forget(key string, c *client) {
	delete(r.clients, key)
	c.scope.Close()
}

func (r *Router) newClient(id dtab.Path) *client {
	c := &client{
		id: id, readied: make(chan struct{}), sources: make(map[naming.Live[naming.Addrs]]int),
		scope: r.options.Scope.Scope("client", label(id)), clock: r.options.Clock,
		node: r.options.Node, zone: r.options.Zone,
	}
	c.balancer = balance.New(balance.Options{
		Policy:     policy(c.kind),
		NewConns:   func(e naming.Endpoint) any { return r.options.NewConns(id, e) },
		CloseConns: r.options.CloseConns,
		NewBreaker: breakers(c.accrual),
		Turned:     func(t balance.Turn) { c.turned(r, t) },

		ConnectFailed: c.failFast.failed,
	})
	c.failFast.balancer, c.failFast.connect, c.failFast.clock = c.balancer, r.options.Connect, c.clock
	c.failFast.told = func(n *balance.Node, lost bool, after time.Duration) {
		c.health.examine()
		if r.options.Lost != nil {
			r.options.Lost(id, n.Endpoint, lost, after)
		}
	}
	c.failFast.meter(c.scope.Scope("failfast"))
	c.judgeHealth(r)
	c.metrics = newRequestMetrics(c.scope)
	c.budget.meter(c.scope.Scope("retries"), c.clock)
	c.requeues = newRequeueStats(c.scope.Scope("retries"))
	c.indexed = r.settings.Load().router.IsLocal()
	lb := c.scope.Scope("loadbalancer")
	lb.GaugeFunc("size", func() float64 { return float64(len(c.balancer.Nodes())) })
	lb.GaugeFunc("available", func() float64 { return float64(c.balancer.Available()) })
	c.stats = newBalancerStats(lb, c.scope.Scope("failure_accrual"))
	lb.GaugeFunc("max_effort_exhausted", func() float64 { return float64(c.balancer.Exhausted.Load()) })
	return c
}

// judgeHealth makes the client's health that of its balancer.
func (c *client) judgeHealth(r *Router) {
	h := &c.health
	h.balancer, h.clock, h.known = c.balancer, c.clock, c.ready.Load
	h.limits = func() (after, back time.Duration) {
		cfg := r.settings.Load().router
		return cfg.FailoverAfter, cfg.FailbackAfter
	}
	h.meter = func() *telemetry.Counter {
		s := c.scope.Scope("failover")
		s.GaugeFunc("passed_over", func() float64 {
			if _, _, unwell := h.state(); unwell {
				return 1
			}
			return 0
		})
		return s.Counter("trials")
	}
}

// follows makes the client do what the configuration says.
func (c *client) follows(cfg config.Client) {
	c.balanceBy(cfg.LoadBalancer)
	c.judgeBy(cfg.FailureAccrual)
	c.requeueBy(cfg.RequeueBudget)
	c.failFast.on.Store(cfg.FailFast)
}

// turned counts what happened to a circuit, and tells of it.
func (c *client) turned(r *Router, t balance.Turn) {
	c.stats.turned(t)
	c.health.examine()
	if r.options.Turned != nil {
		r.options.Turned(c.id, t)
	}
}

// judgeBy makes the client's circuits follow the configuration. Endpoints that are down stay so.
func (c *client) judgeBy(accrual config.FailureAccrual) {
	c.updating.Lock()
	defer c.updating.Unlock()
	if c.indexed {
		accrual.Kind = v1alpha1.KindAccrualNone // whoever chose the endpoint judges it
	}
	if c.accrual != accrual {
		c.accrual = accrual
		c.balancer.SetBreakers(breakers(accrual), c.clock())
		c.health.examine()
	}
}

// balanceBy makes the client's balancer follow the configuration. What it knows of its endpoints stays.
func (c *client) balanceBy(kind config.LoadBalancer) {
	c.updating.Lock()
	defer c.updating.Unlock()
	if c.kind != kind {
		c.kind = kind
		c.balancer.SetPolicy(policy(kind))
		c.preferZone()
		c.balancer.SetSlowStart(balance.SlowStart{Window: kind.SlowStart, Least: kind.SlowStartLeast})
		if c.indexed {
			c.reindex()
		}
	}
}

func (r *Router) releaseClient(c *client, addrs naming.Live[naming.Addrs]) {
	c.detach(addrs)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.users--
	c.released = r.now.Load()
}

// attach adds a leaf that came with addrs, and makes addrs what feeds the balancer if it is new. The balancer's nodes stay.
func (c *client) attach(addrs naming.Live[naming.Addrs]) {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	if c.sources[addrs]++; c.sources[addrs] == 1 {
		c.follow(addrs)
	}
}

// none returns err with what is known of why there are no endpoints.
func (c *client) none(err error) error {
	c.attaching.Lock()
	addrs := c.addrs
	c.attaching.Unlock()
	if addrs == nil {
		return err
	}
	switch a, _, failed := addrs.Load(); {
	case a.None != "":
		return fmt.Errorf("%w: %s", err, a.None)
	case failed != nil:
		return fmt.Errorf("%w: %w", err, failed)
	}
	return err
}

// detach takes a leaf away. A live set whose last leaf went may stand still from now on, so that another in use takes its place;
// where there is none, nothing leads to this client.
func (c *client) detach(addrs naming.Live[naming.Addrs]) {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	if c.sources[addrs]--; c.sources[addrs] > 0 {
		return
	}
	delete(c.sources, addrs)
	if c.addrs != addrs {
		return
	}
	for other := range c.sources {
		c.follow(other)
		return
	}
}

// follow makes addrs what feeds the balancer. attaching is held.
func (c *client) follow(addrs naming.Live[naming.Addrs]) {
	if c.addrs == addrs || c.closed {
		return
	}
	if c.stop != nil {
		c.stop()
	}
	c.addrs = addrs
	// Once here, so that a request that follows finds endpoints that are known already.
	c.update(addrs.Load())
	c.stop = naming.Watch(addrs, c.update)
}

// update gives the balancer its endpoints. A set that cannot be told keeps the last one.
func (c *client) update(a naming.Addrs, s naming.State, _ error) {
	if s == naming.Pending || s == naming.Failed && c.ready.Load() {
		return
	}
	c.updating.Lock()
	defer c.updating.Unlock()
	c.zone.learn(c.node, a.Endpoints)
	c.balancer.Update(a.Endpoints, c.clock())
	c.failFast.updated()
	c.stats.updated(c.balancer)
	if c.indexed {
		c.reindex()
	}
	first := !c.ready.Swap(true)
	c.health.examine()
	if first {
		close(c.readied)
	}
}

func (c *client) close() {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	c.closed = true
	if c.stop != nil {
		c.stop()
	}
	c.failFast.close()
	c.updating.Lock()
	defer c.updating.Unlock()
	c.balancer.Close()
}

// label is how metrics show a path: as Linkerd does, without the first slash.
func label(p dtab.Path) string { return strings.TrimPrefix(p.String(), "/") }

// service is one logical name with what is shared by all its override variants. It has metrics once it led somewhere: a name that
// nobody has is counted by the server alone.
type service struct {
	path    dtab.Path
	budget  budget
	retries retryStats

	// Guarded by Router.mu.
	users   int
	scope   telemetry.Scope
	metrics *requestMetrics

	falls atomic.Pointer[fallStats]
}

func (r *Router) acquireService(p dtab.Path) *service {
	key := p.String()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.services[key]
	if s == nil {
		s = &service{path: p}
		r.services[key] = s
	}
	s.users++
	return s
}

// meter returns the metrics of a service that leads somewhere.
func (r *Router) meter(s *service) *requestMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.metrics == nil {
		s.scope = r.options.Scope.Scope("service", label(s.path))
		m := newRequestMetrics(s.scope)
		s.metrics = &m
		retries := s.scope.Scope("retries")
		s.retries = retryStats{retries.Counter("total"), retries.Histogram("per_request")}
		s.budget.meter(retries, r.options.Clock)
	}
	return s.metrics
}

func (r *Router) releaseService(s *service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(r.services, s.path.String())
		if s.scope != nil {
			s.scope.Close()
		}
	}
}
