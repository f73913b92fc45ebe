// Package openloop sends HTTP requests at a fixed rate, whatever becomes of them, and records every one. Half of them are on
// connections of their own and half on kept ones, unless all are to be. It is for tests that demand that nothing fails; it is no benchmark, and net/http
// is its client because users' clients are like it.
package openloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultTimeout of a request.
	DefaultTimeout = 10 * time.Second
	// maxInFlight bounds the requests under way: at 300 a second, ten seconds of silence stay below it.
	maxInFlight = 4000
	maxBody     = 64 << 10
	maxRate     = 20000
	// idleTimeout ends kept connections before a server does, so that no request meets one that is just being closed.
	idleTimeout = 5 * time.Second
)

// Options of a run.
type Options struct {
	// Target is an http URL.
	Target string
	// Host is the Host header; "" is the target's.
	Host string
	// Rate is in requests per second.
	Rate float64
	// Count ends the run after so many requests; 0: it goes on until Stop.
	Count int
	// Timeout of a request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Kept sends all requests on kept connections.
	Kept bool
}

// Run is one series of requests.
type Run struct {
	options     Options
	recorder    *Recorder
	fresh, kept *http.Client
	inFlight    atomic.Int64
	requests    sync.WaitGroup
	stop        context.CancelFunc
	ended       chan struct{}
}

// Start begins a run. Stop must be called, also when Count ended it.
func Start(o Options) (*Run, error) {
	if err := check(&o); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Run{
		options: o, recorder: NewRecorder(), fresh: newClient(o.Timeout, false), kept: newClient(o.Timeout, true),
		stop: stop, ended: make(chan struct{}),
	}
	go r.loop(ctx)
	return r, nil
}

func check(o *Options) error {
	target, err := url.Parse(o.Target)
	if err != nil || target.Scheme != "http" || target.Host == "" {
		return fmt.Errorf("target %q: an http URL expected", o.Target)
	}
	if !(o.Rate > 0 && o.Rate <= maxRate) {
		return fmt.Errorf("rate %g: above 0 and at most %d expected", o.Rate, maxRate)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return nil
}

// newClient ignores the proxy of the environment and follows no redirect: what the target says is what is recorded.
func newClient(timeout time.Duration, keep bool) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: !keep, DisableCompression: true, MaxIdleConnsPerHost: maxInFlight, IdleConnTimeout: idleTimeout,
		},
	}
}

// loop sends at the times that the rate gives. When it was held up it catches up: the number of requests is that of the rate.
func (r *Run) loop(ctx context.Context) {
	defer close(r.ended)
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for i := 0; r.options.Count == 0 || i < r.options.Count; i++ {
		due := begin.Add(time.Duration(float64(i) / r.options.Rate * float64(time.Second)))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if r.inFlight.Add(1) > maxInFlight {
			r.inFlight.Add(-1)
			r.recorder.notSent(due)
			continue
		}
		r.recorder.sent()
		r.requests.Go(func() {
			defer r.inFlight.Add(-1)
			client, kept := r.fresh, r.options.Kept || i%2 == 1
			if kept {
				client = r.kept
			}
			sample := send(context.WithoutCancel(ctx), client, r.options.Target, r.options.Host) // Stop waits for it
			sample.Latency += sample.Start.Sub(due)
			sample.Kept = kept
			sample.Body = ""
			r.recorder.Record(&sample)
		})
	}
}

// Ended is closed when the last request of a run with a Count was begun, or after Stop.
func (r *Run) Ended() <-chan struct{} { return r.ended }

// Stop sends no more and waits for the requests under way.
func (r *Run) Stop() {
	r.stop()
	<-r.ended
	r.requests.Wait()
	r.fresh.CloseIdleConnections()
	r.kept.CloseIdleConnections()
}

// Summary returns what was recorded until now.
func (r *Run) Summary() Summary { return r.recorder.Summary() }

// Once sends one request on a connection of its own.
func Once(ctx context.Context, target, host string) (Sample, error) {
	o := Options{Target: target, Host: host, Rate: 1}
	if err := check(&o); err != nil {
		return Sample{}, err
	}
	client := newClient(o.Timeout, false)
	defer client.CloseIdleConnections()
	return send(ctx, client, target, host), nil
}

func send(ctx context.Context, client *http.Client, target, host string) Sample {
	connections := 0
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connections++ }}
	ctx = httptrace.WithClientTrace(ctx, trace)
	s := Sample{Start: time.Now()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		s.Error = plain(err)
		return s
	}
	request.Host = host
	response, err := client.Do(request)
	if err == nil {
		s.Status = response.StatusCode
		s.Version, s.Reason = response.Header.Get("X-Version"), response.Header.Get("L5d-Err")
		var body []byte
		body, err = io.ReadAll(io.LimitReader(response.Body, maxBody))
		s.Body = string(body)
		err = errors.Join(err, response.Body.Close())
	}
	s.Latency = time.Since(s.Start)
	s.Retried = connections > 1
	if err != nil {
		s.Error = plain(err)
	}
	return s
}

// plain is the error without the addresses, which would make each its own kind.
func plain(err error) string {
	var operation *net.OpError
	var inURL *url.Error
	switch {
	case errors.As(err, &operation):
		return operation.Op + ": " + operation.Err.Error()
	case errors.As(err, &inURL):
		if inURL.Timeout() {
			return "timeout"
		}
		return inURL.Err.Error()
	}
	return err.Error()
}
