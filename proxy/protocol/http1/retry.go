package http1

import (
	"errors"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// A request is sent more than once for three reasons, each with its own bound. Nothing was done for it: no connection came to be (another
// endpoint, Limits.ConnectAttempts in all), or an endpoint had no room, or a connection died that was kept from before (Target.Requeue).
// Its attempt failed, and the classifier says that it may be repeated (Target.Retry). Or the proxy on the endpoint's node died (once, to the
// endpoint itself). None of them happens once a byte of the response went to the client.

// keptBody is the announced length up to which the body of a request that may be sent again is kept.
const keptBody = 64 << 10

// headerClass and headerRetryable are what a server says of its own response.
const (
	headerClass     = "l5d-success-class"
	headerRetryable = "l5d-retryable"
)

// forward sends the request to an endpoint and relays the response. It reports whether the connection may go on.
func (x *exchange) forward() bool {
	x.target.Begin(x.o.StartNs)
	x.follow(x.target)
	x.repeats = x.policy.Classifier.Repeats(x.req.method)
	x.setWall()
	fail := x.expired(x.o.StartNs)
	if fail == nil && x.policy.Faults != nil {
		fail = x.inject(x.policy.Faults)
	}
	if fail == nil {
		fail = x.buildRequest()
	}
	for again := fail == nil; again; {
		fail = x.send()
		again, fail = x.again(fail)
	}
	if fail == nil {
		return x.relay()
	}
	x.stopBody()
	x.dropUpstream()
	x.nodeDone(transport.Now(), x.nodeClass(fail))
	consumed := x.whole || x.bodyOK
	if !consumed && !x.held && !x.bodyStarted {
		consumed = x.skipBody()
	}
	return x.refuse(x.named(fail), x.req.close || !consumed)
}

// follow makes t the target.
func (x *exchange) follow(t Target) {
	x.target, x.policy = t, t.Policy()
	if x.silence = x.policy.Silence; x.silence == 0 {
		x.silence = x.limits.UpstreamIdleTimeout
	}
}

// again sees what an attempt came to, and prepares the next one if there is to be one. fail is what became of the request so far.
func (x *exchange) again(failed *Failure) (again bool, fail *Failure) {
	x.class = x.classify(failed)
	if x.class != classify.Retryable || !x.whole || x.interims > 0 {
		return false, failed
	}
	now := transport.Now()
	attempt := resilience.Attempt{Retries: x.o.Retries, LastWait: x.lastWait, Reason: x.attemptReason(failed), StartNs: x.o.AttemptNs, EndNs: now}
	if x.wall.at > 0 {
		attempt.Left = max(time.Duration(x.wall.at-now), 1)
	}
	next, wait := x.target.Retry(x.shard, now, &attempt)
	if next == nil {
		return false, failed
	}
	x.nodeDone(now, x.nodeClass(failed))
	if failed == nil {
		x.leaveUnsent()
	}
	x.dropUpstream()
	x.note(attempt.Reason)
	if fail := x.pause(wait); fail != nil {
		return false, fail
	}
	x.o.Retries++
	x.o.AttemptNs, x.lastWait = transport.Now(), wait
	x.redirect(next)
	return true, nil
}

// classify says what an attempt came to, which got a response if failed is nil.
func (x *exchange) classify(failed *Failure) classify.Class {
	switch {
	case failed == errTotalTimeout, failed == errDeadline:
		return classify.Failure
	case failed != nil:
		if class := failureClass(failed); class != classify.Failure {
			return class
		}
		return classify.Failed(x.repeats)
	}
	class := x.policy.Classifier.Response(x.resp.status, x.repeats)
	if x.word.unsent && !x.word.nack && class == classify.Failure {
		return classify.Retryable // the proxy on the endpoint's node wrote nothing to it
	}
	if !x.policy.TrustsClassHeaders {
		return class
	}
	if x.resp.has(kClass) {
		class = classify.SuccessClass(x.resp.value(headerClass))
		if class == classify.Failure {
			class = classify.Failed(x.repeats)
		}
	}
	if class == classify.Failure && string(x.resp.value(headerRetryable)) == "true" {
		return classify.Retryable
	}
	return class
}

// nodeClass is what an attempt says of its endpoint.
func (x *exchange) nodeClass(failed *Failure) classify.Class {
	switch {
	case x.word.nack: // that it has no room now says nothing
		return classify.Ignored
	case failed == nil:
		return x.class
	case x.o.Hop == HopTaken && (failed == errUpReset || failed == errUpClosed): // it was the hop that died
		return classify.Ignored
	case failed.Reason == ReasonDescriptors: // nobody asked the endpoint
		return classify.Ignored
	}
	return failureClass(failed)
}

// attemptReason is the reason of a failed attempt, or the status of its response.
func (x *exchange) attemptReason(failed *Failure) string {
	if failed != nil {
		return failed.Reason
	}
	return strconv.Itoa(x.resp.status)
}

// maxNotes bounds the attempts that a failure's message tells of.
const maxNotes = 8

// note keeps for the message of a failure, and for the choice of the next endpoint, that the endpoint was tried.
func (x *exchange) note(reason string) {
	if x.noted || x.node == nil {
		return
	}
	x.tried = append(x.tried, x.node)
	x.noted = true
	if len(x.notes) < maxNotes {
		x.notes = append(x.notes, note{x.node, reason})
	}
}

// noteHop is note for an endpoint of which its hop said that it could not be reached, or that said itself that it has no room.
func (x *exchange) noteHop(node *balance.Node) {
	if len(x.notes) < maxNotes {
		x.notes = append(x.notes, note{node, x.word.reason})
	}
}

// note is one endpoint that was tried and what it came to.
type note struct {
	node   *balance.Node
	reason string
}

// pause waits before the next attempt. It returns a failure if there is to be none: nobody waits for it any more. As while an endpoint
// thinks, a client that ended its side of the connection is given a second.
func (x *exchange) pause(wait time.Duration) *Failure {
	for until := transport.Now() + int64(wait); ; {
		left := until - transport.Now()
		switch {
		case x.c.dead.Load():
			return errShutdown
		case left <= 0:
			return nil
		}
		t := time.NewTimer(min(time.Duration(left), clientCheck))
		<-t.C
		if left > int64(clientCheck) && x.c.tc.Gone() {
			return errClientClosed
		}
	}
}

// redirect makes the request in x.b one for the next target: its own header lines take the place of the last one's.
func (x *exchange) redirect(next Target) {
	x.word, x.wrote = hopWord{}, 0
	x.unlead()
	if next == x.target {
		return
	}
	x.follow(next)
	var room [512]byte
	lines := x.appendOwn(room[:0], x.ownAt)
	tail := len(x.b) - x.ownEnd
	size := x.ownAt + len(lines) + tail
	b := x.b
	if size > cap(b) {
		front := make([]byte, leadRoom+size)
		b = front[leadRoom:]
		copy(b, x.b[:x.ownAt])
	}
	b = b[:size]
	copy(b[size-tail:], x.b[x.ownEnd:])
	copy(b[x.ownAt:], lines)
	x.ownEnd = x.ownAt + len(lines)
	x.b = b
}

// mayRequeue reports whether a request that nothing was done for may be sent once more.
func (x *exchange) mayRequeue() bool {
	if !x.target.Requeue(x.shard, transport.Now(), x.requeued) {
		return false
	}
	x.requeued++
	return true
}

// retried makes endpoints that failed an earlier attempt eligible again once there is no other one.
func (x *exchange) retried(err error) bool {
	if x.o.Retries == 0 || !errors.Is(err, balance.ErrTried) || len(x.tried) == 0 {
		return false
	}
	x.tried = x.tried[:0]
	return true
}
