package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// shutdownLimit is how long requests in flight may take after the lameduck time.
const shutdownLimit = 10 * time.Second

// identity is what a caller learns about the server that answered.
type identity struct{ name, version, pod, node string }

func (i identity) String() string {
	return fmt.Sprintf("name=%s version=%s pod=%s node=%s", i.name, i.version, i.pod, i.node)
}

// server answers every path with its identity, except /ready and /toggle.
type server struct {
	who      identity
	unready  atomic.Bool
	draining atomic.Bool
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.identify)
	mux.HandleFunc("GET /ready", s.ready)
	mux.HandleFunc("POST /toggle", s.toggle)
	return mux
}

func (s *server) identify(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Version", s.who.version)
	if s.draining.Load() {
		// The answer is good and the connection is not for another request: nobody loses one when it is closed.
		w.Header().Set("Connection", "close")
	}
	fmt.Fprintf(w, "%s from=%s host=%s path=%s\n", s.who, r.RemoteAddr, r.Host, r.URL.Path) // the client's loss
}

// ready follows /toggle alone: a server in its lameduck time still serves, and says so.
func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.unready.Load() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready") // the client's loss
}

func (s *server) toggle(w http.ResponseWriter, _ *http.Request) {
	for {
		before := s.unready.Load()
		if s.unready.CompareAndSwap(before, !before) {
			fmt.Fprintf(w, "ready=%t\n", before) // the client's loss
			return
		}
	}
}

// serve answers until the context ends, then as before but closing connections until what lameduck returns fires, then finishes
// what is in flight.
func serve(ctx context.Context, listener net.Listener, who identity, lameduck func() <-chan time.Time) error {
	s := &server{who: who}
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-lameduck():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	err := web.Shutdown(ending)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
