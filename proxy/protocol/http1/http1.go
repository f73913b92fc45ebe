// Package http1 relays HTTP/1.0 and HTTP/1.1 from client connections to the endpoints that a Router picks.
//
// It owns the wire: parsing, framing, hop-by-hop rules, keep-alive, deadlines, re-sends on reuse races, tunnels after an upgrade.
// It is not a router, a balancer or a metric tree: those come in through Router, Target and Observer. It does not use net/http.
package http1

import (
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// Router decides where a request goes.
type Router interface {
	// Route is called once per request on the connection's own goroutine and may block up to the binding timeout. What req returns
	// is valid until Route returns, unless copied. Exactly one of the results is nil.
	Route(shard uint32, req *Request) (Target, *Failure)
}

// Target is where one request goes. Implementations are shared pointers, so that a request allocates nothing.
type Target interface {
	// Status returns the status, 100 to 599, that answers the request in place of an endpoint; then nothing else but Finish is called.
	// 0 means that an endpoint answers.
	Status() int
	// Pick returns an endpoint for req that is not in tried, with one pending request counted on it; this package calls its Done once. nowNs
	// is transport.Now. Of req only what Endpoint returns is still there: its head may have made room for its body.
	// Node.Conns must be a *transport.Way. An error becomes reason no-endpoints.
	Pick(shard uint32, nowNs int64, req *Request, tried []*balance.Node) (*balance.Node, error)
	// AppendHeaders appends complete header lines, each with its CRLF, to be added to the request: l5d-dst-service,
	// l5d-dst-client, l5d-dst-residual, l5d-ctx-dtab. Lines of those names, of l5d-dtab and of l5d-dst-endpoint that the client sent
	// are dropped. This package itself adds l5d-dst-endpoint where the request goes through a hop.
	AppendHeaders(dst []byte) []byte
	// Begin counts the request towards what may be sent again. It is called once per request that an endpoint answers, before Pick, on the
	// first of its targets.
	Begin(nowNs int64)
	// Policy returns what the configuration says of the request. A Silence of 0 means Limits.UpstreamIdleTimeout.
	Policy() *resilience.Policy
	// Requeue reports whether a request that no endpoint has worked on may be sent once more; done is how often it was.
	Requeue(shard uint32, nowNs int64, done int) bool
	// Retry is asked after an attempt that came to classify.Retryable: where to send the request once more, after which wait. nil is nowhere.
	Retry(shard uint32, nowNs int64, a *resilience.Attempt) (next Target, wait time.Duration)
	// Explain returns what there is to say of the names of a failed request and where they led, for people; "" is nothing.
	Explain(nowNs int64) string
	// Diagnose returns all there is to say of the name and where it led, in lines for people. It may take a second.
	Diagnose(nowNs int64) string
	// Finish is called once per routed request, when its response was relayed or failed, on the last of its targets. o is valid until Finish
	// returns.
	Finish(shard uint32, o *Outcome)
}

// Failure is why a request gets an answer made here. Reason is one short stable token: metric label, log field and the
// word that operators search for. Message is for people. "Reason: Message" becomes the l5d-err header (form-encoded, cut to 1 KiB) and the body.
type Failure struct {
	Status  int
	Reason  string
	Message string
}

// Error returns the reason and the message.
func (f *Failure) Error() string { return f.Reason + ": " + f.Message }

// Outcome is what became of one request.
type Outcome struct {
	// Status is the status code sent to the client, or 0 when nothing could be sent.
	Status int
	Class  classify.Class
	// Reason is empty for a relayed response that ended well. A failure that a hop answers with is relayed, and has the hop's reason.
	Reason string
	// Node is the last endpoint tried, or nil.
	Node *balance.Node
	// StartNs and EndNs are monotonic nanoseconds (transport.Now) from the request's first parsed head to the end of the response;
	// HeadNs is when the final response head arrived, or 0.
	StartNs, HeadNs, EndNs int64
	// RequestBytes and ResponseBytes count bodies only.
	RequestBytes, ResponseBytes int64
	// Received and Sent are all bytes that the client's connection moved since its last outcome: heads and framing too, and what was read
	// of a request that follows.
	Received, Sent int64
	// ConnectRetries counts attempts that moved to another endpoint after a failed connect, or because one had no room; Resends counts re-sends after a reused
	// connection turned out to be dead.
	ConnectRetries, Resends int
	// Retries counts the times that the request was sent again after an attempt which failed, and AttemptNs is when the last of these
	// attempts began, each with its ConnectRetries and Resends.
	Retries   int
	AttemptNs int64
	// NotOpen says that an endpoint had no room and there was no other one; CannotRetry that the request could not be sent again since its
	// body was not kept.
	NotOpen, CannotRetry bool
	// Delayed and Aborted tell of faults that were injected.
	Delayed, Aborted bool
	// Hop says whether the request went through the proxy on the endpoint's node in the end. HopFailures counts connects to such a
	// proxy that failed, and HopResends requests that were sent again without it because it died before it answered.
	Hop                     Hop
	HopFailures, HopResends int
	// Tunnel is true after an upgrade; its times say nothing about latency.
	Tunnel bool
}

// Hop says how an endpoint was reached.
type Hop uint8

const (
	// HopNone is an endpoint that has no hop.
	HopNone Hop = iota
	// HopTaken is one that was reached through its hop.
	HopTaken
	// HopMissing is one that was reached directly although it has a hop: there is no proxy, or it could not be used.
	HopMissing
)

// LatencyNs returns the nanoseconds from the request's head to the end of its response.
func (o *Outcome) LatencyNs() int64 { return o.EndNs - o.StartNs }

// Observer sees what all routers share. Methods are called from many goroutines and must not block or keep what they are given.
type Observer interface {
	ConnOpened(shard uint32)
	ConnClosed(shard uint32)
	// RequestStarted is called when a whole request head was read or refused.
	RequestStarted(shard uint32)
	// RequestFinished is called once for each RequestStarted, also for requests that never had a Target.
	RequestFinished(shard uint32, o *Outcome)
}

type noObserver struct{}

func (noObserver) ConnOpened(uint32)                {}
func (noObserver) ConnClosed(uint32)                {}
func (noObserver) RequestStarted(uint32)            {}
func (noObserver) RequestFinished(uint32, *Outcome) {}
