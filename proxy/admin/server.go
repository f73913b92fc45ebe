package admin

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// Limits of a caller. Scrapers and probes stay far below them.
const (
	maxConnections = 64
	maxHeaderBytes = 16 << 10
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second // the slowest scraper; longer profiles extend it for themselves
	idleTimeout    = time.Minute
)

// quietInterval is how often Shutdown looks whether the last connection has ended.
const quietInterval = 5 * time.Millisecond

// Server serves a Handler on a port. Start it once; Shutdown ends it and its goroutine.
type Server struct {
	http     *http.Server
	log      logr.Logger
	rejected *telemetry.Counter
	listener *limitListener
	ending   atomic.Bool
	served   chan struct{} // closed when Serve has returned
}

// NewServer returns a server that is not listening yet.
func NewServer(o Options) *Server {
	return &Server{
		http: &http.Server{
			Handler:           Handler(o),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          log.New(logWriter{o.Log}, "", 0),
		},
		log:      o.Log,
		rejected: o.Metrics.Scope("admin").Counter("connections_rejected"),
		served:   make(chan struct{}),
	}
}

// Start listens on addr (host:port) and serves in the background until Shutdown; ctx bounds only the listening. The error reads
// "admin 0.0.0.0:9990: bind: address already in use; see spec.admin of the Mesh" and unwraps to the system's. At most 64 connections are open at once; more
// are closed and counted in admin/connections_rejected.
func (s *Server) Start(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the rest of its text repeats the address
		}
		return fmt.Errorf("admin %s: %w; see spec.admin of the Mesh", addr, err)
	}
	s.Serve(l.(*net.TCPListener))
	return nil
}

// Serve is Start with a socket that listens already, which it takes over.
func (s *Server) Serve(l *net.TCPListener) {
	s.listener = &limitListener{TCPListener: l, rejected: s.rejected}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) && !s.ending.Load() {
			s.log.Error(err, "Admin server ended", "address", l.Addr().String())
		}
	}()
}

// Addr returns the address listened on, nil before Start.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// SyscallConn gives the socket, of a server that was started, to who hands it over to another process.
func (s *Server) SyscallConn() (syscall.RawConn, error) { return s.listener.SyscallConn() }

// Shutdown stops listening, lets requests under way, and those of connections that were accepted, finish until ctx ends, then cuts them off.
// It returns when the server's goroutine is gone; the error is ctx's if requests were cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.listener == nil {
		return nil
	}
	s.ending.Store(true)
	s.http.SetKeepAlivesEnabled(false)
	_ = s.listener.Close() // once: never fails
	<-s.served             // one that is being accepted counts as open from here on
	s.listener.quiet(ctx)
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("admin shutdown: %w", errors.Join(err, s.http.Close()))
	}
	return err
}

// limitListener closes what comes in over the limit at once: to let it wait would make a probe time out without a word.
type limitListener struct {
	*net.TCPListener
	open     atomic.Int64
	rejected *telemetry.Counter
	closing  sync.Once
}

// Close may be called again: net/http does.
func (l *limitListener) Close() (err error) {
	l.closing.Do(func() { err = l.TCPListener.Close() })
	return err
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.TCPListener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= maxConnections {
			return &limitConn{Conn: c, open: &l.open}, nil
		}
		l.open.Add(-1)
		l.rejected.Incr(0)
		_ = c.Close() // it never was of use
	}
}

// quiet waits until no connection is open, or ctx ends: net/http's Shutdown drops the request of one that has just been accepted.
func (l *limitListener) quiet(ctx context.Context) {
	t := time.NewTicker(quietInterval)
	defer t.Stop()
	for l.open.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

type limitConn struct {
	net.Conn
	once sync.Once
	open *atomic.Int64
}

func (c *limitConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// logWriter passes on what net/http would print.
type logWriter struct{ log logr.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Info("Admin server", "message", strings.TrimSpace(string(p)))
	return len(p), nil
}
