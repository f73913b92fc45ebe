package app

import (
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/transport"
)

const (
	// enoughDescriptors is the limit below which a proxy warns when it starts. All but 4,096 are for clients, which is 10,000 for each of
	// two listeners, as many as they take unless told otherwise, and some more.
	enoughDescriptors = 24_576
	// shortageInterval is how often a listener says that it turned clients away, at most, and shortageLook how soon it begins to.
	shortageInterval = 10 * time.Second
	shortageLook     = time.Second
)

const raiseLimit = "raise RLIMIT_NOFILE: ulimit -n in a shell, LimitNOFILE in a systemd unit, that of the container runtime in a cluster"

// warnOfDescriptors says at the start that the limit is small, and what it means.
func warnOfDescriptors(log logr.Logger) {
	all, clients, connections := transport.DescriptorLimits()
	if all >= enoughDescriptors {
		return
	}
	log.Info("The limit of file descriptors is small: clients beyond it are turned away", "limit", all, "recommended", enoughDescriptors,
		"clientsAtMost", clients, "clientsAndEndpointsAtMost", connections, "action", raiseLimit)
}

// shortage is what a listener said of clients it turned away. One goroutine uses it.
type shortage struct {
	starved, errors uint64
	next            time.Time
}

// say writes a line if clients were turned away for want of descriptors, or could not be accepted, since the last one.
func (s *shortage) say(log logr.Logger, l *transport.Listener, now time.Time) {
	starved, failed := l.Starved.Load(), l.Errors.Load()
	if starved == s.starved && failed == s.errors || now.Before(s.next) {
		return
	}
	all, clients, _ := transport.DescriptorLimits()
	values := []any{"starved", starved - s.starved, "acceptErrors", failed - s.errors, "open", l.Open.Load(), "limit", all,
		"clientsAtMost", clients, "action", raiseLimit}
	if err := l.LastError(); err != nil && failed != s.errors {
		values = append(values, "error", err.Error())
	}
	log.Info("Clients turned away: too few file descriptors", values...)
	s.starved, s.errors, s.next = starved, failed, now.Add(shortageInterval)
}

// watchShortage lets the listeners say what they turned away, until quit closes.
func (a *App) watchShortage() {
	t := time.NewTicker(shortageLook)
	defer t.Stop()
	for {
		select {
		case <-a.quit:
			return
		case now := <-t.C:
			a.mu.Lock()
			listeners := make([]*listener, 0, len(a.listeners))
			for _, l := range a.listeners {
				listeners = append(listeners, l)
			}
			a.mu.Unlock()
			for _, l := range listeners {
				l.shortage.say(a.options.Log.WithName("http").WithValues("server", l.addr.String()), l.tcp, now)
			}
		}
	}
}
