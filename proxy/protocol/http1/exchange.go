package http1

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// smallBody is the announced length up to which a body is read whole before the request goes out, so that it can be sent again and
// needs no goroutine. Linkerd buffers up to 5 KiB.
const smallBody = 8 << 10

// maxInterims bounds the 1xx responses before a final one.
const maxInterims = 64

// clientCheck is how often a connection whose endpoint keeps it waiting looks whether its client left.
const clientCheck = time.Second

// failureClass says whether a failure speaks against the endpoint, or the proxy: a mistake of the client does not, and 501 and 505 are
// among the answers to those.
func failureClass(f *Failure) classify.Class {
	if f.Status < 500 || f.Status == 501 || f.Status == 505 {
		return classify.Ignored
	}
	return classify.Failure
}

// buildRequest writes the head and as much of the body as was read into x.b.
func (x *exchange) buildRequest() *Failure {
	room := leadRoom + x.req.pos + len(x.in.bytes()) + 4<<10 // what was read of the body goes with the head, in one write
	if x.keep = smallBody; x.repeats || x.policy.TrustsClassHeaders {
		x.keep = keptBody
		if x.req.framing == framingLength && x.req.length > smallBody && x.req.length <= keptBody {
			room += int(x.req.length)
		}
	}
	x.takeOut(room)
	marks := x.s.marks.Load()
	if !marks.isZero() {
		x.req.dropMarked(marks)
	}
	x.b = x.req.appendHead(x.out.B[leadRoom:leadRoom], x.s.via[x.req.minor])
	x.ownAt = len(x.b)
	x.b = x.appendOwn(x.b, 0)
	x.ownEnd = len(x.b)
	if !marks.isZero() {
		x.b = x.appendMarks(x.b, marks)
	}
	x.b = x.req.appendEnd(appendForwards(x.b, x.forwards))
	x.sent = sink{b: x.b, chunked: x.req.framing == framingChunked, mark: marks.Timestamp}
	x.held = x.req.expect
	if x.held {
		return nil
	}
	fail := x.bufferBody()
	x.b = x.sent.b
	return fail
}

// send picks endpoints until one takes the request and its response head arrived. Another endpoint is tried only after a failed
// connect: then no byte was sent, so any method may go on.
func (x *exchange) send() *Failure {
	var last *Failure
	for attempt := range x.limits.ConnectAttempts {
		now := transport.Now()
		node, err := x.pick(now)
		if attempt == 0 && x.retried(err) {
			node, err = x.pick(now)
		}
		if err != nil {
			if last != nil {
				return last
			}
			if errors.Is(err, balance.ErrBusy) {
				return errBusy
			}
			return &Failure{502, ReasonNoEndpoints, err.Error()}
		}
		if attempt > 0 {
			x.o.ConnectRetries++
		}
		x.node, x.nodeStart, x.noted = node, now, false
		x.attemptAt = 0
		if d := x.policy.Attempt; d > 0 {
			x.attemptAt = x.nodeStart + int64(d)
		}
		x.stampDeadline(now)
		way, ok := node.Conns.(*transport.Way)
		if !ok {
			return &Failure{502, ReasonConnectError, "the endpoint has no connection pool"}
		}
		fail, unsent := x.sendBy(way, attempt+1 < x.limits.ConnectAttempts)
		if !unsent {
			return fail
		}
		last = fail
		if !x.word.nack && fail.isConnect() {
			node.ConnectFailed(transport.Now())
		}
		x.nodeDone(transport.Now(), x.nodeClass(fail))
		if x.next == nil {
			x.note(fail.Reason)
		} else {
			x.noteHop(node)
		}
	}
	return last
}

// pick returns the next endpoint.
func (x *exchange) pick(now int64) (*balance.Node, error) {
	if node := x.next; node != nil {
		x.next = nil
		return node, nil
	}
	return x.target.Pick(x.shard, now, &x.req, x.tried)
}

// sendDirect sends to the endpoint itself, and once more on a fresh connection if a reused one died without a sign of having been heard.
// unsent means that no connection could be made, so that another endpoint may be tried.
func (x *exchange) sendDirect(pool *transport.Pool) (fail *Failure, unsent bool) {
	fail, reused := x.reuse(pool)
	if reused {
		if fail != errUpReset && fail != errUpClosed || !x.mayResend() {
			return fail, false
		}
		x.dropUpstream()
		x.o.Resends++
	}
	fail, unsent = x.fresh(pool)
	return fail, unsent && !fail.isFinal()
}

