// Package route takes a request's name to the client that serves it: name -> bound tree -> one leaf by weight -> client.
//
// It knows no wire protocol: what listens to requests hands it the bytes that decide a name, and gets a Leaf. Names and clients are
// kept in bounded caches; clients are shared by bound name and outlive changes of the rules, so that load, connections and
// metrics survive a shift of traffic.
package route

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// Limits of a Router.
const (
	// MaxNames bounds the names kept bound. The least used of a sample makes room for a new one.
	MaxNames = 10000
	// MaxLost bounds those among them that lead nowhere: whoever asks for many of them gets answers, but no memory.
	MaxLost = 1000
	// MaxLocal bounds those that requests made with rules of their own, any number of which a single client can think up.
	MaxLocal = 1000
	// MaxClients bounds the clients. Beyond it a new bound name is refused, with its own reason.
	MaxClients = 10000
	// MaxDestinations is how many destinations are kept for a report to come. Those in use are kept beyond it.
	MaxDestinations = 10000
	// IdleTTL is how long an unused name or client is kept, as Linkerd's bindingCache.idleTtlSecs.
	IdleTTL = 10 * time.Minute
	// MaxKeyBytes bounds what decides a name: token and overrides.
	MaxKeyBytes = 16 << 10

	shards      = 64
	evictSample = 16
	tick        = time.Second
)

// Options of a Router.
type Options struct {
	// Name is that of the router.
	Name string
	// Scope is rt/<router>.
	Scope telemetry.Scope
	// NewConns makes what a balancer's node holds for an endpoint of the bound name; CloseConns ends it.
	NewConns   func(id dtab.Path, e naming.Endpoint) any
	CloseConns func(any)
	// Node is the node this process runs on, or "", and Zone where that is; nil for nobody knows.
	Node string
	Zone *Zone
	// Turned is told of circuits that break and close; it must not block. nil: nobody is.
	Turned func(client dtab.Path, t balance.Turn)
	// Connect makes a connection for what NewConns made, in the background, and keeps it for a request. It ends when ctx does.
	Connect func(ctx context.Context, conns any) error
	// Lost is told of endpoints that cannot be connected to, and of those that can be again; it must not block. nil: nobody is.
	Lost func(client dtab.Path, e naming.Endpoint, lost bool, after time.Duration)
	// FellOver is told of names that fall over and back; it must not block. nil: nobody is.
	FellOver func(Fall)
	// Clock returns monotonic nanoseconds, those that requests are timed by.
	Clock func() int64
}

// Router routes the requests of one router of a Mesh.
type Router struct {
	options     Options
	interpreter *naming.Interpreter
	settings    atomic.Pointer[settings]
	// now counts ticks; reading a clock for each request would cost more than it tells.
	now   atomic.Int64
	seed  maphash.Seed
	names [shards]nameShard
	// count is the number of names, lost that of those which lead nowhere, local that of those with rules of their own.
	count, lost, local atomic.Int64
	stats              stats
	chosen             chosenStats
	hops               hopStats
	// maxNames and so on are the limits, lower in tests.
	maxNames, maxLost, maxLocal int64
	maxClients, maxDestinations int

	mu           sync.Mutex // guards what follows
	services     map[string]*service
	clients      map[string]*client
	destinations map[DestinationKey]*destination

	quit, done chan struct{}
	zone       string // the one that clients were told; of the sweeper
}

// settings are what names and clients are configured by. They are immutable.
type settings struct {
	router         *config.Router
	table          *dtab.Table
	bindingTimeout time.Duration
}

type nameShard struct {
	sync.RWMutex
	names map[string]*Name
	_     [24]byte
}

// stats are the metrics of the caches.
type stats struct {
	misses, evicts, refused *telemetry.Counter
	// overrideEvicts counts those of evicts that had rules of their own.
	overrideEvicts *telemetry.Counter
}

// New returns a Router without rules. The caller owes one Close.
func New(o Options) *Router {
	cache := o.Scope.Scope("bindcache", "path")
	r := &Router{
		options: o, interpreter: naming.NewInterpreter(), seed: maphash.MakeSeed(),
		services: make(map[string]*service), clients: make(map[string]*client),
		destinations: make(map[DestinationKey]*destination),
		quit:         make(chan struct{}), done: make(chan struct{}),
		maxNames: MaxNames, maxLost: MaxLost, maxLocal: MaxLocal, maxClients: MaxClients, maxDestinations: MaxDestinations,
		stats: stats{
			misses: cache.Counter("misses"), evicts: cache.Counter("evicts"),
			refused: o.Scope.Scope("bindcache", "client").Counter("refused"), overrideEvicts: cache.Counter("override_evicts"),
		},
	}
	for i := range r.names {
		r.names[i].names = make(map[string]*Name)
	}
	cache.GaugeFunc("size", func() float64 { return float64(r.count.Load()) })
	cache.GaugeFunc("overrides", func() float64 { return float64(r.local.Load()) })
	r.chosen = newChosenStats(o.Scope.Scope("chosen"))
	r.hops = newHopStats(o.Scope.Scope("hops"))
	r.settings.Store(&settings{router: &config.Router{}, table: dtab.Compile(), bindingTimeout: time.Second})
	go r.sweep()
	return r
}

