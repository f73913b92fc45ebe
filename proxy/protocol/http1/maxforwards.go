package http1

import "strconv"

// maxForwardsDigits bounds Max-Forwards: a number of more digits is no number of proxies.
const maxForwardsDigits = 9

// headerMaxForwards says how many proxies an OPTIONS or TRACE may still pass (RFC 9110 section 7.6.2).
const headerMaxForwards = "max-forwards"

// takeForwards reads Max-Forwards where the method has it. left is -1 where there is none; otherwise the header is dropped, and is to be
// written anew with one less.
func (r *Request) takeForwards() (left int64, fail *Failure) {
	left = -1
	if string(r.method) != "TRACE" && string(r.method) != "OPTIONS" {
		return left, nil
	}
	for i := range r.fields {
		if !fold(r.name(i), headerMaxForwards) {
			continue
		}
		v := r.val(i)
		if left >= 0 || len(v) == 0 || len(v) > maxForwardsDigits {
			return -1, errMaxForwards
		}
		left = 0
		for _, c := range v {
			if !isDigit(c) {
				return -1, errMaxForwards
			}
			left = left*10 + int64(c-'0')
		}
		r.fields[i].drop = true
	}
	return left, nil
}

// appendForwards writes Max-Forwards with one less, where the request had it.
func appendForwards(dst []byte, left int64) []byte {
	if left <= 0 {
		return dst
	}
	return append(strconv.AppendInt(append(dst, "Max-Forwards: "...), left-1, 10), "\r\n"...)
}

// endsHere answers an OPTIONS or TRACE that may pass no further proxy. It reports whether the connection may go on.
func (x *exchange) endsHere() bool {
	if string(x.req.method) == "OPTIONS" {
		return x.answer(200)
	}
	received := x.req.appendReceived(nil)
	if !x.diagnoses {
		return x.answerMessage(200, "message/http", received)
	}
	if fail := x.route(); fail != nil {
		return x.refuse(fail, x.req.close || !x.skipBody())
	}
	received = append(received, x.diagnosis()...)
	x.target = nil // nothing is sent there
	return x.answerMessage(200, "text/plain; charset=utf-8", received)
}

// appendReceived writes the head as the client sent it, without what may be secret (RFC 9110 section 9.3.8).
func (r *Request) appendReceived(dst []byte) []byte {
	dst = append(dst, r.b[r.line:r.line+r.methodLen+1+r.targetLen]...)
	dst = append(dst, " HTTP/1."...)
	dst = append(dst, '0'+r.minor, '\r', '\n')
	for i := range r.fields {
		if n := r.name(i); fold(n, "authorization") || fold(n, "proxy-authorization") || fold(n, "cookie") {
			continue
		}
		dst = append(append(append(dst, r.name(i)...), ": "...), r.val(i)...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
