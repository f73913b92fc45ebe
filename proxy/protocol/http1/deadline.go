package http1

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/proxy/transport"
)

// The deadline of a request travels from proxy to proxy in l5d-ctx-deadline, as in Linkerd: when it was written and when the request is to
// be over, in nanoseconds since 1970. Linkerd only passes it on, tightened by its own timeouts. Here a request ends when its time has come,
// unless the configuration says otherwise: nobody waits for the answer any more.
const headerDeadline = "l5d-ctx-deadline"

// epochDigits is the length of a time in nanoseconds since 1970, from 2001 to 2286.
const epochDigits = 19

// wall is what a request must not outlive, its total timeout and the deadline that it brought, whichever comes first.
type wall struct {
	// at is in monotonic nanoseconds, 0 for never, and fail what passing it means.
	at   int64
	fail *Failure
	// cutAt is at if the response, too, has to end by then, else 0.
	cutAt int64
	// told is the deadline that the request brought, in nanoseconds since 1970, or 0.
	told int64
}

// setWall finds out how long the request may take.
func (x *exchange) setWall() {
	x.wall = wall{}
	p := x.policy
	if p.Total > 0 {
		x.wall.at, x.wall.fail = x.o.StartNs+int64(p.Total), errTotalTimeout
	}
	if x.wall.told = x.req.told; x.req.deadlineNs > 0 && !p.ForwardsDeadlines && (x.wall.at == 0 || x.req.deadlineNs < x.wall.at) {
		x.wall.at, x.wall.fail = x.req.deadlineNs, errDeadline
	}
	if p.CutsResponse {
		x.wall.cutAt = x.wall.at
	}
}

// Deadline returns when the request is to be over by what it says itself, in monotonic nanoseconds; 0 for never.
func (r *Request) Deadline() int64 { return r.deadlineNs }

// readDeadline finds the strictest deadline of the head that can be read. The clock of whoever wrote it may be ahead of this one's: no more
// time is left than there was then.
func (r *Request) readDeadline(nowNs int64) {
	epoch, left, told := time.Now().UnixNano(), int64(0), int64(0)
	for i := range r.fields {
		if r.fields[i].kind != kDeadline {
			continue
		}
		written, until, ok := bytes.Cut(r.val(i), []byte{' '})
		if !ok {
			continue
		}
		w, err := strconv.ParseInt(string(written), 10, 64)
		u, err2 := strconv.ParseInt(string(until), 10, 64)
		if err != nil || err2 != nil || w < 0 || u <= 0 {
			continue // Linkerd takes no notice either
		}
		if l := min(u-epoch, u-w); told == 0 || l < left {
			left = l
		}
		if told == 0 || u < told {
			told = u
		}
	}
	if told > 0 {
		r.told, r.deadlineNs = told, max(nowNs+left, 1)
	}
}

// appendOwn appends the header lines of the target, and room for the deadline of each attempt, if it will have one. base is where dst begins in
// the request.
func (x *exchange) appendOwn(dst []byte, base int) []byte {
	dst = x.target.AppendHeaders(dst)
	x.deadlineAt = 0
	if x.wall.at == 0 && x.wall.told == 0 && x.policy.Attempt == 0 {
		return dst
	}
	dst = append(dst, headerDeadline+": "...)
	x.deadlineAt = base + len(dst)
	return append(dst, "0000000000000000000 0000000000000000000\r\n"...)
}

// stampDeadline writes the deadline of the attempt that begins now.
func (x *exchange) stampDeadline(now int64) {
	if x.deadlineAt == 0 {
		return
	}
	epoch := time.Now().UnixNano()
	until := x.wall.told
	for _, at := range [...]int64{x.wall.at, x.attemptAt} {
		if at > 0 && (until == 0 || epoch+at-now < until) {
			until = epoch + at - now
		}
	}
	b := x.b[x.deadlineAt:]
	putDecimal(b[:epochDigits], epoch)
	putDecimal(b[epochDigits+1:2*epochDigits+1], until)
}

// putDecimal fills dst with the last digits of n.
func putDecimal(dst []byte, n int64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

// expired returns what it means that the time is now, or nil.
func (x *exchange) expired(now int64) *Failure {
	switch {
	case x.wall.at > 0 && now >= x.wall.at:
		return x.wall.fail
	case x.attemptAt > 0 && now >= x.attemptAt:
		return errAttemptTimeout
	}
	return nil
}

// left returns the nanoseconds until the request or its attempt has to end, at least 1; 0 means no limit.
func (x *exchange) left(now int64) int64 {
	limit := int64(0)
	for _, at := range [...]int64{x.wall.at, x.attemptAt} {
		if at > 0 && (limit == 0 || at-now < limit) {
			limit = max(at-now, 1)
		}
	}
	return limit
}

// stall is how long an endpoint may take nothing of the request.
func (x *exchange) stall(now int64) time.Duration {
	if left := x.left(now); left > 0 {
		return min(x.limits.StallTimeout, time.Duration(left))
	}
	return x.limits.StallTimeout
}

// stalled names why an endpoint that takes nothing was given up.
func (x *exchange) stalled() *Failure {
	if fail := x.expired(transport.Now()); fail != nil {
		return fail
	}
	return errUpIdle
}

// responseFailure names why the client did not take the response.
func (x *exchange) responseFailure(err error) *Failure {
	if x.wall.cutAt > 0 && errors.Is(err, transport.ErrTimeout) && transport.Now() >= x.wall.cutAt {
		return x.wall.fail
	}
	return clientFailure(err)
}
