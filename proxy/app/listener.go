package app

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/proxy/transport"
)

// listener is one address that is listened on, with the HTTP/1 engine behind it.
type listener struct {
	addr   netip.AddrPort
	tcp    *transport.Listener
	server *http1.Server
	served sync.WaitGroup
	app    *App

	// router, scope and metrics change with the router that the listener serves; only Apply writes them.
	router  *router
	scope   telemetry.Scope
	metrics atomic.Pointer[serverMetrics]
	pending atomic.Int64
	// shortage belongs to the goroutine that watches for it.
	shortage shortage
}

func (a *App) listen(ctx context.Context, addr netip.AddrPort, s config.Server) (*listener, error) {
	tcp, err := transport.Listen(ctx, addr, transport.ListenOptions{
		MaxConns: s.MaxConnections, Descriptors: a.descriptors, Socket: a.options.Inherited.Listener(addr.String()),
	})
	if err != nil {
		return nil, err
	}
	return &listener{addr: addr, tcp: tcp, app: a}, nil
}

// measure puts the listener's metrics below those of its router.
func (l *listener) measure(r *router) {
	if l.router == r {
		return
	}
	if l.scope != nil {
		l.scope.Close()
	}
	l.router = r
	l.scope = r.scope.Scope("server", l.addr.Addr().String()+"/"+strconv.Itoa(int(l.addr.Port()))) // one step, so that it is one label
	l.scope.GaugeFunc("connections", func() float64 { return float64(l.tcp.Open.Load()) })
	l.scope.GaugeFunc("refused_connections", func() float64 { return float64(l.tcp.Refused.Load()) })
	l.scope.GaugeFunc("starved_connections", func() float64 { return float64(l.tcp.Starved.Load()) })
	l.scope.GaugeFunc("accept_errors", func() float64 { return float64(l.tcp.Errors.Load()) })
	l.scope.GaugeFunc("pending", func() float64 { return float64(l.pending.Load()) })
	l.metrics.Store(newServerMetrics(l.scope))
}

// start serves the listener by a router.
func (l *listener) start(r *router, rc *config.Router, s config.Server) {
	l.measure(r)
	l.server = http1.NewServer(http1.Options{
		Router: r, Observer: l, Buffers: l.app.buffers,
		Log:    l.log(r),
		Limits: limits(rc, &s),
	})
	l.server.SetClearContext(s.ClearContext)
	l.server.SetMaxRequests(s.MaxConcurrentRequests)
	l.server.SetAdmission(&r.admission)
	l.server.SetMarks(marks(r.name, &s.Marks))
	l.served.Go(func() { l.server.Serve(l.tcp) })
}

// move makes the listener serve by a router whose configuration changed, or by another one.
func (l *listener) move(r *router, rc *config.Router, s config.Server) {
	l.tcp.SetMaxConns(s.MaxConnections)
	l.server.SetLimits(limits(rc, &s))
	l.server.SetClearContext(s.ClearContext)
	l.server.SetMaxRequests(s.MaxConcurrentRequests)
	l.server.SetAdmission(&r.admission)
	l.server.SetMarks(marks(r.name, &s.Marks))
	l.server.SetRouter(r)
	l.server.SetLog(l.log(r))
	l.measure(r)
}

// log is for requests that the listener serves by a router.
func (l *listener) log(r *router) logr.Logger {
	return l.app.options.Log.WithName("http").WithValues("router", r.name, "server", l.addr.String())
}

func limits(rc *config.Router, s *config.Server) http1.Limits {
	return http1.Limits{
		RequestLine: rc.MaxInitialLine, HeaderBytes: rc.MaxHeaderBytes, CallDepth: rc.MaxCallDepth,
		HeaderTimeout: s.HeaderTimeout, IdleTimeout: s.IdleTimeout, StallTimeout: s.StallTimeout, BodyRate: s.MinBodyRate,
		TunnelIdleTimeout: s.TunnelIdleTimeout,
	}
}

// stop drains the listener until ctx ends.
func (l *listener) stop(ctx context.Context) error {
	err := l.server.Shutdown(ctx)
	l.served.Wait()
	return err
}

// serverMetrics are the metrics of one listener, as Linkerd names them.
type serverMetrics struct {
	scope                            telemetry.Scope
	requests, success, failures      *telemetry.Counter
	connects, closes, received, sent *telemetry.Counter
	classes                          [6]*telemetry.Counter
	latency                          *telemetry.Histogram
}

func newServerMetrics(s telemetry.Scope) *serverMetrics {
	m := &serverMetrics{
		scope: s, requests: s.Counter("requests"), success: s.Counter("success"), failures: s.Counter("failures"),
		connects: s.Counter("connects"), closes: s.Counter("closes"),
		received: s.Counter("received_bytes"), sent: s.Counter("sent_bytes"),
		latency: s.Histogram("request_latency_ms"),
	}
	status := s.Scope("status")
	m.classes[0] = status.Counter("error")
	for i := 1; i < len(m.classes); i++ {
		m.classes[i] = status.Counter(strconv.Itoa(i) + "XX")
	}
	return m
}

// ConnOpened implements http1.Observer.
func (l *listener) ConnOpened(shard uint32) { l.metrics.Load().connects.Incr(shard) }

// ConnClosed implements http1.Observer.
func (l *listener) ConnClosed(shard uint32) { l.metrics.Load().closes.Incr(shard) }

// RequestStarted implements http1.Observer.
func (l *listener) RequestStarted(uint32) { l.pending.Add(1) }

// RequestFinished implements http1.Observer.
func (l *listener) RequestFinished(shard uint32, o *http1.Outcome) {
	l.pending.Add(-1)
	m := l.metrics.Load()
	m.requests.Incr(shard)
	switch o.Class {
	case classify.Success:
		m.success.Incr(shard)
	case classify.Failure, classify.Retryable:
		m.failures.Incr(shard)
		if o.Reason != "" {
			m.scope.Scope("failures").Counter(o.Reason).Incr(shard)
		}
	case classify.Ignored:
		if o.Reason != "" && o.Status >= 400 { // the request was at fault: its answer was made here
			m.scope.Scope("refused").Counter(o.Reason).Incr(shard)
		}
	}
	class := o.Status / 100
	if class < 1 || class >= len(m.classes) {
		class = 0
	}
	m.classes[class].Incr(shard)
	m.received.Add(shard, uint64(o.Received))
	m.sent.Add(shard, uint64(o.Sent))
	if !o.Tunnel {
		m.latency.AddDuration(shard, time.Duration(o.LatencyNs()))
	}
}
