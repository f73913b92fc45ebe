package main

import (
	"errors"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// reverseProxyArg is the first argument with which this program is the peer of that name and nothing else.
const reverseProxyArg = "serve-reverse-proxy"

// buffers is a pool for bodies.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(x []byte) { b.pool.Put(&x) }

// serveReverseProxy is what Go's standard library has for a proxy, with buffers and idle connections as one would set them.
func serveReverseProxy(args []string) error {
	if len(args) < 2 {
		return errors.New(reverseProxyArg + ": expected an address and at least one backend")
	}
	backends := make([]*url.URL, 0, len(args)-1)
	for _, b := range args[1:] {
		backends = append(backends, &url.URL{Scheme: "http", Host: b})
	}
	var next atomic.Uint64
	pool := &buffers{}
	pool.pool.New = func() any { b := make([]byte, 32<<10); return &b }
	handler := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backends[next.Add(1)%uint64(len(backends))])
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 1024, MaxIdleConns: 4096, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		BufferPool: pool,
	}
	server := &http.Server{Addr: args[0], Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.Default()}
	return server.ListenAndServe()
}
