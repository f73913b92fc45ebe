package http1

import "strconv"

// response is the head of one response.
type response struct {
	head
	status  int
	line    int // offset and length of status code and reason phrase
	lineLen int
	minor   uint8
	framing framing
	length  int64
	// tunnel is true if the connection belongs to client and endpoint after the head: a 101, or success of a CONNECT.
	tunnel bool
	// class is the value of l5d-success-class, or "": then that of the endpoint goes no further, unless it is believed.
	class       string
	trustsClass bool
	// bodiless is true if the client gets the head alone.
	bodiless bool
}

func (r *response) reset() {
	h := r.head
	h.reset()
	*r = response{head: h}
}

// parse goes on with the head, b being all of its bytes so far. req is what it answers: framing depends on the method.
func (r *response) parse(b []byte, lim headLimits, req *Request) (done bool, fail *Failure) {
	done, fail = r.scan(b, lim, r.firstLine)
	if !done || fail != nil {
		return false, asResponse(fail)
	}
	if r.blank > 0 {
		return false, errBadResponse
	}
	if fail := r.checkFraming(req); fail != nil {
		return false, fail
	}
	if r.minor == 0 {
		r.close = r.close || !r.keepAlive
	}
	return true, nil
}

// firstLine reads "HTTP/1.x SSS reason"; the blank before an empty reason may be missing.
func (r *response) firstLine(line []byte) *Failure {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return errBadResponse
	}
	switch line[7] {
	case '0':
	case '1':
		r.minor = 1
	default:
		return errBadResponse
	}
	for _, c := range line[9:12] {
		if !isDigit(c) {
			return errBadResponse
		}
		r.status = r.status*10 + int(c-'0')
	}
	if r.status < 100 || r.status > 999 || !all(line, charValue) {
		return errBadResponse
	}
	r.line = r.lineEnd - 2 - len(line) + 9
	r.lineLen = len(line) - 9
	return nil
}

func (r *response) checkFraming(req *Request) *Failure {
	switch {
	case req.connect && r.status/100 == 2: // a tunnel, whatever its headers say: RFC 9112, section 6.3
		r.tunnel, r.framing = true, framingNone
		return nil
	case r.tes > 0 && r.lengths > 0, r.tes > 1, r.tes > 0 && r.minor == 0, r.tes == 1 && !r.head.chunked, r.lengthBad:
		return errBadResponse
	}
	r.length = r.head.length
	switch {
	case r.status == 101:
		r.tunnel, r.framing = true, framingNone
	case r.status < 200, r.status == 204, r.status == 304, req.isHead:
		r.framing = framingNone
	case r.tes == 1:
		r.framing = framingChunked
	case r.lengths > 0:
		r.framing = framingLength
	default:
		r.framing = framingClose
	}
	return nil
}

// clearBody makes the head say that its body is empty. It returns the framing towards the client.
func (r *response) clearBody() framing {
	r.length, r.lengths, r.tes = 0, 0, 0
	if r.status == 204 || r.status == 304 {
		return framingNone
	}
	r.lengths = 1 // also in the answer to HEAD: a GET would get no body either
	if r.framing == framingNone {
		return framingNone
	}
	return framingLength
}

// appendInterim writes a 1xx head, and any head that begins a tunnel.
func (r *response) appendInterim(dst, via []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, r.b[r.line:r.line+r.lineLen]...)
	dst = append(dst, "\r\n"...)
	drop := uint32(dropAlways | 1<<kUpgrade | 1<<kTrailer)
	if r.status == 101 {
		drop &^= 1 << kUpgrade
	}
	dst = r.appendFields(dst, drop)
	if r.tunnel {
		dst = append(dst, via...)
	}
	if r.status != 101 {
		return append(dst, "\r\n"...)
	}
	return append(dst, "Connection: Upgrade\r\n\r\n"...)
}

// appendTo writes the final head as the client gets it. out is the framing towards the client; it differs from the response's own for a
// body that ends with the connection, and for HTTP/1.0.
func (r *response) appendTo(dst, via []byte, req *Request, out framing, closing bool) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, r.b[r.line:r.line+r.lineLen]...)
	dst = append(dst, "\r\n"...)
	drop := uint32(dropAlways)
	if r.status != 426 {
		drop |= 1 << kUpgrade
	}
	if out != framingChunked {
		drop |= 1 << kTrailer
	}
	if !r.trustsClass {
		drop |= 1 << kClass
	}
	dst = r.appendFields(dst, drop)
	if r.class != "" {
		dst = append(append(append(dst, headerClass+": "...), r.class...), "\r\n"...)
	}
	dst = append(dst, via...)
	switch {
	case out != framingNone:
		dst = appendFraming(dst, out, r.length)
	case r.status == 204:
	case r.lengths > 0: // the length that a GET would have had
		dst = appendFraming(dst, framingLength, r.length)
	case r.tes > 0 && req.isHead && req.minor == 1:
		dst = appendFraming(dst, framingChunked, 0)
	}
	upgrade := r.status == 426 && r.has(kUpgrade)
	switch {
	case closing && upgrade:
		dst = append(dst, "Connection: close, Upgrade\r\n"...)
	case closing:
		dst = append(dst, "Connection: close\r\n"...)
	case upgrade:
		dst = append(dst, "Connection: Upgrade\r\n"...)
	case req.minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func appendFraming(dst []byte, f framing, length int64) []byte {
	switch f {
	case framingLength:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, length, 10)
		dst = append(dst, "\r\n"...)
	case framingChunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return dst
}
