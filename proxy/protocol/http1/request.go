package http1

import (
	"bytes"
	"net/netip"
	"strconv"
)

// Request is the head of one request. Slices alias the connection's buffer and die with the request.
type Request struct {
	head
	method, target, host []byte
	// Offsets of the first line and its parts, from which the slices are made when the head is whole.
	line, methodLen, targetLen int
	// path is what the upstream's request line carries: the target without scheme and authority.
	path  []byte
	minor uint8
	// rootless is true when the path before the query was consumed: "/" is sent in its place.
	rootless bool
	// absolute is true when the target has an authority, which replaces Host.
	absolute   bool
	isHead     bool
	idempotent bool
	expect     bool
	upgrade    bool
	connect    bool
	framing    framing
	length     int64
	client     netip.AddrPort
	// deadlineNs is what Deadline returns, and told the same in nanoseconds since 1970, as the request brought it.
	deadlineNs, told int64
	// endpoint is what Endpoint returned, of endpointLen bytes, negative for none; it was asked for if endpointKept.
	endpoint     [leadRoom]byte
	endpointLen  int
	endpointKept bool
}

// Method returns the method, in the case it was sent.
func (r *Request) Method() []byte { return r.method }

// Target returns the path and query as they will be sent on, "*", or the host and port of a CONNECT. After ConsumeTarget it may lack its first slash.
func (r *Request) Target() []byte { return r.path }

// ConsumeTarget takes the first n bytes, which are whole segments of the path, out of what is sent on. It is the router that may call
// it, once.
func (r *Request) ConsumeTarget(n int) {
	r.path = r.path[n:]
	r.rootless = len(r.path) == 0 || r.path[0] == '?'
}

// Host returns the value of Host, or the authority of a target in absolute form. It may be empty.
func (r *Request) Host() []byte { return r.host }

// Client returns the address of the connection's other end.
func (r *Request) Client() netip.AddrPort { return r.client }

// Minor returns the minor version of HTTP/1: 0 or 1.
func (r *Request) Minor() int { return int(r.minor) }

// Endpoint returns the value of l5d-dst-endpoint, or nil. What it returned to the router it returns to the target: the head itself may
// have made room for the body by then. A value longer than any address is cut.
func (r *Request) Endpoint() []byte {
	if !r.endpointKept {
		v := r.value(HeaderEndpoint)
		r.endpointKept, r.endpointLen = true, copy(r.endpoint[:], v)
		if v == nil {
			r.endpointLen = -1
		}
	}
	if r.endpointLen < 0 {
		return nil
	}
	return r.endpoint[:r.endpointLen]
}

// HeaderValue returns the first value of the header, whatever its case, or nil. It is the router's to call: a target is asked when the
// head may have made room for the body.
func (r *Request) HeaderValue(name string) []byte { return r.value(name) }

// Headers calls f for each header line in order until f returns false.
func (r *Request) Headers(f func(name, value []byte) bool) {
	for i := range r.fields {
		if !f(r.name(i), r.val(i)) {
			return
		}
	}
}

// ContentLength returns the length of the body, or -1 if it is sent in chunks.
func (r *Request) ContentLength() int64 {
	if r.framing == framingChunked {
		return -1
	}
	return r.length
}

func (r *Request) reset() {
	h := r.head
	h.reset()
	*r = Request{head: h}
}

// tlsHandshake is the first byte of TLS (RFC 8446, section 5.1), and no part of a method.
const tlsHandshake = 0x16

// parse goes on with the head, b being all of its bytes so far. When done, r.pos is its length and r is checked by every rule of
// RFC 9112 on which two parsers could disagree.
func (r *Request) parse(b []byte, lim headLimits) (done bool, fail *Failure) {
	if len(b) > 0 && b[0] == tlsHandshake {
		return false, errTLS // at once: it may have no line to wait for the end of
	}
	done, fail = r.scan(b, lim, r.firstLine)
	if !done || fail != nil {
		return false, fail
	}
	r.method = r.b[r.line : r.line+r.methodLen]
	at := r.line + r.methodLen + 1
	r.target = r.b[at : at+r.targetLen]
	r.isHead = string(r.method) == "HEAD"
	switch string(r.method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		r.idempotent = true
	case "CONNECT":
		r.connect = true
	}
	if fail := r.splitTarget(); fail != nil {
		return false, fail
	}
	if fail := r.checkHost(); fail != nil {
		return false, fail
	}
	if fail := r.checkFraming(); fail != nil {
		return false, fail
	}
	if r.connect {
		if r.framing == framingChunked || r.length > 0 {
			return false, errConnectBody
		}
		// What follows is for the tunnel: where there comes to be none it must not be taken for a request.
		r.framing, r.close = framingNone, true
	}
	if r.minor == 0 {
		r.close = r.close || !r.keepAlive
	}
	r.checkExpectations()
	return true, nil
}

func (r *Request) firstLine(line []byte) *Failure {
	r.line = r.lineEnd - 2 - len(line)
	r.methodLen = bytes.IndexByte(line, ' ')
	if r.methodLen <= 0 || !all(line[:r.methodLen], charToken) {
		return errBadRequestLine
	}
	rest := line[r.methodLen+1:]
	r.targetLen = bytes.IndexByte(rest, ' ')
	if r.targetLen <= 0 {
		return errBadRequestLine
	}
	if !all(rest[:r.targetLen], charTarget) {
		return errBadTarget
	}
	switch version := rest[r.targetLen+1:]; {
	case string(version) == "HTTP/1.1":
		r.minor = 1
	case string(version) == "HTTP/1.0":
	case len(version) == 8 && string(version[:5]) == "HTTP/" && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]):
		return errBadVersion
	default:
		return errBadRequestLine
	}
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