// Set makes the configuration the one that is routed by. When it returns, no request begins that follows the old rules, except
// where a namer has not answered within timeout. The transformers are those of the router. Calls follow each other.
func (r *Router) Set(cfg *config.Router, mounts []naming.Mount, timeout time.Duration, transformers ...*naming.Transformer) {
	table := r.settings.Load().table.Recompile(cfg.Rules()...)
	r.settings.Store(&settings{router: cfg, table: table, bindingTimeout: cfg.BindingTimeout})
	watch, glance := r.watchers()
	r.interpreter.SetHealth(watch, glance)
	r.interpreter.Set(table, mounts, timeout, transformers...)
}

// Close ends every name and client. The caller has ended its requests before.
func (r *Router) Close() {
	close(r.quit)
	<-r.done
	for i := range r.names {
		shard := &r.names[i]
		shard.Lock()
		names := shard.names
		shard.names = make(map[string]*Name)
		shard.Unlock()
		for _, n := range names {
			n.close()
		}
	}
	var clients []*client
	r.mu.Lock()
	for id, c := range r.clients {
		r.forget(id, c)
		clients = append(clients, c)
	}
	r.mu.Unlock()
	for _, c := range clients {
		c.close()
	}
}

func (r *Router) shardOf(key []byte) int { return int(maphash.Bytes(r.seed, key) % shards) }

// Lookup returns the name that the key stands for, or nil if it is not kept. It does not allocate.
func (r *Router) Lookup(key []byte) *Name {
	shard := &r.names[r.shardOf(key)]
	shard.RLock()
	n := shard.names[string(key)]
	shard.RUnlock()
	if n != nil {
		n.touch()
	}
	return n
}

// Bind keeps the path bound under the key and returns its name. local holds the rules the request brought with it.
func (r *Router) Bind(key []byte, path dtab.Path, local dtab.Dtab) *Name {
	return r.bind(&Name{router: r, key: string(key), local: local, path: path}, local)
}

// bind keeps n bound by the rules and those of local, and returns it, or the name that has its key.
//
// Nothing is locked while the namers are asked: a request that comes for the same name in the meantime waits in Choose, and those
// for other names do not wait at all.
func (r *Router) bind(n *Name, local dtab.Dtab) *Name {
	index := r.shardOf([]byte(n.key))
	shard := &r.names[index]
	shard.Lock()
	if known := shard.names[n.key]; known != nil {
		shard.Unlock()
		known.touch()
		return known
	}
	n.started = make(chan struct{})
	n.current.Store(&distribution{pending: true, replaced: make(chan struct{})})
	n.used.Store(r.now.Load())
	shard.names[n.key] = n
	shard.Unlock()
	r.stats.misses.Incr(0)
	n.service = r.acquireService(n.path)
	bind := r.interpreter.Bind
	if n.chosen {
		bind = r.interpreter.BindOwn // its path came in a header that anybody can forge
	}
	n.bound = bind(n.path, local, n.build)
	if n.isLocal() {
		r.local.Add(1)
	}
	close(n.started)
	// Only now, because closing a name waits until it is bound: two that evict each other must not wait for each other.
	switch {
	case r.count.Add(1) > r.maxNames:
		r.evict(index, n, (*Name).isBound)
	case r.local.Load() > r.maxLocal && n.isLocal():
		r.evict(index, n, (*Name).isLocal)
	case r.lost.Load() > r.maxLost && n.isLost():
		r.evict(index, n, (*Name).isLost)
	}
	return n
}

// evict makes room for n: in its own shard, or else in the next that has a name. Only one of those that may go does.
func (r *Router) evict(index int, n *Name, may func(*Name) bool) {
	for i := range shards {
		if victim := r.names[(index+i)%shards].evict(n, may); victim != nil {
			r.count.Add(-1)
			r.stats.evicts.Incr(0)
			if victim.isLocal() {
				r.stats.overrideEvicts.Incr(0)
			}
			victim.close()
			return
		}
	}
}

// evict removes the least recently used of a few names, preferring one that does not exist anyway. A name that is being bound is left
// alone: closing it would wait for its namers.
func (s *nameShard) evict(keep *Name, may func(*Name) bool) *Name {
	s.Lock()
	defer s.Unlock()
	var victim *Name
	looked := 0
	for _, n := range s.names {
		if n == keep || !n.isBound() || !may(n) {
			continue
		}
		if victim == nil || n.worth() < victim.worth() {
			victim = n
		}
		if looked++; looked == evictSample {
			break
		}
	}
	if victim != nil {
		delete(s.names, victim.key)
	}
	return victim
}

// sweep advances the clock and drops what was idle for too long.
func (r *Router) sweep() {
	defer close(r.done)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-t.C:
			now := r.now.Add(1)
			r.expireNames(now, int(now)%shards)
			r.expireClients(now)
			r.rezone()
		}
	}
}

// expireNames drops the idle names of one shard, so that no pass is long. A name that was refused a client goes too: asked for
// again, it finds the room there may be by now.
func (r *Router) expireNames(now int64, index int) {
	shard := &r.names[index]
	var idle []*Name
	shard.Lock()
	for key, n := range shard.names {
		if now-n.used.Load() > int64(IdleTTL/tick) || n.refused() {
			delete(shard.names, key)
			idle = append(idle, n)
		}
	}
	shard.Unlock()
	r.count.Add(-int64(len(idle)))
	for _, n := range idle {
		n.close()
	}
}

func (r *Router) expireClients(now int64) {
	var idle []*client
	r.mu.Lock()
	for id, c := range r.clients {
		if c.users == 0 && now-c.released > int64(IdleTTL/tick) {
			r.forget(id, c)
			idle = append(idle, c)
		}
	}
	r.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
