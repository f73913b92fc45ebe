package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	largeBytes  = 1 << 20
	uploadBytes = 100 << 10
)

// kinds are what a client does in turn.
var kinds = [...]struct {
	name string
	ask  func(ctx context.Context, c *http.Client, id int) error
}{
	{"small GET", small},
	{"POST of 100 KiB", upload},
	{"small GET", small},
	{"chunked POST of 100 KiB", chunkedUpload},
	{"GET of 1 MiB", large},
	{"one request a connection", lastOfConnection},
	{"name that does not exist", unknown},
	{"client that goes away", vanish},
	{"HTTP/1.0", oldHTTP},
	{"eight requests in a row", pipeline},
	{"tunnel", tunnel},
}

// headerBackend says which backend answered.
const headerBackend = "Backend"

// answer is a backend: it sends as many bytes as the query asks for, says how many came, or is the other end of a tunnel.
func answer(backend int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerBackend, strconv.Itoa(backend))
		if r.URL.Path == "/tunnel" {
			echo(w)
			return
		}
		if n, err := strconv.Atoi(r.URL.Query().Get("bytes")); err == nil {
			w.Header().Set("Content-Length", strconv.Itoa(n))
			_, _ = w.Write(make([]byte, n)) // a client that went away does not want it
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}
}

func target(query string) string { return fmt.Sprintf("http://127.0.0.1:%d/%s", listen, query) }

// send makes one client send all kinds of requests in turn, each client from another one on.
func send(ctx context.Context, c *counts, id int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for n := id; ctx.Err() == nil; n++ {
		k := n % len(kinds)
		c.requests[k].Add(1)
		begin := time.Now()
		if err := kinds[k].ask(ctx, client, n); err != nil {
			c.fail(k, err)
		}
		c.took[k].Add(int64(time.Since(begin)))
	}
}

// expect sends a request and compares the answer.
func expect(c *http.Client, req *http.Request, host string, status int, want func(body []byte) bool) error {
	req.Host = host
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != status || !want(body)) {
		err = fmt.Errorf("got %s, l5d-err %q, %d bytes", resp.Status, resp.Header.Get("l5d-err"), len(body))
	}
	return err
}

func says(text string) func([]byte) bool { return func(b []byte) bool { return string(b) == text } }

func small(_ context.Context, c *http.Client, _ int) error {
	req, err := http.NewRequest(http.MethodGet, target(""), nil)
	if err != nil {
		return err
	}
	return expect(c, req, "web", http.StatusOK, says("0"))
}

func upload(_ context.Context, c *http.Client, _ int) error {
	req, err := http.NewRequest(http.MethodPost, target(""), bytes.NewReader(make([]byte, uploadBytes)))
	if err != nil {
		return err
	}
	return expect(c, req, "web", http.StatusOK, says(strconv.Itoa(uploadBytes)))
}

func chunkedUpload(_ context.Context, c *http.Client, _ int) error {
	req, err := http.NewRequest(http.MethodPost, target(""), io.NopCloser(bytes.NewReader(make([]byte, uploadBytes))))
	if err != nil {
		return err
	}
	return expect(c, req, "web", http.StatusOK, says(strconv.Itoa(uploadBytes)))
}

func large(_ context.Context, c *http.Client, _ int) error {
	req, err := http.NewRequest(http.MethodGet, target(fmt.Sprintf("?bytes=%d", largeBytes)), nil)
	if err != nil {
		return err
	}
	return expect(c, req, "web", http.StatusOK, func(b []byte) bool { return len(b) == largeBytes })
}

func lastOfConnection(_ context.Context, c *http.Client, _ int) error {
	req, err := http.NewRequest(http.MethodGet, target(""), nil)
	if err != nil {
		return err
	}
	req.Close = true
	return expect(c, req, "web", http.StatusOK, says("0"))
}

func unknown(_ context.Context, c *http.Client, n int) error {
	req, err := http.NewRequest(http.MethodGet, target(""), nil)
	if err != nil {
		return err
	}
	return expect(c, req, fmt.Sprintf("nobody-%d", n), http.StatusBadGateway, func([]byte) bool { return true })
}

// vanish goes away once the response has begun.
func vanish(ctx context.Context, c *http.Client, _ int) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target(fmt.Sprintf("?bytes=%d", largeBytes)), nil)
	if err != nil {
		return err
	}
	req.Host = "web"
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
