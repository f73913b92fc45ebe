// Command load is the traffic of end-to-end tests: an open-loop HTTP load generator, driven over HTTP so that one runs on every
// node and the test on none.
//
//	POST /start?target=URL&host=HOST&rate=300&count=0&name=NAME    begins a run
//	POST /stop?name=NAME                                           ends it and answers with its results
//	GET  /results?name=NAME                                        results until now
//	GET  /split?name=NAME                                          how many requests each version answered, as text
//	GET  /get?target=URL&host=HOST                                 one request, and what became of it
//	GET  /ready                                                    is answered once it listens
//
// $HOST_IP in a target is replaced by the environment variable of that name, so that one call fits every node. It listens on
// :8090, or on $ADDR. Results are JSON, see package openloop.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	addr := os.Getenv("ADDR")
	if addr == "" {
		addr = ":8090"
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return serve(ctx, listener, os.Getenv("HOST_IP"))
}

// serve answers until the context ends, and stops all runs then.
func serve(ctx context.Context, listener net.Listener, hostIP string) error {
	c := newControl(hostIP)
	defer c.close()
	server := &http.Server{Handler: c.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	err := server.Close()
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