// fresh sends on a new connection, or on one that another request no longer needs where descriptors are short. unsent means that there is
// none.
func (x *exchange) fresh(pool *transport.Pool) (fail *Failure, unsent bool) {
	for {
		c, fail := x.dial(pool)
		if fail != nil {
			return fail, true
		}
		x.setUpstream(c, pool)
		fail = x.roundTrip()
		switch {
		case fail == errUpSpoke:
			pool.Discard(c)
		case c.Reused() && (fail == errUpReset || fail == errUpClosed) && x.o.Resends == 0 && x.mayResend():
			x.o.Resends++
		default:
			return fail, false
		}
		x.dropUpstream()
	}
}

// reuse sends on an idle connection of the pool. reused is false where there is none; then nothing was sent.
func (x *exchange) reuse(pool *transport.Pool) (fail *Failure, reused bool) {
	for c := pool.Get(x.shard); c != nil; c = pool.Get(x.shard) {
		x.setUpstream(c, pool)
		if fail = x.roundTrip(); fail != errUpSpoke {
			return fail, true
		}
		pool.Discard(c)
		x.dropUpstream()
	}
	return nil, false
}

// replayable reports whether sending the request twice is harmless and possible.
func (x *exchange) replayable() bool { return x.whole && x.req.idempotent }

func (x *exchange) dial(pool *transport.Pool) (*transport.Conn, *Failure) {
	c, err := pool.Dial(context.Background(), x.shard, time.Duration(x.left(transport.Now()))) // bounded by the dialer's own timeout
	if err == nil {
		return c, nil
	}
	if errors.Is(err, transport.ErrTimeout) {
		if fail := x.expired(transport.Now()); fail != nil {
			return nil, fail
		}
	}
	if errors.Is(err, transport.ErrDescriptors) {
		return nil, &Failure{503, ReasonDescriptors, err.Error()}
	}
	reason := ReasonConnectError
	switch {
	case errors.Is(err, transport.ErrDenied):
		reason = ReasonConnectDenied
	case errors.Is(err, transport.ErrRefused):
		reason = ReasonConnectRefused
	case errors.Is(err, transport.ErrTimeout):
		reason = ReasonConnectTimeout
	}
	return nil, &Failure{502, reason, err.Error()}
}

func (x *exchange) setUpstream(c *transport.Conn, pool *transport.Pool) {
	x.up, x.pool = stream{c: c}, pool
	x.c.up.Store(c)
	if x.c.dead.Load() {
		c.Close()
	}
}

// dropUpstream closes the endpoint's connection, if there is one.
func (x *exchange) dropUpstream() {
	if x.up.c == nil {
		return
	}
	x.up.release(x.s.buffers, x.shard)
	x.c.up.Store(nil)
	x.up.c.Close()
	x.up.c = nil
}

// keepUpstream gives the endpoint's connection back to its pool.
func (x *exchange) keepUpstream() {
	x.up.release(x.s.buffers, x.shard)
	x.c.up.Store(nil)
	x.pool.Put(x.shard, x.up.c)
	x.up.c = nil
}

// nodeDone ends the endpoint's pending request; it may be called again without effect.
func (x *exchange) nodeDone(endNs int64, class classify.Class) {
	if x.nodeStart != 0 {
		x.node.Done(x.nodeStart, endNs, class)
		x.nodeStart = 0
	}
}

// roundTrip writes x.b, lets the rest of the body follow, and reads up to the final response head or a 101. errUpSpoke means that the
// connection was not idle; nothing was written then.
func (x *exchange) roundTrip() *Failure {
	now := transport.Now()
	fail := x.writeRequest(now)
	for fail == nil {
		if fail = x.awaitHead(now); fail != nil {
			break
		}
		x.up.r += x.resp.pos
		if x.resp.status >= 200 {
			return nil
		}
		if x.resp.status == 101 {
			if !x.req.upgrade || !x.resp.has(kUpgrade) || hasH2C(x.resp.value("upgrade")) {
				return errBadResponse
			}
			return nil
		}
		fail = x.interim()
		now = transport.Now()
	}
	return fail
}

