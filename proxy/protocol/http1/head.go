package http1

import (
	"bytes"
)

// known is a header that the relay treats in its own way.
type known uint8

const (
	kOther known = iota
	kHost
	kContentLength
	kTransferEncoding
	kConnection
	kTE
	kTrailer
	kUpgrade
	kExpect
	kVia
	kHop      // dropped always: Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization
	kCert     // X-Forwarded-Client-Cert, which says who a client is and is not believed
	kDeadline // l5d-ctx-deadline
	kClass    // l5d-success-class
	kL5dOwn   // the proxy's own: l5d-dst-service, -client, -residual, -endpoint, l5d-dtab, l5d-ctx-dtab
)

// classify finds the few names that matter, by length first.
func nameKind(n []byte) known {
	switch len(n) {
	case 2:
		return kindIf(n, "te", kTE)
	case 3:
		return kindIf(n, "via", kVia)
	case 4:
		return kindIf(n, "host", kHost)
	case 6:
		return kindIf(n, "expect", kExpect)
	case 7:
		if fold(n, "trailer") {
			return kTrailer
		}
		return kindIf(n, "upgrade", kUpgrade)
	case 8:
		return kindIf(n, "l5d-dtab", kL5dOwn)
	case 10:
		if fold(n, "connection") {
			return kConnection
		}
		return kindIf(n, "keep-alive", kHop)
	case 12:
		return kindIf(n, "l5d-ctx-dtab", kL5dOwn)
	case 14:
		if fold(n, "content-length") {
			return kContentLength
		}
		return kindIf(n, "l5d-dst-client", kL5dOwn)
	case 15:
		return kindIf(n, "l5d-dst-service", kL5dOwn)
	case 16:
		if fold(n, "proxy-connection") {
			return kHop
		}
		if fold(n, HeaderEndpoint) {
			return kL5dOwn
		}
		if fold(n, headerDeadline) {
			return kDeadline
		}
		return kindIf(n, "l5d-dst-residual", kL5dOwn)
	case 17:
		if fold(n, headerClass) {
			return kClass
		}
		return kindIf(n, "transfer-encoding", kTransferEncoding)
	case 18:
		return kindIf(n, "proxy-authenticate", kHop)
	case 19:
		return kindIf(n, "proxy-authorization", kHop)
	case 23:
		return kindIf(n, "x-forwarded-client-cert", kCert)
	}
	return kOther
}

// isContext reports whether a header is one of those that proxies tell each other.
func isContext(name []byte) bool { return len(name) >= 4 && fold(name[:4], "l5d-") }

func kindIf(n []byte, s string, k known) known {
	if fold(n, s) {
		return k
	}
	return kOther
}

// field is one header line as offsets into head.b.
type field struct {
	start, colon, from, to, end uint32
	kind                        known
	drop                        bool
}

// framing says how the end of a body is found.
type framing uint8

const (
	framingNone framing = iota
	framingLength
	framingChunked
	framingClose
)

// head is what requests and responses share: a first line and fields. Offsets count from the head's first byte, so that the
// bytes may move while more of them arrive.
type head struct {
	b      []byte
	fields []field

	pos, scanned int // start of the line being scanned; how far it was searched for its end
	lineEnd      int // end of the first line, 0 until it was seen
	blank        int // empty lines before the first line

	kinds      uint32 // bit per known that occurs
	hosts, tes int
	lengths    int
	length     int64
	lengthBad  bool
	chunked    bool
	vias       int

	// From Connection.
	close, keepAlive, wantsUpgrade bool
	// From TE.
	trailers bool
}

func (h *head) reset() {
	f := h.fields[:0]
	*h = head{fields: f}
}

func (h *head) has(k known) bool { return h.kinds&(1<<k) != 0 }

func (h *head) name(i int) []byte { f := &h.fields[i]; return h.b[f.start:f.colon] }
func (h *head) val(i int) []byte  { f := &h.fields[i]; return h.b[f.from:f.to] }

func (h *head) value(name string) []byte {
	for i := range h.fields {
		if equalFold(h.name(i), name) {
			return h.val(i)
		}
	}
	return nil
}

// headLimits bounds one head.
type headLimits struct {
	line, bytes, fields int
}

// scan goes on where it stopped, b being all bytes of the head so far. done is true when the blank line was reached; then h.pos is
// the length of the head. first is called with the first line.
func (h *head) scan(b []byte, lim headLimits, first func([]byte) *Failure) (done bool, fail *Failure) {
	for {
		i := bytes.IndexByte(b[h.scanned:], '\n')
		if i < 0 {
			h.scanned = len(b)
			return false, h.tooLong(lineSoFar(b), lim)
		}
		end := h.scanned + i
		if end == h.pos || b[end-1] != '\r' {
			return false, errBareLF
		}
		if fail := h.tooLong(end-1, lim); fail != nil {
			return false, fail
		}
		line := b[h.pos : end-1]
		start := h.pos
		h.pos, h.scanned = end+1, end+1
		switch {
		case h.lineEnd == 0 && len(line) == 0 && h.blank < 2:
			h.blank++ // RFC 9112 section 2.2: an empty line before the request line is ignored
		case h.lineEnd == 0:
			h.lineEnd = end + 1
			if fail := first(line); fail != nil {
				return false, fail
			}
		case len(line) == 0:
			h.b = b[:h.pos]
			return true, h.connection()
		default:
			if len(h.fields) >= lim.fields {
				return false, errTooManyHeaders
			}
			if fail := h.addField(line, start); fail != nil {
				return false, fail
			}
		}
	}
}

