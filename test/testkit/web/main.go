// Command web is the backend of demos and tests: an HTTP server that says who it is, and a client for `kubectl exec` in an image
// that has no shell.
//
//	web                  serve on :8080 (or $ADDR) until SIGTERM
//	web get URL [HOST]   print the answer to a GET, with HOST as its Host header; a status over 399 is an error
//	web lookup NAME      print the addresses of NAME
//
// Environment: NAME and VERSION are in every answer; POD_NAME (default: the host name), NODE_NAME likewise; GRACE_MS is how long
// it goes on serving after SIGTERM, as a server behind a load balancer should (default 0).
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return listenAndServe(ctx, out)
	}
	switch {
	case args[0] == "get" && (len(args) == 2 || len(args) == 3):
		return get(ctx, out, args[1], strings.Join(args[2:], ""))
	case args[0] == "lookup" && len(args) == 2:
		return lookup(ctx, out, args[1])
	}
	return fmt.Errorf("usage: web | web get URL [HOST] | web lookup NAME")
}

func listenAndServe(ctx context.Context, out io.Writer) error {
	addr := os.Getenv("ADDR")
	if addr == "" {
		addr = ":8080"
	}
	grace, err := graceOf(os.Getenv("GRACE_MS"))
	if err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	pod := os.Getenv("POD_NAME")
	if pod == "" {
		pod = hostname
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	who := identity{name: os.Getenv("NAME"), version: os.Getenv("VERSION"), pod: pod, node: os.Getenv("NODE_NAME")}
	if _, err := fmt.Fprintf(out, "%s listens on %s\n", who, listener.Addr()); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return serve(ctx, listener, who, func() <-chan time.Time { return time.After(grace) })
}

func graceOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	millis, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("GRACE_MS: %w", err)
	}
	return time.Duration(millis) * time.Millisecond, nil
}

func get(ctx context.Context, out io.Writer, url, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if host != "" {
		request.Host = host
	}
	// Its own transport: no proxy of the environment, and no connection that outlives the call.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	if _, err := io.Copy(out, response.Body); err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("get %s: %s %s", url, response.Status, response.Header.Get("l5d-err"))
	}
	return nil
}

func lookup(ctx context.Context, out io.Writer, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, strings.Join(addresses, " "))
	return err
}
