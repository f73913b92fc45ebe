package http1

import (
	"bytes"
	"strconv"
)

// event is what a body decoder found.
type event uint8

const (
	evMore    event = iota // nothing more in the bytes given
	evData                 // a run of body bytes
	evTrailer              // one trailer line without its CRLF
	evEnd                  // the message is over
)

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
)

// Limits of what may stand beside the data of chunks.
const (
	maxChunkDigits    = 15
	maxChunkExtension = 256
	maxExtensions     = 16 << 10
)

// body decodes one message body out of the bytes that follow its head.
type body struct {
	kind framing
	left int64 // of the length, or of the chunk

	state      chunkState
	digits     int
	ext, exts  int
	trailers   int
	trailBytes int
	lim        headLimits
	failed     *Failure // what was wrong stays wrong, whatever is read next
}

func (d *body) reset(kind framing, length int64, lim headLimits) {
	*d = body{kind: kind, lim: lim}
	if kind == framingLength {
		d.left = length
	}
}

// next reads from p, of which n bytes are then used up. data, with evData and evTrailer, aliases p.
func (d *body) next(p []byte) (data []byte, n int, ev event, fail *Failure) {
	switch d.kind {
	case framingNone:
		return nil, 0, evEnd, nil
	case framingLength:
		if d.left == 0 {
			return nil, 0, evEnd, nil
		}
		data, n, ev = d.run(p)
		return data, n, ev, nil
	case framingClose:
		if len(p) == 0 {
			return nil, 0, evMore, nil
		}
		return p, len(p), evData, nil
	}
	if d.failed != nil {
		return nil, 0, evMore, d.failed
	}
	data, n, ev, d.failed = d.nextChunk(p)
	return data, n, ev, d.failed
}

func (d *body) run(p []byte) ([]byte, int, event) {
	if len(p) == 0 {
		return nil, 0, evMore
	}
	n := int(min(int64(len(p)), d.left))
	d.left -= int64(n)
	return p[:n], n, evData
}

func (d *body) nextChunk(p []byte) (data []byte, n int, ev event, fail *Failure) {
	for n < len(p) {
		switch d.state {
		case chunkData:
			data, m, _ := d.run(p[n:])
			if d.left == 0 {
				d.state = chunkDataCR
			}
			return data, n + m, evData, nil
		case chunkTrailer:
			line, m, ev, fail := d.trailer(p[n:])
			return line, n + m, ev, fail
		case chunkDone:
			return nil, n, evEnd, nil
		}
		if !d.control(p[n]) {
			return nil, n, evMore, errBadChunk
		}
		n++
	}
	if d.state == chunkDone {
		return nil, n, evEnd, nil
	}
	return nil, n, evMore, nil
}

// control takes one byte between the runs of data. There is no tolerance: hex digits, then CRLF or an extension.
func (d *body) control(c byte) bool {
	switch d.state {
	case chunkSize:
		v := unhex(c)
		switch {
		case v >= 0:
			d.digits++
			d.left = d.left<<4 | int64(v)
			return d.digits <= maxChunkDigits
		case d.digits == 0:
			return false
		case c == ';':
			d.state, d.ext = chunkExt, 0
			return true
		}
		d.state = chunkSizeLF
		return c == '\r'
	case chunkExt:
		if c == '\r' {
			d.state = chunkSizeLF
			return true
		}
		d.ext++
		d.exts++
		return chars[c]&charValue != 0 && d.ext <= maxChunkExtension && d.exts <= maxExtensions
	case chunkSizeLF:
		d.digits = 0
		d.state = chunkData
		if d.left == 0 {
			d.state = chunkTrailer
		}
		return c == '\n'
	case chunkDataCR:
		d.state = chunkDataLF
		return c == '\r'
	case chunkDataLF:
		d.state = chunkSize
		return c == '\n'
	}
	return false
}

// trailer takes one whole line of the trailer section.
func (d *body) trailer(p []byte) (line []byte, n int, ev event, fail *Failure) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		if d.trailBytes+lineSoFar(p) > d.lim.bytes {
			return nil, 0, evMore, errTrailerTooBig
		}
		return nil, 0, evMore, nil
	}
	if i == 0 || p[i-1] != '\r' {
		return nil, 0, evMore, errBadTrailer
	}
	line = p[:i-1]
	if len(line) == 0 {
		d.state = chunkDone
		return nil, i + 1, evEnd, nil
	}
	d.trailBytes += i + 1
	d.trailers++
	if d.trailBytes > d.lim.bytes || d.trailers > d.lim.fields {
		return nil, 0, evMore, errTrailerTooBig
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !all(line[:colon], charToken) {
		return nil, 0, evMore, errBadTrailer
	}
	if !validValue(line[colon+1:]) {
		return nil, 0, evMore, errBadTrailer
	}
	return line, i + 1, evTrailer, nil
}

// noTrailers are the headers that nameKind does not tell apart and that mean something only before the body.
var noTrailers = [...]string{
	"authorization", "cookie", "set-cookie", "cache-control", "max-forwards", "content-encoding", "content-type", "content-range",
	"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
}

// trailerAllowed refuses what a recipient that merges trailers into headers could take for framing, routing, credentials, controls, the
// form of the content, where the request comes from or the connection's own (RFC 9110 section 6.5.1).
func trailerAllowed(line []byte) bool {
	name := line[:bytes.IndexByte(line, ':')]
	if nameKind(name) != kOther || isContext(name) {
		return false
	}
	for _, no := range noTrailers {
		if fold(name, no) {
			return false
		}
	}
	return true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// chunkRoom is the most that a chunk adds to its data: size, two CRLF.
const chunkRoom = 16 + 4

func appendChunk(dst, data []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(data)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}
