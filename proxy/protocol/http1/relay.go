package http1

import (
	"errors"
	"io"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// relay sends the final response to the client. It reports whether the connection may go on.
func (x *exchange) relay() bool {
	x.o.HeadNs = transport.Now()
	x.o.Status = x.resp.status
	if x.o.Class = x.class; x.class != classify.Success {
		x.o.Reason = x.word.reason
	}
	x.resp.class, x.resp.trustsClass = x.classHeader(), x.policy.TrustsClassHeaders
	if x.resp.tunnel {
		x.tunnel()
		return false
	}
	if x.diagnoses && x.whole {
		return x.relayDiagnosis()
	}
	class := x.nodeClass(nil)
	x.pollBody()
	if x.bodyRunning && (x.resp.status >= 300 || x.resp.bodiless) {
		x.stopBody() // the endpoint has decided without the rest of the body
	}
	unsent := !x.whole && !x.bodyRunning && !x.bodyOK
	closing := x.req.close || unsent || x.s.draining.Load()
	reusable := !x.resp.close && x.resp.framing != framingClose && !unsent
	x.respBody.reset(x.resp.framing, x.resp.length, headLimits{bytes: x.limits.HeaderBytes, fields: x.limits.Headers})
	out := x.resp.framing
	switch {
	case x.resp.bodiless:
		// What has not come yet is not waited for: the endpoint may take any time, and closing costs little.
		reusable = x.skipResponse() && reusable
		x.respBody.kind = framingNone
		out = x.resp.clearBody()
	case out == framingClose && x.req.minor == 1:
		out = framingChunked
	case out == framingChunked && x.req.minor == 0:
		out = framingClose
	}
	closing = closing || out == framingClose
	x.takeOut(x.resp.pos + 4<<10)
	x.b = x.resp.appendTo(x.b, x.s.via[x.resp.minor], &x.req, out, closing)
	k := sink{c: x.c.tc, b: x.b, chunked: out == framingChunked, stall: x.limits.StallTimeout, until: x.wall.cutAt}
	fail := x.copyResponse(&k, reusable)
	x.o.ResponseBytes = k.body
	if x.bodyRunning {
		x.stopBody()
		closing = closing || !x.bodyOK
		if fail == nil && reusable && x.bodyOK && x.up.r == x.up.w {
			x.keepUpstream() // all was sent; its goroutine had not said so when the response ended
		}
	}
	x.linger = unsent || x.maySendMore()
	x.o.RequestBytes += x.bodyBytes
	x.dropUpstream() // nothing, if it was kept
	if fail != nil {
		x.failBody(fail, out)
		if fail.Status >= 500 {
			class = classify.Failure
		}
	}
	x.nodeDone(x.o.HeadNs, class)
	return fail == nil && !closing
}

// copyResponse moves the body. The endpoint's connection goes back to its pool before the last bytes go to the client, so that the
// client's next request, on whatever connection, finds it.
func (x *exchange) copyResponse(k *sink, reusable bool) *Failure {
	for {
		data, n, ev, fail := x.respBody.next(x.up.bytes())
		if fail != nil {
			_ = k.flush() // what came before is the client's; that its write fails changes nothing
			return asResponse(fail)
		}
		x.up.r += n
		var err error
		switch ev {
		case evData:
			err = k.data(data)
		case evTrailer:
			err = k.trailer(data)
		case evEnd:
			x.pollBody()
			if reusable && !x.bodyRunning && (x.whole || x.bodyOK) && x.up.r == x.up.w {
				x.keepUpstream()
			}
			if !x.bodyRunning {
				x.leave()
			}
			if err = k.end(); err == nil {
				err = k.flush()
			}
			if err != nil {
				return x.responseFailure(err)
			}
			return nil
		case evMore:
			if err = k.flush(); err != nil {
				return x.responseFailure(err)
			}
			ended, fail := x.fillResponse()
			if fail != nil {
				return fail
			}
			if ended {
				x.respBody.kind = framingNone // a body that ends with its connection has ended
			}
		}
		if err != nil {
			return x.responseFailure(err)
		}
	}
}

// classHeader is the value of l5d-success-class for the client: what the response was taken for, where its status says something else.
func (x *exchange) classHeader() string {
	failed := x.class.IsFailure()
	switch {
	case x.edge, x.policy.TrustsClassHeaders && x.resp.has(kClass), failed == (x.resp.status >= 500):
		return ""
	case failed:
		return "0.0"
	}
	return "1.0"
}

// skipResponse uses up what was read of a body that the client does not get. It reports whether that was all of it.
func (x *exchange) skipResponse() bool {
	for {
		_, n, ev, fail := x.respBody.next(x.up.bytes())
		if fail != nil || ev == evMore {
			return false
		}
		x.up.r += n
		if ev == evEnd {
			return true
		}
	}
}

// fillResponse reads more of the response's body. ended is true when the connection's end is the body's.
func (x *exchange) fillResponse() (ended bool, fail *Failure) {
	if x.up.b != nil && x.up.r == x.up.w && (x.respBody.left > transport.SmallBuffer) {
		x.up.enlarge(x.s.buffers)
	}
	until, late := transport.Now()+int64(x.silence), errUpIdle
	if x.wall.cutAt > 0 && x.wall.cutAt < until {
		until, late = x.wall.cutAt, x.wall.fail
	}
	err := x.up.fill(x.s.buffers, until, &x.bodyFailed)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, io.EOF) && x.resp.framing == framingClose:
		return true, nil
	case x.c.dead.Load():
		return false, errShutdown
	case errors.Is(err, transport.ErrTimeout):
		return false, late
	case errors.Is(err, transport.ErrStopped):
		x.stopBody()
		return false, x.bodyFail
	case errors.Is(err, errFull):
		return false, errBigResponse
	}
	return false, errUpTruncated
}

