package http1

import (
	"errors"
	"math"
	"time"

	"github.com/fairlead/fairlead/proxy/transport"
)

// bufferBody moves the body's beginning behind the head. It sets whole if that was all.
func (x *exchange) bufferBody() *Failure {
	for {
		p := x.in.bytes()
		all := true
		if room := x.sent.room() - 2*chunkRoom; len(p) > room {
			p, all = p[:max(room, 0)], false
		}
		data, n, ev, fail := x.reqBody.next(p)
		if fail != nil {
			return fail
		}
		x.in.r += n
		switch ev {
		case evData:
			_ = x.sent.data(data) // there is room, so nothing is written and nothing fails
		case evTrailer:
			_ = x.sent.trailer(data)
		case evEnd:
			_ = x.sent.end()
			x.whole = true
			x.o.RequestBytes = x.sent.body
			return nil
		case evMore:
			if !all || x.req.framing != framingLength || x.req.length > x.keep || int64(x.sent.room()) < x.reqBody.left+2*chunkRoom {
				return nil
			}
			if fail := x.fillBody(); fail != nil {
				return fail
			}
		}
	}
}

// fillBody reads more of the request's body.
func (x *exchange) fillBody() *Failure {
	now := transport.Now()
	want, late := now+int64(x.limits.StallTimeout), errBodyTimeout
	if left := x.bodyPatience(); left < int64(x.limits.StallTimeout) {
		want, late = now+left, errBodySlow
	}
	if x.wall.at > 0 && x.wall.at < want && !x.bodyStarted {
		want, late = x.wall.at, x.wall.fail
	}
	err := x.in.fill(x.s.buffers, want, &x.bodyStop)
	x.bodyWaited += transport.Now() - now
	switch {
	case err == nil:
		return nil
	case errors.Is(err, transport.ErrTimeout):
		return late
	case errors.Is(err, transport.ErrStopped):
		return errClientStalled // whoever raised the flag has the real reason
	case errors.Is(err, errFull):
		return errTrailerTooBig
	}
	return errClientClosed
}

// bodyPatience returns for how many nanoseconds more of the request's body may be waited for before it came too slowly. What an endpoint
// takes its time for does not count.
func (x *exchange) bodyPatience() int64 {
	if x.reqBody.kind != framingLength {
		return math.MaxInt64
	}
	came := float64(x.req.length-x.reqBody.left) / float64(x.limits.BodyRate)
	left := float64(x.limits.BodyGrace) + came*float64(time.Second) - float64(x.bodyWaited)
	return int64(min(left, 1<<62)) // at one byte a second, 10 GB are more nanoseconds than an int64 has
}
