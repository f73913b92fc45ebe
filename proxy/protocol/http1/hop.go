package http1

import (
	"bytes"
	"strings"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// A request that goes through the proxy on its endpoint's node (a hop) says which endpoint was chosen, in a header line that goes
// nowhere else: one that came from the client is dropped, and the hop passes none on. The line is known only when the endpoint is, and
// the request is written before that; so it is put between the request line and the rest by moving the former.
const (
	// HeaderEndpoint is the header that names the endpoint, as ip:port.
	HeaderEndpoint = "l5d-dst-endpoint"
	// leadRoom is kept free before the request: the header, the longest address and the line's end.
	leadRoom = len(HeaderEndpoint) + len(": [0000:0000:0000:0000:0000:0000:0000:0000]:65535\r\n")
)

// lead adds the line for the endpoint x.node.
func (x *exchange) lead() {
	var room [leadRoom]byte
	line := append(append(room[:0], HeaderEndpoint...), ": "...)
	line = append(x.node.Endpoint.Addr.AppendTo(line), "\r\n"...)
	x.led, x.ledLine = len(line), bytes.IndexByte(x.b, '\n')+1
	if x.front = x.out.B; &x.front[leadRoom] != &x.b[0] { // the head outgrew its buffer, with the room
		x.front = append(make([]byte, leadRoom, leadRoom+len(x.b)), x.b...)
		x.b = x.front[leadRoom:]
	}
	start := leadRoom - x.led
	copy(x.front[start:], x.b[:x.ledLine])
	copy(x.front[start+x.ledLine:], line)
}

// unlead takes the line away.
func (x *exchange) unlead() {
	if x.led > 0 {
		copy(x.b, x.front[leadRoom-x.led:][:x.ledLine])
		x.led, x.front = 0, nil
	}
}

// wire is what is written: x.b, with the line where there is one.
func (x *exchange) wire() []byte {
	if x.led == 0 {
		return x.b
	}
	return x.front[leadRoom-x.led : leadRoom+len(x.b)]
}

// sendBy sends to the endpoint x.node: through its hop where there is one that works, and directly otherwise. more says whether
// another endpoint may be tried after this one; unsent is as in sendDirect.
func (x *exchange) sendBy(way *transport.Way, more bool) (fail *Failure, unsent bool) {
	x.unlead()
	x.word = hopWord{}
	if way.Hop == nil {
		x.o.Hop = HopNone
		return x.sendTo(way.Direct, more)
	}
	if via := way.Hop.Via(transport.Now()); via != nil {
		x.o.Hop = HopTaken
		x.lead()
		fail, ended := x.sendVia(via)
		switch {
		case !ended:
			x.unlead() // directly, then
		case fail != nil || !x.isUnsent():
			return fail, false
		case !x.word.nack && !x.isConnectFailure(): // the hop does not know the name, say: the endpoint may be well
			x.dropUpstream()
			x.unlead()
			x.o.HopResends++
			x.word = hopWord{}
		case more && x.pickNext():
			x.leaveUnsent()
			return errUnsent, true
		default:
			return nil, false
		}
	}
	x.o.Hop = HopMissing
	return x.sendTo(way.Direct, more)
}

// sendTo is sendDirect, unless the endpoint has no room for the request and there is another one.
func (x *exchange) sendTo(pool *transport.Pool, more bool) (fail *Failure, unsent bool) {
	fail, unsent = x.sendDirect(pool)
	if fail == nil && x.word.nack && !x.whole {
		x.o.CannotRetry = true
	}
	if fail == nil && x.word.nack && x.isUnsent() && more && x.pickNext() {
		x.leaveUnsent()
		return errUnsent, true
	}
	return fail, unsent
}

// sendVia sends through a hop. ended is false where the request is to be sent to the endpoint itself: the hop could not be connected
// to, or it died before a byte of the response, and the request may be repeated.
func (x *exchange) sendVia(via *transport.Via) (fail *Failure, ended bool) {
	x.via = via
	defer func() { x.via = nil }()
	fail, reused := x.reuse(via.Pool)
	if !reused {
		var unsent bool
		fail, unsent = x.fresh(via.Pool)
		if unsent && fail.isFinal() {
			return fail, true
		}
		if unsent {
			via.Failed(transport.Now())
			x.o.HopFailures++
			return nil, false
		}
	}
	if fail == nil {
		via.Works()
		return nil, true
	}
	if fail != errUpReset && fail != errUpClosed && fail != errHopLost || !x.mayRepeat() {
		return fail, true
	}
	x.dropUpstream()
	x.o.HopResends++
	return nil, false
}

// mayRepeat reports whether the request may be sent again elsewhere: nobody has answered a byte, and nobody was sent one, or the request
// is the same a second time.
func (x *exchange) mayRepeat() bool {
	return len(x.up.bytes()) == 0 && x.interims == 0 && !x.bodyStarted && (x.wrote == 0 || x.replayable())
}

// mayResend is mayRepeat for a connection that was kept from before: what it was sent counts as work for the endpoint.
func (x *exchange) mayResend() bool { return x.mayRepeat() && (x.wrote == 0 || x.mayRequeue()) }

// errHopLost is never seen by a client: the request may be repeated where it is returned.
var errHopLost = &Failure{502, ReasonUpstreamClosed, "the proxy on the endpoint's node does not answer and is not ready"}

// errUpSpoke is never seen by a client: nothing was written where it is returned, and another connection is taken.
var errUpSpoke = &Failure{502, ReasonUpstreamClosed, "the connection was not idle"}

// errUnsent is never seen by a client: another endpoint is picked already where it is returned.
var errUnsent = &Failure{502, ReasonConnectError, "the proxy on the endpoint's node could not send the request, or there was no room for it"}

// hopWord is what a hop says of a failure that it found itself, and what a hop or an endpoint says that has no room for the request.
type hopWord struct {
	reason string
	// unsent says that nothing was written to the endpoint. nack says that it, or the hop, did nothing.
	unsent, nack bool
}

// hear takes the hop's word from a response head, before anybody drops the headers. What a hop relays has its Via, so an application
// cannot say this.
func (x *exchange) hear() {
	if x.nacked() {
		x.word = hopWord{reason: ReasonOverload, nack: true, unsent: true}
		return
	}
	reason := x.resp.value("l5d-err")
	if x.via == nil || x.resp.status < 400 || x.resp.vias > 0 || reason == nil {
		return
	}
	if end := bytes.IndexAny(reason, "%+"); end >= 0 {
		reason = reason[:end]
	}
	const longest = 40
	for _, c := range reason {
		if len(reason) > longest || c != '-' && (c < 'a' || c > 'z') {
			return // none of ours
		}
	}
	x.word = hopWord{reason: string(reason), unsent: string(x.resp.value("l5d-retryable")) == "true"}
}

// isUnsent reports whether the hop wrote nothing to the endpoint, and the request can be sent again.
func (x *exchange) isUnsent() bool { return x.word.unsent && x.whole && x.interims == 0 }

// isConnectFailure reports whether the hop could not connect to the endpoint.
func (x *exchange) isConnectFailure() bool { return strings.HasPrefix(x.word.reason, "connect-") }

// pickNext picks another endpoint in advance. Where there is none, or the budget is spent, the response at hand is the answer.
func (x *exchange) pickNext() bool {
	x.tried = append(x.tried, x.node)
	now := transport.Now()
	next, err := x.target.Pick(x.shard, now, &x.req, x.tried)
	if err != nil {
		x.o.NotOpen = true
		return false
	}
	if x.word.nack && !x.mayRequeue() {
		next.Done(now, now, classify.Ignored)
		return false
	}
	x.next = next
	return true
}

// isFinal reports whether no other endpoint would help a request that could not be sent: its time is up, or descriptors are short.
func (f *Failure) isFinal() bool {
	return f.Reason == ReasonTotalTimeout || f.Reason == ReasonDeadline || f.Reason == ReasonAttemptTimeout || f.Reason == ReasonDescriptors
}
