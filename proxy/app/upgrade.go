package app

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/handover"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// upgradeTimeout is how long a new process may take until it serves. This one serves meanwhile, so it costs nothing but the time in which
// it takes no new configuration.
const upgradeTimeout = 10 * time.Second

// upgrader replaces this process by that of another version.
type upgrader struct {
	proxy          *proxy
	log            logr.Logger
	path           string
	pathErr        error
	done, failed   *telemetry.Counter
	nDone, nFailed int
	// replaced gets the number of the process that took over.
	replaced chan int
}

func newUpgrader(p *proxy) *upgrader {
	scope := p.metrics.Scope("control")
	u := &upgrader{
		proxy: p, log: p.options.Log.WithName("upgrade"), replaced: make(chan int, 1),
		done: scope.Counter("upgrades"), failed: scope.Counter("upgrade_failures"),
	}
	u.path, u.pathErr = handover.Executable()
	if i := p.inherited; i != nil { // the counters go on where those of the old process ended
		u.nDone, u.nFailed = i.Upgrades, i.Failures
		u.done.Add(0, uint64(u.nDone))
		u.failed.Add(0, uint64(u.nFailed))
	}
	return u
}

// run answers the signals until background ends. Once ctx did, this process drains: an upgrade under way is given up.
func (u *upgrader) run(ctx, background context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var attempt sync.WaitGroup
	defer attempt.Wait()
	defer cancel()
	results := make(chan error, 1)
	underWay, replaced := false, false
	for {
		select {
		case <-background.Done():
			return
		case <-u.proxy.options.Upgrade:
			if why := u.refuses(ctx, underWay, replaced); why != "" {
				u.log.Info("Upgrade refused", "reason", why)
				continue
			}
			underWay = true
			u.log.Info("Upgrade begun", "path", u.path, "pid", os.Getpid())
			attempt.Go(func() { results <- u.try(ctx) })
		case err := <-results:
			underWay, replaced = false, err == nil
			if err != nil {
				u.nFailed++
				u.failed.Incr(0)
				u.log.Error(err, "Upgrade failed, this process serves on", "pid", os.Getpid())
			}
		}
	}
}

// refuses returns why there is no upgrade, or "".
func (u *upgrader) refuses(ctx context.Context, underWay, replaced bool) string {
	switch {
	case u.proxy.options.Cluster != nil:
		return "in a cluster the operator replaces the Pod: change the image of the Mesh"
	case os.Getpid() == 1:
		return "this is process 1: with it all others of its container end"
	case replaced:
		return "another process has taken over"
	case underWay:
		return "an upgrade is under way"
	case ctx.Err() != nil:
		return "draining"
	case u.pathErr != nil:
		return "the path of the program is not known: " + u.pathErr.Error()
	}
	return ""
}

// try starts the new process. After a success no configuration is applied any more: the new process reads its own.
func (u *upgrader) try(ctx context.Context) error {
	if err := u.proxy.hold(ctx); err != nil {
		return err
	}
	pid, err := handover.Start(ctx, handover.Options{
		Path: u.path, Args: os.Args, Env: os.Environ(), Sockets: u.proxy.sockets(), Upgrades: u.nDone + 1, Failures: u.nFailed,
		Timeout: upgradeTimeout, Grace: u.proxy.options.Drain + lameDuck + adminTimeout,
	})
	if err != nil {
		u.proxy.release()
		return err
	}
	u.done.Incr(0)
	if err := handover.Notify("MAINPID=" + strconv.Itoa(pid)); err != nil {
		u.log.Error(err, "The service manager was not told of the new process", "pid", pid)
	}
	u.replaced <- pid
	return nil
}

// hold keeps configurations from being applied, and waits for one that is.
func (p *proxy) hold(ctx context.Context) error {
	select {
	case p.applying <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no configuration is applied any more: %w", ctx.Err())
	}
}

func (p *proxy) release() { <-p.applying }

// sockets are those that listen, by the addresses of the configuration. The caller holds.
func (p *proxy) sockets() map[string]syscall.Conn {
	sockets := p.app.sockets()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.admin != nil {
		sockets[p.at] = p.admin
	}
	return sockets
}

func (a *App) sockets() map[string]syscall.Conn {
	a.mu.Lock()
	listeners := maps.Clone(a.listeners)
	a.mu.Unlock()
	sockets := make(map[string]syscall.Conn, len(listeners)+1)
	for addr, l := range listeners {
		sockets[addr.String()] = l.tcp
	}
	return sockets
}

// begun says that this process serves: to the one that it replaces, or to the service manager if there is none.
func (p *proxy) begun() {
	var err error
	if p.inherited != nil {
		err = p.inherited.Ready()
	} else {
		err = handover.Notify("READY=1")
	}
	if err != nil {
		p.options.Log.Error(err, "Nobody was told that this process serves")
	}
}
