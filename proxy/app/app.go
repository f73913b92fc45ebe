// Package app assembles the proxy: it is the only package that knows all rooms. It starts them, swaps their configuration and
// drains them.
package app

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/handover"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
	"github.com/fairlead/fairlead/proxy/route"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/proxy/transport"
)

const (
	// settleTimeout is how long a swap waits for names whose namers have not answered yet.
	settleTimeout = 10 * time.Second
	// drainTimeout is how long a listener that left the configuration may finish its requests.
	drainTimeout = 30 * time.Second
)

// Options of an App.
type Options struct {
	Version string
	Log     logr.Logger
	Metrics *telemetry.Tree
	// Kubernetes makes a namer of the io.l5d.k8s family for a prefix; nil where there is no cluster.
	Kubernetes func(prefix dtab.Path) *k8s.Namer
	// Node is the node this process runs on, as Kubernetes names it; "" where there is no cluster.
	Node string
	// Policy is asked before an address is dialled that no discovery told of; nil allows all.
	Policy func(netip.AddrPort) error
	// LogLevel is called with the level a Mesh asks for.
	LogLevel func(string)
	// Inherited has the sockets that another process listened with; nil: there was none.
	Inherited *handover.Inherited
}

// errEnded is Apply's answer once Shutdown began: a listener opened then would take connections only to cut them.
var errEnded = errors.New("the proxy is shutting down")

// App is a running proxy. Apply is called by one goroutine at a time.
type App struct {
	options Options
	buffers *transport.Buffers
	// descriptors are those of the process, which all listeners and dialers share.
	descriptors *transport.Descriptors
	// discovered dials what a namer found in the cluster, guarded all else.
	discovered, guarded *transport.Pools
	resolver            *dns.Resolver
	namers              *namers
	transformers        *transformers
	hops                *hops
	health              *health
	zone                route.Zone
	// drainTimeout is how long what left the configuration may finish its requests; shorter in tests.
	drainTimeout time.Duration

	applying sync.Mutex // held while a configuration is swapped; guards ended
	ended    bool

	mu        sync.Mutex // guards what follows
	config    *config.Config
	routers   map[string]*router
	listeners map[netip.AddrPort]*listener
	draining  sync.WaitGroup
	watching  sync.WaitGroup // those who end when quit closes
	quit      chan struct{}
}

// New returns an App that serves nothing yet. The caller owes one Shutdown.
func New(o Options) *App {
	descriptors := transport.NewDescriptors()
	a := &App{
		options: o, buffers: transport.NewBuffers(), descriptors: descriptors,
		discovered: transport.NewPools(transport.NewDialer(transport.DialOptions{Descriptors: descriptors}), transport.PoolOptions{}),
		guarded: transport.NewPools(
			transport.NewDialer(transport.DialOptions{Allow: o.Policy, Descriptors: descriptors}), transport.PoolOptions{}),
		resolver: dns.New(dns.Options{}),
		routers:  make(map[string]*router), listeners: make(map[netip.AddrPort]*listener),
		quit: make(chan struct{}), drainTimeout: drainTimeout,
	}
	observe(o.Metrics.Scope("dns"), a.resolver)
	a.transformers = newTransformers(o.Kubernetes, o.Node)
	a.namers = newNamers(o, a.resolver, a.transformers)
	a.hops = newHops(a.discovered)
	a.health = newHealth(a)
	a.watching.Go(a.watchShortage)
	return a
}