var (
	slash    = []byte("/")
	asterisk = []byte("*")
)

// splitTarget finds the path, and in absolute form the authority that replaces Host (RFC 9112 section 3.2.2).
func (r *Request) splitTarget() *Failure {
	t := r.target
	if r.connect {
		return r.splitAuthority()
	}
	if t[0] == '/' {
		r.path = t
		return nil
	}
	if len(t) == 1 && t[0] == '*' && string(r.method) == "OPTIONS" {
		r.path = t
		return nil
	}
	if len(t) <= 7 || !fold(t[:7], "http://") {
		return errBadTarget
	}
	t = t[7:]
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	r.absolute = true
	r.host = t[:end]
	r.path = t[end:]
	switch {
	case !isAuthority(r.host):
		return errBadTarget
	case len(r.path) == 0 && string(r.method) == "OPTIONS":
		r.path = asterisk
	case len(r.path) == 0:
		r.path = slash
	case r.path[0] == '?':
		// An empty path is sent as "/" (RFC 9110 section 4.2.3). This form is rare enough to be worth a copy.
		r.path = append([]byte{'/'}, r.path...)
	}
	return nil
}

// splitAuthority takes the target of a CONNECT, which is a host and a port (RFC 9112 section 3.2.3).
func (r *Request) splitAuthority() *Failure {
	colon := bytes.LastIndexByte(r.target, ':')
	if colon <= 0 || !isAuthority(r.target) {
		return errBadAuthority
	}
	if port, err := strconv.ParseUint(string(r.target[colon+1:]), 10, 16); err != nil || port == 0 {
		return errBadAuthority
	}
	r.absolute, r.host, r.path = true, r.target, r.target
	return nil
}

func (r *Request) checkHost() *Failure {
	if r.hosts > 1 || r.hosts == 0 && r.minor == 1 {
		return errNoHost
	}
	if r.hosts == 0 {
		return nil
	}
	for i := range r.fields {
		if r.fields[i].kind == kHost {
			v := r.val(i)
			if len(v) > 0 && !isAuthority(v) {
				return errBadHost
			}
			if !r.absolute {
				r.host = v
			}
			return nil
		}
	}
	return nil
}

func (r *Request) checkFraming() *Failure {
	switch {
	case r.tes > 0 && r.lengths > 0:
		return errLengthAndTE
	case r.tes > 0 && r.minor == 0:
		return errTEIn10
	case r.tes > 1:
		return errTETwice
	case r.tes == 1 && !r.head.chunked:
		return errUnsupportedTE
	case r.tes == 1:
		r.framing = framingChunked
		return nil
	case r.lengthBad:
		return errBadLength
	}
	if r.lengths > 0 {
		r.length = r.head.length
		r.framing = framingLength
	}
	return nil
}

// checkExpectations decides what Expect and Upgrade mean for this request. An upgrade to h2c is never offered to the endpoint, and none
// together with a body.
func (r *Request) checkExpectations() {
	body := r.framing == framingChunked || r.length > 0
	may := r.wantsUpgrade && r.minor == 1 && !body && !r.connect
	for i := range r.fields {
		switch f := &r.fields[i]; f.kind {
		case kExpect:
			if !fold(r.val(i), "100-continue") {
				f.kind = kOther // not ours: the endpoint answers 417 or not
				continue
			}
			r.expect = r.minor == 1 && body
		case kUpgrade:
			may = may && !hasH2C(r.val(i)) // any line of several
			r.upgrade = may
		}
	}
}

func hasH2C(v []byte) bool {
	for rest := v; len(rest) > 0; {
		var item []byte
		item, rest = cutComma(rest)
		if len(item) >= 3 && fold(item[:3], "h2c") {
			return true
		}
	}
	return false
}

// dropAlways are the headers that never cross: the connection's own, and what is written anew.
const dropAlways = 1<<kContentLength | 1<<kTransferEncoding | 1<<kConnection | 1<<kTE | 1<<kHop

// appendHead writes the request's head as the endpoint gets it, up to the headers of the target: HTTP/1.1, one Host, no hop-by-hop
// header.
func (r *Request) appendHead(dst []byte, via []byte) []byte {
	dst = append(dst, r.method...)
	dst = append(dst, ' ')
	if r.rootless {
		dst = append(dst, '/')
	}
	dst = append(dst, r.path...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	drop := uint32(dropAlways | 1<<kL5dOwn | 1<<kCert | 1<<kDeadline)
	if r.absolute || r.hosts == 0 {
		dst = append(dst, "Host: "...)
		dst = append(dst, r.host...)
		dst = append(dst, "\r\n"...)
		drop |= 1 << kHost
	}
	if !r.upgrade {
		drop |= 1 << kUpgrade
	}
	if !r.expect {
		drop |= 1 << kExpect
	}
	if r.framing != framingChunked {
		drop |= 1 << kTrailer
	}
	dst = r.appendFields(dst, drop)
	return append(dst, via...)
}

// appendEnd writes our own framing and the end of the head.
func (r *Request) appendEnd(dst []byte) []byte {
	dst = appendFraming(dst, r.framing, r.length)
	switch {
	case r.upgrade && r.trailers:
		dst = append(dst, "Connection: Upgrade, TE\r\nTE: trailers\r\n"...)
	case r.upgrade:
		dst = append(dst, "Connection: Upgrade\r\n"...)
	case r.trailers:
		dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	return append(dst, "\r\n"...)
}
