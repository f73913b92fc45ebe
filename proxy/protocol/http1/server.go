package http1

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/transport"
)

// Server relays the connections of its listeners.
type Server struct {
	limits   atomic.Pointer[Limits]
	observer Observer
	buffers  *transport.Buffers
	log      atomic.Pointer[logr.Logger]
	logGate  logGate
	via      [2][]byte // the Via line for messages received as HTTP/1.0 and HTTP/1.1
	router   atomic.Pointer[Router]
	scratch  sync.Pool

	clearContext atomic.Bool
	admission    Admission
	shared       atomic.Pointer[Admission]
	marks        atomic.Pointer[Marks]

	draining atomic.Bool
	mu       sync.Mutex
	killed   bool
	serving  int
	quiet    chan struct{} // closed when serving returns to 0 during Shutdown
	ls       map[*transport.Listener]struct{}
	conns    map[*conn]struct{}
}

// NewServer returns a Server that serves nothing yet.
func NewServer(o Options) *Server {
	o.Limits.setDefaults()
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	if o.Buffers == nil {
		o.Buffers = transport.NewBuffers()
	}
	if o.ViaName == "" {
		o.ViaName = "fairlead"
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	s := &Server{observer: o.Observer, buffers: o.Buffers,
		ls: map[*transport.Listener]struct{}{}, conns: map[*conn]struct{}{}}
	s.log.Store(&o.Log)
	s.limits.Store(&o.Limits)
	s.marks.Store(&Marks{})
	for minor := range s.via {
		s.via[minor] = []byte("Via: 1." + string(rune('0'+minor)) + " " + o.ViaName + "\r\n")
	}
	s.scratch.New = func() any { return newExchange(s) }
	if o.Router != nil {
		s.SetRouter(o.Router)
	}
	return s
}

// SetRouter replaces the router for all requests that begin afterwards.
func (s *Server) SetRouter(r Router) { s.router.Store(&r) }

// SetLog replaces the log.
func (s *Server) SetLog(l logr.Logger) { s.log.Store(&l) }

// SetLimits replaces the limits for all requests that begin afterwards.
func (s *Server) SetLimits(l Limits) {
	l.setDefaults()
	s.limits.Store(&l)
}

// SetClearContext says, for all requests that begin afterwards, whether this is the edge of the mesh: then no l5d-* header of a client
// is seen by the router or an endpoint, none reaches a client, and a response that carries l5d-err, or is made here, has no body.
func (s *Server) SetClearContext(on bool) { s.clearContext.Store(on) }

// SetMaxRequests is SetLimit of the requests of this server alone.
func (s *Server) SetMaxRequests(n int) { s.admission.SetLimit(n) }

// SetAdmission makes the server share the bound of a with other servers, for all requests that begin afterwards, beside its own. nil ends
// that.
func (s *Server) SetAdmission(a *Admission) { s.shared.Store(a) }

// SetMarks says what the requests that begin afterwards tell an endpoint about where they come from.
func (s *Server) SetMarks(m Marks) { s.marks.Store(&m) }

// Buffers returns where the server takes its buffers from; Outstanding is 0 when nothing is under way.
func (s *Server) Buffers() *transport.Buffers { return s.buffers }

// Serve accepts connections of l until l is closed, by Shutdown or by its owner, and returns when the last of them ended. It may be
// called for several listeners at once.
func (s *Server) Serve(l *transport.Listener) {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		l.Close()
		return
	}
	s.serving++
	s.ls[l] = struct{}{}
	s.mu.Unlock()
	l.Serve(s.handle)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ls, l)
	s.serving--
	if s.serving == 0 && s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

// CutError is what Shutdown returns when it had to end requests or tunnels.
type CutError struct {
	// Cut is how many they were.
	Cut int
	// Cause is the error of Shutdown's context.
	Cause error
}

// Error implements error.
func (e *CutError) Error() string {
	if e.Cut == 1 {
		return "1 request or tunnel was cut"
	}
	return strconv.Itoa(e.Cut) + " requests and tunnels were cut"
}

// Unwrap returns the cause.
func (e *CutError) Unwrap() error { return e.Cause }

// Shutdown stops accepting, gives each connection that waits for a request up to a second to bring one more, lets each answer the request
// it is at with Connection: close, and closes what is left when ctx ends. If that cut anything, it returns a *CutError.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	for l := range s.ls {
		l.Close()
	}
	for c := range s.conns {
		c.tc.WakeRead()
	}
	quiet := s.quiet
	if quiet == nil {
		quiet = make(chan struct{})
	}
	if s.serving == 0 {
		close(quiet)
	} else {
		s.quiet = quiet
	}
	s.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.killed = true
	cut := 0
	for c := range s.conns {
		if c.busy.Load() {
			cut++
		}
		c.kill()
	}
	s.mu.Unlock()
	<-quiet
	if cut > 0 {
		return &CutError{Cut: cut, Cause: ctx.Err()}
	}
	return nil
}

// enter registers c, or reports that the server was killed already.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killed {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) handle(tc *transport.Conn) {
	c := &conn{s: s, tc: tc, shard: tc.Shard()}
	if !s.enter(c) {
		tc.Close()
		return
	}
	s.observer.ConnOpened(c.shard)
	c.serve()
	s.leave(c)
	s.observer.ConnClosed(c.shard)
}