// writeRequest writes what is in x.b. After a whole request it has waited for the response too, until waitUntil at most.
func (x *exchange) writeRequest(now int64) *Failure {
	wire := x.wire()
	x.wrote = 0
	if x.whole {
		until := x.waitUntil(now, now+int64(x.silence))
		n, err := x.up.ask(x.s.buffers, wire, x.stall(now), until, &x.bodyFailed)
		x.wrote = n
		switch {
		case err == nil:
		case errors.Is(err, transport.ErrSpoke):
			return errUpSpoke
		case !errors.Is(err, transport.ErrTimeout):
			return x.upstreamFailure(err)
		case n < len(wire):
			return x.stalled()
		}
		return nil
	}
	if x.up.c.Reused() && !x.up.c.Quiet() {
		return errUpSpoke
	}
	n, err := x.up.c.Write(wire, x.stall(now), nil)
	x.wrote = n
	x.held100At = transport.Now() + int64(x.limits.ContinueTimeout)
	if errors.Is(err, transport.ErrTimeout) {
		return x.stalled()
	}
	if err == nil && !x.held { // on an error the endpoint may have answered before it closed
		x.startBody()
	}
	return nil
}

// interim passes a 1xx on, and lets the body go after 100.
func (x *exchange) interim() *Failure {
	if x.interims++; x.interims > maxInterims {
		return errBadResponse
	}
	if x.req.minor == 1 {
		x.takeOut(x.resp.pos + 4<<10)
		x.b = x.resp.appendInterim(x.b, x.s.via[1])
		if _, err := x.c.tc.Write(x.b, x.limits.StallTimeout, nil); err != nil {
			return clientFailure(err)
		}
	}
	if x.resp.status == 100 && x.held {
		x.startBody()
	}
	return nil
}

func clientFailure(err error) *Failure {
	if errors.Is(err, transport.ErrTimeout) {
		return errClientStalled
	}
	return errClientClosed
}

// awaitHead reads one response head, for which it has been waiting since now.
func (x *exchange) awaitHead(now int64) *Failure {
	x.resp.reset()
	lim := headLimits{line: x.limits.ResponseHeaderBytes, bytes: x.limits.ResponseHeaderBytes, fields: x.limits.Headers}
	idleAt := now + int64(x.silence)
	for {
		if p := x.up.bytes(); len(p) > 0 {
			done, fail := x.resp.parse(p, lim, &x.req)
			if done {
				x.hear()
			}
			if done && x.edge {
				x.resp.bodiless = x.resp.clearContext()
			}
			if done || fail != nil {
				return fail
			}
		}
		err := x.up.fill(x.s.buffers, x.waitUntil(now, idleAt), &x.bodyFailed)
		if err == nil {
			continue
		}
		if !errors.Is(err, transport.ErrTimeout) {
			return x.upstreamFailure(err)
		}
		now = transport.Now()
		if fail := x.expired(now); fail != nil {
			return fail
		}
		if x.held && now >= x.held100At {
			x.startBody()
		}
		x.pollBody()
		if x.bodyRunning {
			idleAt = now + int64(x.silence) // the endpoint may be silent while it is being sent to
			continue
		}
		if now >= idleAt {
			return errUpIdle
		}
		if x.c.tc.Gone() {
			return errClientClosed
		}
		if x.via != nil && x.mayRepeat() && x.via.Lost() {
			return errHopLost
		}
	}
}

// waitUntil returns when the wait for a head must look around: at its limits, or for the client.
func (x *exchange) waitUntil(now, idleAt int64) int64 {
	want := min(idleAt, now+int64(clientCheck))
	if x.wall.at > 0 {
		want = min(want, x.wall.at)
	}
	if x.attemptAt > 0 {
		want = min(want, x.attemptAt)
	}
	if x.held {
		want = min(want, x.held100At)
	}
	return want
}

// upstreamFailure names why the endpoint's connection gave no more.
func (x *exchange) upstreamFailure(err error) *Failure {
	switch {
	case x.c.dead.Load():
		return errShutdown
	case errors.Is(err, transport.ErrStopped):
		x.stopBody()
		return x.bodyFail
	case errors.Is(err, errFull):
		return errBigResponse
	case len(x.up.bytes()) > 0 && errors.Is(err, io.EOF):
		return errBadResponse
	case errors.Is(err, io.EOF):
		return errUpClosed
	}
	return errUpReset
}