// lineSoFar is the length of b without the CR at its end, which is likely to end a line and then counts for nothing.
func lineSoFar(b []byte) int {
	if n := len(b); n > 0 && b[n-1] == '\r' {
		return n - 1
	}
	return len(b)
}

func (h *head) tooLong(upTo int, lim headLimits) *Failure {
	if h.lineEnd == 0 {
		if upTo-h.pos > lim.line {
			return errLineTooLong
		}
		return nil
	}
	if upTo-h.lineEnd > lim.bytes {
		return errHeaderTooLarge
	}
	return nil
}

func (h *head) addField(line []byte, start int) *Failure {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !all(line[:colon], charToken) {
		return errBadHeaderName // also a folded line, which begins with a blank
	}
	v := trim(line[colon+1:])
	if !validValue(v) {
		return errBadHeaderValue
	}
	from := len(line) - len(line[colon+1:])
	for from < len(line) && (line[from] == ' ' || line[from] == '\t') {
		from++
	}
	k := nameKind(line[:colon])
	h.fields = append(h.fields, field{start: uint32(start), colon: uint32(start + colon), from: uint32(start + from),
		to: uint32(start + from + len(v)), end: uint32(start + len(line) + 2), kind: k})
	if k == kOther {
		return nil
	}
	h.kinds |= 1 << k
	switch k {
	case kHost:
		h.hosts++
	case kContentLength:
		n, ok := parseLength(v)
		if !ok || h.lengths > 0 { // also twice the same: who repeats it has not read it, and one of two readers may not count as we do
			h.lengthBad = true
		}
		h.length = n
		h.lengths++
	case kTransferEncoding:
		h.tes++
		h.chunked = fold(v, "chunked")
	case kVia:
		h.vias += countVia(v)
	case kTE:
		for rest := v; len(rest) > 0; {
			var item []byte
			item, rest = cutComma(rest)
			h.trailers = h.trailers || fold(item, "trailers")
		}
	}
	return nil
}

// countVia counts entries; a comma inside a comment counts too, which errs on the side of refusing.
func countVia(v []byte) int {
	n := 0
	for rest := v; len(rest) > 0; {
		var item []byte
		item, rest = cutComma(rest)
		if len(item) > 0 {
			n++
		}
	}
	return n
}

// maxConnectionOptions bounds the work of marking what Connection names.
const maxConnectionOptions = 32

// connection reads every Connection field and marks the fields that it names to be dropped.
func (h *head) connection() *Failure {
	if !h.has(kConnection) {
		return nil
	}
	n := 0
	for i := range h.fields {
		if h.fields[i].kind != kConnection {
			continue
		}
		for rest := h.val(i); len(rest) > 0; {
			var item []byte
			item, rest = cutComma(rest)
			if n++; n > maxConnectionOptions {
				return errBadConnection
			}
			switch {
			case len(item) == 0:
			case !all(item, charToken):
				return errBadConnection
			case fold(item, "close"):
				h.close = true
			case fold(item, "keep-alive"):
				h.keepAlive = true
			case fold(item, "upgrade"):
				h.wantsUpgrade = true
			default:
				h.dropNamed(item)
			}
		}
	}
	return nil
}

// dropNamed marks the fields of that name, unless they are the relay's business or must reach the other side: a client could
// otherwise remove credentials or routing headers that a hop before it added.
func (h *head) dropNamed(name []byte) {
	if isContext(name) || fold(name, "authorization") || fold(name, "cookie") {
		return
	}
	for i := range h.fields {
		if f := &h.fields[i]; f.kind == kOther && len(name) == int(f.colon-f.start) && sameFold(h.name(i), name) {
			f.drop = true
		}
	}
}

func sameFold(a, b []byte) bool {
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// clearContext forgets every l5d-* field. failed is true if l5d-err was among them.
func (h *head) clearContext() (failed bool) {
	kept := h.fields[:0]
	for i := range h.fields {
		name := h.name(i)
		if isContext(name) {
			failed = failed || fold(name, "l5d-err")
			continue
		}
		kept = append(kept, h.fields[i])
	}
	h.fields = kept
	return failed
}

// appendFields copies the fields that keep says, in runs.
func (h *head) appendFields(dst []byte, drop uint32) []byte {
	run, runEnd := uint32(0), uint32(0)
	for i := range h.fields {
		f := &h.fields[i]
		if f.drop || drop&(1<<f.kind) != 0 {
			continue
		}
		if f.start != runEnd {
			dst = append(dst, h.b[run:runEnd]...)
			run = f.start
		}
		runEnd = f.end
	}
	return append(dst, h.b[run:runEnd]...)
}
