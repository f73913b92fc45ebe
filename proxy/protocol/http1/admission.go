package http1

import "sync/atomic"

// HeaderNack is in the 503 of a server that did nothing for a request, as Finagle has it: the request may be sent again, whatever it is.
const HeaderNack = "finagle-http-nack"

// Admission bounds the requests under way, of one server or of several. It counts only while there is a limit: those that are under way when
// one is set do not count. The zero value has none.
type Admission struct {
	limit   atomic.Int64 // 0: none
	_       [56]byte     // every request writes what follows
	pending atomic.Int64
}

// SetLimit says how many requests may be under way from now on; 0 means any number. One beyond is answered 503, with what tells its client
// that it may be sent again elsewhere: Retry-After: 0 and, as Finagle has it, finagle-http-nack.
func (a *Admission) SetLimit(n int) { a.limit.Store(int64(n)) }

// enter reports whether a request may go on, and whether it was counted: then it owes one leave.
func (a *Admission) enter() (ok, counted bool) {
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

func (a *Admission) leave() { a.pending.Add(-1) }

// enter reports whether the request may go on, by the limit of its server and the one shared with others.
func (x *exchange) enter() bool {
	for i, a := range [...]*Admission{&x.s.admission, x.s.shared.Load()} {
		if a == nil {
			continue
		}
		ok, counted := a.enter()
		if !ok {
			return false
		}
		if counted {
			x.counted[i] = a
		}
	}
	return true
}

// leave says that the request is no longer under way. It may be called again without effect. Whoever has the last bytes of an answer may
// ask again at once, on another connection too: so it is called before they are written, if they are not part of a large write.
func (x *exchange) leave() {
	for i, a := range x.counted {
		if a != nil {
			a.leave()
			x.counted[i] = nil
		}
	}
}

// nacked reports whether the response at hand says that its server did nothing for the request.
//
// Finagle takes Retry-After: 0 for the same. Applications send that, too, and may have done half of the work: it counts where a second time
// does no harm.
func (x *exchange) nacked() bool {
	return x.resp.status == 503 && (x.resp.value(HeaderNack) != nil || x.req.idempotent && string(x.resp.value("retry-after")) == "0")
}

// leaveUnsent ends the use of a connection whose server did nothing, and keeps the connection if all of its response was read.
func (x *exchange) leaveUnsent() {
	x.respBody.reset(x.resp.framing, x.resp.length, headLimits{bytes: x.limits.HeaderBytes, fields: x.limits.Headers})
	if x.skipResponse() && !x.resp.close && x.resp.framing != framingClose && x.up.r == x.up.w {
		x.keepUpstream()
	}
	x.dropUpstream() // nothing, if it was kept
}
