package http1

import (
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/transport"
)

// Options of a Server. The zero value of each field means its default.
type Options struct {
	// Router is read once per request and may be replaced at any time by SetRouter.
	Router Router
	// Observer sees connections and requests; nil means nobody.
	Observer Observer
	// Buffers is where the server takes its buffers from; nil makes a pool of its own.
	Buffers *transport.Buffers
	Log     logr.Logger
	// ViaName is the pseudonym in Via headers; "fairlead" by default.
	ViaName string
	Limits  Limits
}

// Limits bounds what one client or endpoint can make the server hold.
type Limits struct {
	// RequestLine is the longest request line in bytes; 4 KiB by default, beyond it 414.
	RequestLine int
	// HeaderBytes is the size of all header lines of a request, also of all its trailers; 8 KiB by default, at most 64 KiB, beyond it 431.
	HeaderBytes int
	// ResponseHeaderBytes is the same for a response; 64 KiB by default and at most, beyond it 502.
	ResponseHeaderBytes int
	// Headers is the greatest number of header lines of a request or a response, and of trailers; 100 by default.
	Headers int
	// CallDepth is the greatest number of Via entries of a request; 1000 by default as in Linkerd, beyond it 400.
	CallDepth int
	// ConnectAttempts is how many endpoints are dialled for one request; 3 by default.
	ConnectAttempts int
	// HeaderTimeout is the time from a request's first byte to the end of its head; 10 s by default.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a client connection may wait for its next request; 10 minutes by default.
	IdleTimeout time.Duration
	// StallTimeout is how long a client may neither send the body it announced nor take what is written to it, and how long an
	// endpoint may take nothing; 60 s by default.
	StallTimeout time.Duration
	// BodyRate is how many bytes a second of a body with a Content-Length have to come, on average over the time it is waited for, once
	// that is BodyGrace; 100 by default, after 20 s. A chunked body may be a stream that trickles.
	BodyRate  int
	BodyGrace time.Duration
	// UpstreamIdleTimeout is how long an endpoint may be silent before or within a response; 15 minutes by default. Targets set
	// others through Timeouts.
	UpstreamIdleTimeout time.Duration
	// TunnelIdleTimeout is how long an upgraded connection may be silent both ways; 1 hour by default.
	TunnelIdleTimeout time.Duration
	// ContinueTimeout is how long a body is held back for the endpoint's 100 Continue; 1 s by default.
	ContinueTimeout time.Duration
	// LingerTimeout and LingerBytes bound what is read and dropped before a connection with unread input closes; 1 s, 256 KiB.
	LingerTimeout time.Duration
	LingerBytes   int
}

const maxHeaderBytes = 64 << 10

func (l *Limits) setDefaults() {
	ints := []struct {
		v    *int
		d, m int
	}{
		{&l.RequestLine, 4 << 10, maxHeaderBytes}, {&l.HeaderBytes, 8 << 10, maxHeaderBytes},
		{&l.ResponseHeaderBytes, maxHeaderBytes, maxHeaderBytes}, {&l.Headers, 100, 1000}, {&l.CallDepth, 1000, 1 << 20},
		{&l.ConnectAttempts, 3, 16}, {&l.BodyRate, 100, 1 << 30}, {&l.LingerBytes, 256 << 10, 1 << 30},
	}
	for _, i := range ints {
		if *i.v <= 0 {
			*i.v = i.d
		}
		*i.v = min(*i.v, i.m)
	}
	times := []struct {
		v *time.Duration
		d time.Duration
	}{
		{&l.HeaderTimeout, 10 * time.Second}, {&l.IdleTimeout, 10 * time.Minute}, {&l.StallTimeout, time.Minute},
		{&l.BodyGrace, 20 * time.Second},
		{&l.UpstreamIdleTimeout, 15 * time.Minute}, {&l.TunnelIdleTimeout, time.Hour}, {&l.ContinueTimeout, time.Second},
		{&l.LingerTimeout, time.Second},
	}
	for _, t := range times {
		if *t.v <= 0 {
			*t.v = t.d
		}
	}
}
