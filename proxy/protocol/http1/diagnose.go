package http1

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead/fairlead/proxy/transport"
)

// headerAddContext makes each proxy that a TRACE passes tell what it knows of it, below the body of the response (Linkerd's
// DiagnosticTracer). It is a header of the l5d- family, so that clearContext keeps strangers from asking.
const headerAddContext = "l5d-add-context"

// maxDiagnosedBody is how much of the response's body is kept beside a diagnosis.
const maxDiagnosedBody = 32 << 10

// asksForContext reports whether the request is to be diagnosed.
func (r *Request) asksForContext() bool {
	return string(r.method) == "TRACE" && string(r.value(headerAddContext)) == "true"
}

// diagnosis tells what became of the request until now.
func (x *exchange) diagnosis() string {
	now := transport.Now()
	var b strings.Builder
	b.WriteString("\n--- fairlead ---\n")
	b.WriteString(x.target.Diagnose(now))
	for _, n := range x.notes {
		fmt.Fprintf(&b, "tried: %s, %s\n", n.node.Endpoint.Addr, n.reason)
	}
	if x.node != nil && !x.noted {
		fmt.Fprintf(&b, "selected: %s\n", x.node.Endpoint.Addr)
	}
	fmt.Fprintf(&b, "duration: %v\n", time.Duration(now-x.o.StartNs).Round(time.Microsecond))
	return b.String()
}

// relayDiagnosis sends the final response with a diagnosis below its body. It reports whether the connection may go on.
func (x *exchange) relayDiagnosis() bool {
	class := x.nodeClass(nil)
	x.respBody.reset(x.resp.framing, x.resp.length, headLimits{bytes: x.limits.HeaderBytes, fields: x.limits.Headers})
	x.resp.b = bytes.Clone(x.resp.b) // the body is read to where the head is
	body, fail := x.collectResponse()
	if fail != nil {
		x.dropUpstream()
		x.nodeDone(x.o.HeadNs, x.nodeClass(fail))
		return x.refuse(x.named(fail), true)
	}
	if !x.resp.close && x.resp.framing != framingClose && x.up.r == x.up.w && len(body) <= maxDiagnosedBody {
		x.keepUpstream()
	}
	x.dropUpstream() // nothing, if it was kept
	if len(body) > maxDiagnosedBody {
		body = []byte("(the body of the response is too long to be shown here)\n")
	}
	body = append(body, x.diagnosis()...)
	x.resp.length, x.resp.lengths, x.resp.tes = int64(len(body)), 1, 0
	closing := x.req.close || x.s.draining.Load()
	x.takeOut(x.resp.pos + 4<<10)
	x.b = x.resp.appendTo(x.b, x.s.via[x.resp.minor], &x.req, framingLength, closing)
	k := sink{c: x.c.tc, b: x.b, stall: x.limits.StallTimeout}
	err := k.data(body)
	if err == nil {
		err = k.flush()
	}
	x.o.ResponseBytes = k.body
	x.linger = x.maySendMore()
	x.nodeDone(x.o.HeadNs, class)
	if err != nil {
		x.failBody(clientFailure(err), framingLength)
	}
	return err == nil && !closing
}

// collectResponse reads the body of the response, or a little more of it than is shown.
func (x *exchange) collectResponse() ([]byte, *Failure) {
	var body []byte
	for len(body) <= maxDiagnosedBody {
		data, n, ev, fail := x.respBody.next(x.up.bytes())
		if fail != nil {
			return nil, asResponse(fail)
		}
		x.up.r += n
		switch ev {
		case evEnd:
			return body, nil
		case evData:
			body = append(body, data...)
		case evMore:
			ended, fail := x.fillResponse()
			if fail != nil {
				return nil, fail
			}
			if ended {
				return body, nil
			}
		}
	}
	return body, nil
}
