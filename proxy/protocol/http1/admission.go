package http1

import "sync/atomic"

// HeaderNack is in the 503 of a server that did nothing for a request, as Finagle has it: the request may be sent again, whatever it is.
const HeaderNack = "finagle-http-nack"

// admission bounds the requests under way. It counts only while there is a limit: those that are under way when one is set do not count.
type admission struct {
	limit   atomic.Int64 // 0: none
	_       [56]byte     // every request writes what follows
	pending atomic.Int64
}

// enter reports whether a request may go on, and whether it was counted: then it owes one leave.
func (a *admission) enter() (ok, counted bool) {
	limit := a.limit.Load()
	if limit == 0 {
		return true, false
	}
	if a.pending.Add(1) <= limit {
		return true, true
	}
	a.pending.Add(-1)
	return false, false
}

func (a *admission) leave() { a.pending.Add(-1) }

// leave says that the request is no longer under way. It may be called again without effect. Whoever has the last bytes of an answer may
// ask again at once, on another connection too: so it is called before they are written, if they are not part of a large write.
func (x *exchange) leave() {
	if x.counted {
		x.s.admission.leave()
		x.counted = false
	}
}

// nacked reports whether the response at hand says that its server did nothing for the request.
func (x *exchange) nacked() bool {
	return x.resp.status == 503 && x.resp.value(HeaderNack) != nil
}

// leaveUnsent ends the use of a connection whose server did nothing, and keeps the connection if all of its response was read.
func (x *exchange) leaveUnsent() {
	x.respBody.reset(x.resp.framing, x.resp.length, headLimits{bytes: x.limits.HeaderBytes, fields: x.limits.Headers})
	if x.skipResponse() && !x.resp.close && x.resp.framing != framingClose && x.up.r == x.up.w {
		x.keepUpstream()
	}
	x.dropUpstream() // nothing, if it was kept
}
