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

// Server serves a Handler on a port. Start it once; Shutdown ends it and its goroutine.
type Server struct {
	http     *http.Server
	log      logr.Logger
	rejected *telemetry.Counter
	addr     net.Addr
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
	s.addr = l.Addr()
	go func() {
		defer close(s.served)
		if err := s.http.Serve(&limitListener{Listener: l, rejected: s.rejected}); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error(err, "Admin server ended", "address", addr)
		}
	}()
	return nil
}

// Addr returns the address listened on, nil before Start.
func (s *Server) Addr() net.Addr { return s.addr }

// Shutdown stops listening, lets requests under way finish until ctx ends, then cuts them off. It returns when the server's
// goroutine is gone; the error is ctx's if requests were cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.addr == nil {
		return nil
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("admin shutdown: %w", errors.Join(err, s.http.Close()))
	}
	<-s.served
	return err
}

// limitListener closes what comes in over the limit at once: to let it wait would make a probe time out without a word.
type limitListener struct {
	net.Listener
	open     atomic.Int64
	rejected *telemetry.Counter
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
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
