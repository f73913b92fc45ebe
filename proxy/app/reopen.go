package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/fairlead/fairlead/proxy/admin"
	"github.com/fairlead/fairlead/proxy/config"
)

// open opens the listeners that cfg has and the App has not. One of all addresses and one of a single one exclude each other, so what
// stands in the way, which cfg cannot have, leaves first; it comes back on an error, after which nothing new is open. The kernel refuses
// connections in between: for less than a millisecond.
func (a *App) open(ctx context.Context, cfg *config.Config) (map[netip.AddrPort]*listener, error) {
	opened := make(map[netip.AddrPort]*listener)
	var left []netip.AddrPort
	for _, mayLeave := range []bool{false, true} { // those in whose way nothing stands first: if one fails, nobody left in vain
		for i := range cfg.Routers {
			for _, s := range cfg.Routers[i].Servers {
				addr, err := netip.ParseAddrPort(s.Addr)
				if err == nil && a.listeners[addr] == nil && opened[addr] == nil {
					others := a.inTheWay(addr)
					if len(others) > 0 && !mayLeave {
						continue
					}
					left = append(left, others...)
					a.free(others)
					var l *listener
					if l, err = a.listen(ctx, addr, s); err == nil {
						opened[addr] = l
					}
				}
				if err != nil {
					for _, l := range opened {
						l.tcp.Close()
					}
					err = fmt.Errorf("router %s: server %s: %w", cfg.Routers[i].Name, s.Addr, err)
					return nil, errors.Join(err, a.reopen(context.WithoutCancel(ctx), left))
				}
			}
		}
	}
	return opened, nil
}

// inTheWay returns the addresses that are listened on and exclude addr.
func (a *App) inTheWay(addr netip.AddrPort) []netip.AddrPort {
	var found []netip.AddrPort
	for other := range a.listeners {
		if config.Clash(other, addr) {
			found = append(found, other)
		}
	}
	return found
}

func (a *App) free(addrs []netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range addrs {
		a.leave(a.listeners[addr])
	}
}

// reopen listens again on what was freed, for the configuration that is served on.
func (a *App) reopen(ctx context.Context, addrs []netip.AddrPort) (err error) {
	if len(addrs) == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.config.Routers {
		rc := &a.config.Routers[i]
		for _, s := range rc.Servers {
			addr := netip.MustParseAddrPort(s.Addr)
			if a.listeners[addr] != nil {
				continue
			}
			l, failed := a.listen(ctx, addr, s)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("router %s: server %s is not listened on any more: %w", rc.Name, s.Addr, failed))
				continue
			}
			l.start(a.routers[rc.Name], rc, s)
			a.listeners[addr] = l
		}
	}
	return err
}

// serve is the app's Apply, and moves the admin server to where cfg has it.
func (p *proxy) serve(ctx context.Context, cfg *config.Config) error {
	at := net.JoinHostPort(cfg.Mesh.Spec.Admin.IP, strconv.Itoa(int(cfg.Mesh.Spec.Admin.Port)))
	p.mu.Lock()
	next, from := p.admin, p.at
	p.mu.Unlock()
	if at == from {
		if err := p.app.Apply(ctx, cfg); err != nil {
			return err
		}
		p.serves(next, at)
		return nil
	}
	next = admin.NewServer(p.pages())
	inherited := p.inherited.Listener(at)
	listen := func() error {
		if inherited != nil {
			return nil
		}
		return next.Start(ctx, at)
	}
	mustLeave := excludes(from, cfg) || clash(from, at)
	if mustLeave {
		_ = p.stopAdmin() // it only read
	}
	if err := p.move(ctx, cfg, next, listen, excludes(at, p.app.Config())); err != nil {
		if mustLeave {
			err = errors.Join(err, p.adminAgain(context.WithoutCancel(ctx), from))
		}
		return err
	}
	old := p.serves(next, at)
	if inherited != nil {
		next.Serve(inherited) // not before: until here the old process answers that it is ready, and this one is not
	}
	if old != nil {
		_ = shutdownAdmin(old) // it only read
	}
	return nil
}

// serves says that a configuration is served, with its admin server at an address. It returns the admin server before.
func (p *proxy) serves(next *admin.Server, at string) (old *admin.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old = p.admin
	p.admin, p.at, p.took = next, at, true
	if old == next {
		return nil
	}
	return old
}

// move applies cfg and opens its admin server: after that, if it comes to where a router listened. On an error everything is as before.
func (p *proxy) move(ctx context.Context, cfg *config.Config, next *admin.Server, listen func() error, after bool) error {
	before := p.app.Config()
	if !after {
		if err := listen(); err != nil {
			return err
		}
	}
	if err := p.app.Apply(ctx, cfg); err != nil {
		return errors.Join(err, shutdownAdmin(next))
	}
	if after {
		if err := listen(); err != nil {
			return errors.Join(err, p.app.Apply(context.WithoutCancel(ctx), before))
		}
	}
	return nil
}

// adminAgain opens the admin server where it was.
func (p *proxy) adminAgain(ctx context.Context, at string) error {
	server := admin.NewServer(p.pages())
	err := server.Start(ctx, at)
	if err != nil {
		server, at = nil, "" // the next configuration opens one
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admin, p.at = server, at
	return err
}

// excludes reports whether cfg listens for requests where nothing can be bound together with an address.
func excludes(addr string, cfg *config.Config) bool {
	if cfg == nil {
		return false
	}
	for i := range cfg.Routers {
		for _, s := range cfg.Routers[i].Servers {
			if clash(addr, s.Addr) {
				return true
			}
		}
	}
	return false
}

// clash is config.Clash; what is no address clashes with nothing.
func clash(a, b string) bool {
	one, err := netip.ParseAddrPort(a)
	other, err2 := netip.ParseAddrPort(b)
	return errors.Join(err, err2) == nil && config.Clash(netip.AddrPortFrom(one.Addr().Unmap(), one.Port()), other)
}