// failBody ends a response that cannot be completed: the client must see that it is cut.
func (x *exchange) failBody(fail *Failure, out framing) {
	x.o.Reason = fail.Reason
	x.o.Class = failureClass(fail)
	x.linger = false
	if out == framingClose {
		x.c.tc.Reset() // an ordinary end would look like a whole body
	}
	x.logFailure(x.named(fail), x.o.Status)
}

// startBody lets the rest of the request's body follow on a goroutine of its own, which ends before the exchange does.
func (x *exchange) startBody() {
	x.held = false
	x.bodyStarted, x.bodyRunning, x.bodyOK = true, true, false
	x.bodyStop.Store(false)
	x.bodyFailed.Store(false)
	x.sent = sink{c: x.up.c, chunked: x.req.framing == framingChunked, ended: x.sent.ended, stall: x.limits.StallTimeout,
		stop: &x.bodyStop, body: x.sent.body, mark: x.sent.mark}
	go x.bodyFn()
}

// runBody is the goroutine of startBody. Until bodyDone it owns x.in, x.reqBody and x.sent.
func (x *exchange) runBody() {
	var b *transport.Buffer
	if x.sent.chunked {
		b = x.s.buffers.Get(x.shard)
		x.sent.b = b.B[:0]
	}
	fail := x.copyRequest()
	x.sent.b = nil
	x.s.buffers.Put(x.shard, b)
	x.bodyBytes = x.sent.body
	x.bodyOK = fail == nil
	if fail != nil && fail != errUpReset && !x.bodyStop.Load() {
		x.bodyFail = fail
		x.bodyFailed.Store(true)
		x.up.c.WakeRead()
	}
	x.bodyDone <- struct{}{}
}

// copyRequest moves the rest of the request's body. errUpReset means that the endpoint takes no more: its response, if any, tells.
func (x *exchange) copyRequest() *Failure {
	for {
		data, n, ev, fail := x.reqBody.next(x.in.bytes())
		if fail != nil {
			return fail
		}
		x.in.r += n
		var err error
		switch ev {
		case evData:
			err = x.sent.data(data)
		case evTrailer:
			err = x.sent.trailer(data)
		case evEnd:
			if err = x.sent.end(); err == nil {
				err = x.sent.flush()
			}
			if err != nil {
				return errUpReset
			}
			return nil
		case evMore:
			if err = x.sent.flush(); err != nil {
				return errUpReset
			}
			if x.in.r == x.in.w && x.reqBody.left > transport.SmallBuffer {
				x.in.enlarge(x.s.buffers)
			}
			if fail := x.fillBody(); fail != nil {
				return fail
			}
		}
		if err != nil {
			return errUpReset
		}
	}
}

// pollBody notices that the body goroutine ended, without waiting.
func (x *exchange) pollBody() {
	if !x.bodyRunning {
		return
	}
	select {
	case <-x.bodyDone:
		x.bodyRunning = false
	default:
	}
}

// stopBody ends the body goroutine and waits for it.
func (x *exchange) stopBody() {
	if !x.bodyRunning {
		return
	}
	x.bodyStop.Store(true)
	x.in.c.WakeRead()
	x.up.c.WakeWrite()
	<-x.bodyDone
	x.bodyRunning = false
}
