package http1

import (
	"strconv"
	"sync/atomic"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// maxErrHeader is the length that l5d-err is cut to.
const maxErrHeader = 1 << 10

// maxErrBody is the length that the body is cut to.
const maxErrBody = 8 << 10

// refuse answers with a response made here. It reports whether the connection may go on.
func (x *exchange) refuse(fail *Failure, closing bool) bool {
	fail = fail.withLimit(x.limits)
	x.o.Reason = fail.Reason
	x.o.Class = failureClass(fail)
	x.logFailure(fail, fail.Status)
	if fail.Status == 0 {
		x.linger = false
		return false
	}
	closing = closing || x.s.draining.Load()
	x.linger = x.maySendMore() || !x.whole
	x.o.Status = fail.Status
	message := fail.Message[:min(len(fail.Message), maxErrBody)]
	x.takeOut(transport.SmallBuffer)
	b := appendStatusLine(x.b, fail.Status)
	length := 0
	if fail.isNack() {
		b = append(b, "\r\n"+HeaderNack+": true\r\nRetry-After: 0"...)
	}
	if !x.edge {
		b = x.appendReason(b, fail, message)
		length = len(fail.Reason) + len(colon) + len(message) + len(newline)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(length), 10)
	switch {
	case closing:
		b = append(b, "\r\nConnection: close"...)
	case x.req.minor == 0:
		b = append(b, "\r\nConnection: keep-alive"...)
	}
	b = append(b, "\r\n\r\n"...)
	if !x.req.isHead && length > 0 {
		b = append(b, fail.Reason...)
		b = append(b, colon...)
		b = append(b, message...)
		b = append(b, newline...)
	}
	x.b = b
	x.leave()
	if _, err := x.c.tc.Write(b, x.limits.StallTimeout, nil); err != nil {
		x.linger = false
		return false
	}
	return !closing
}

const (
	// colon stands between a reason and its message.
	colon = ": "
	// newline ends the body, for those who read it in a terminal.
	newline = "\n"
)

// appendReason appends the header lines that say what went wrong, without the last CRLF.
func (x *exchange) appendReason(b []byte, fail *Failure, message string) []byte {
	if !fail.isNack() { // Linkerd has none there
		b = append(b, "\r\nl5d-err: "...)
		left := maxErrHeader
		for _, part := range [...]string{fail.Reason, colon, message} {
			b, left = appendForm(b, part, left)
		}
	}
	if x.isUnwritten(fail) {
		b = append(b, "\r\n"+headerRetryable+": true"...)
	}
	return append(b, "\r\nContent-Type: text/plain; charset=utf-8"...)
}

// isUnwritten reports whether no endpoint got a byte of the request, so that whatever it is it may be sent again.
func (x *exchange) isUnwritten(fail *Failure) bool {
	if x.o.Retries > 0 || x.requeued > 0 || x.o.HopResends > 0 {
		return false
	}
	switch fail.Reason {
	case ReasonConnectRefused, ReasonConnectTimeout, ReasonConnectError, ReasonDescriptors, ReasonNoEndpoints, ReasonHopUnbound:
		return true
	}
	return false
}

// named adds to the message of a failure what was asked for and what was tried.
func (x *exchange) named(f *Failure) *Failure {
	if x.target == nil || failureClass(f) == classify.Ignored {
		return f
	}
	where := x.target.Explain(transport.Now())
	if where == "" {
		return f
	}
	out := *f
	out.Message += " (" + where
	for _, n := range x.notes {
		out.Message += ", endpoint " + n.node.Endpoint.Addr.String() + ": " + n.reason
	}
	if x.node != nil && !x.noted {
		out.Message += ", endpoint " + x.node.Endpoint.Addr.String()
	}
	if attempts := 1 + x.o.ConnectRetries + x.o.Resends + x.o.Retries; attempts > 1 {
		out.Message += ", " + strconv.Itoa(attempts) + " attempts"
	}
	out.Message += ")"
	return &out
}

// appendForm appends s form-encoded, as Linkerd writes l5d-err, ending before the escape that would pass limit bytes. left is what remains of
// the limit, 0 once something was cut.
func appendForm(dst []byte, s string, limit int) (_ []byte, left int) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		plain := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '-' || c == '*' || c == '_'
		switch {
		case plain || c == ' ':
			if limit--; limit < 0 {
				return dst, 0
			}
			if c == ' ' {
				c = '+'
			}
			dst = append(dst, c)
		default:
			if limit -= 3; limit < 0 {
				return dst, 0
			}
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst, limit
}

// logsPerSecond bounds the log lines about failed requests; the rest are counted into the next line.
const logsPerSecond = 10

// logGate lets a few lines a second pass.
type logGate struct {
	second     atomic.Int64
	n          atomic.Int64
	suppressed atomic.Int64
}

func (g *logGate) pass(now int64) (suppressed int64, ok bool) {
	if s := now / 1e9; g.second.Swap(s) != s {
		g.n.Store(0)
	}
	if g.n.Add(1) > logsPerSecond {
		g.suppressed.Add(1)
		return 0, false
	}
	return g.suppressed.Swap(0), true
}

// logFailure writes one line about a failure that an operator can act on, and the status that the client got. Those of clients alone are
// for debugging, but for too many proxies: that is a loop of rules.
func (x *exchange) logFailure(fail *Failure, status int) {
	log := *x.s.log.Load()
	if failureClass(fail) == classify.Ignored && fail != errCallDepth {
		log = log.V(1)
	}
	if !log.Enabled() {
		return
	}
	suppressed, ok := x.s.logGate.pass(transport.Now())
	if !ok {
		return
	}
	endpoint := ""
	if x.node != nil {
		endpoint = x.node.Endpoint.Addr.String()
	}
	log.Info("Request failed", "reason", fail.Reason, "status", status, "message", fail.Message,
		"client", x.c.tc.Remote().String(), "endpoint", endpoint, "suppressed", suppressed)
}