// Apply makes cfg what is served: build new, swap, drain old. When it returns nil, no request that begins follows the old rules.
// An error names what could not be built, and everything stays as it was. After Shutdown began nothing is applied.
func (a *App) Apply(ctx context.Context, cfg *config.Config) error {
	a.applying.Lock()
	defer a.applying.Unlock()
	if a.ended {
		return errEnded
	}
	mounts, err := a.namers.mounts(cfg.Mesh.Spec.Namers)
	if err != nil {
		return err
	}
	changes, err := a.transformers.routers(cfg)
	if err != nil {
		return err
	}
	opened, err := a.open(ctx, cfg)
	if err != nil {
		return err
	}
	a.tellFaults(cfg)
	a.mu.Lock()
	a.config = cfg
	var fresh []*listener
	routers := make(map[string]*router, len(cfg.Routers))
	for i := range cfg.Routers {
		rc := &cfg.Routers[i]
		r := a.routers[rc.Name]
		if r == nil {
			r = a.newRouter(rc.Name)
		}
		routers[rc.Name] = r
	}
	gone := a.routers
	a.routers = routers
	a.mu.Unlock()

	discovered := newDiscoveries(cfg.Mesh.Spec.Namers)
	for i := range cfg.Routers {
		rc := &cfg.Routers[i]
		routers[rc.Name].discoveries.Store(discovered)
		routers[rc.Name].set(rc, mounts, changes[i])
		for _, s := range rc.Servers {
			addr := netip.MustParseAddrPort(s.Addr)
			if l := opened[addr]; l != nil {
				l.start(routers[rc.Name], rc, s)
				fresh = append(fresh, l)
			} else {
				a.listeners[addr].move(routers[rc.Name], rc, s)
			}
		}
	}
	a.retire(cfg, fresh)
	for name, r := range gone {
		if routers[name] == nil {
			r.scope.Close() // now: a router that comes to the same name later has its metrics in the same place
			a.draining.Go(func() { r.closeAfter(a.drainTimeout, a.quit) })
		}
	}
	a.health.follow(cfg, routers)
	a.namers.keep(cfg.Mesh.Spec.Namers)
	a.transformers.keep(cfg)
	if a.options.LogLevel != nil {
		a.options.LogLevel(cfg.Mesh.Spec.Proxy.LogLevel)
	}
	return nil
}

// tellFaults logs which faults are injected from now on.
func (a *App) tellFaults(cfg *config.Config) {
	before, now := "", cfg.Mesh.Faults()
	if a.config != nil {
		before = a.config.Mesh.Faults()
	}
	switch {
	case now == before:
	case now == "":
		a.options.Log.Info("Faults are not injected any more")
	default:
		a.options.Log.Info("Faults are injected, as the Mesh asks for", "faults", now)
	}
}

// retire drains the listeners that cfg has no more, and takes up the new ones.
func (a *App) retire(cfg *config.Config, fresh []*listener) {
	wanted := make(map[netip.AddrPort]bool)
	for i := range cfg.Routers {
		for _, s := range cfg.Routers[i].Servers {
			wanted[netip.MustParseAddrPort(s.Addr)] = true
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr, l := range a.listeners {
		if !wanted[addr] {
			a.leave(l)
		}
	}
	for _, l := range fresh {
		a.listeners[l.addr] = l
	}
}

// leave ends a listener: its address is free at once, and its requests may finish. a.mu is held.
func (a *App) leave(l *listener) {
	delete(a.listeners, l.addr)
	l.tcp.Close()   // now, so that the address can come back with the next configuration
	l.scope.Close() // as with a router
	timeout := a.drainTimeout
	a.draining.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = l.stop(ctx) // requests that outlive the drain were cut off: the listener counts them
	})
}

// Config returns what is served, or nil.
func (a *App) Config() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}

// Shutdown drains: it stops accepting, lets requests under way end until ctx does, then closes everything. If that cut requests or
// tunnels, it returns a *http1.CutError.
func (a *App) Shutdown(ctx context.Context) error {
	a.applying.Lock()
	a.ended = true
	a.applying.Unlock()
	a.mu.Lock()
	listeners := a.listeners
	a.listeners = make(map[netip.AddrPort]*listener)
	a.mu.Unlock()
	errs := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { errs <- l.stop(ctx) }()
	}
	var cut http1.CutError
	for range listeners {
		var one *http1.CutError
		if errors.As(<-errs, &one) {
			cut.Cut, cut.Cause = cut.Cut+one.Cut, one.Cause
		}
	}
	close(a.quit)
	a.draining.Wait()
	a.watching.Wait()
	a.health.close()
	a.mu.Lock()
	routers := a.routers
	a.routers = make(map[string]*router)
	a.mu.Unlock()
	for _, r := range routers {
		r.close()
	}
	a.namers.close()
	a.transformers.close()
	a.resolver.Close()
	a.discovered.Close()
	a.guarded.Close()
	if cut.Cut > 0 {
		return &cut
	}
	return nil
}
