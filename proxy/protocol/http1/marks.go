package http1

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"
)

// Marks are the headers that tell an endpoint where a request comes from. The zero value adds none.
type Marks struct {
	// Timestamp is the name of a header that gets the milliseconds since 1970, in place of the client's; "" is none.
	Timestamp string
	// Forwarded adds that header (RFC 7239), behind what the client sent of it, with By and For.
	Forwarded bool
	By, For   Labeler
	// XForwarded says what becomes of X-Forwarded-For, -Host and -Proto.
	XForwarded XForwarded
}

// XForwarded says what becomes of X-Forwarded-For, -Host and -Proto.
type XForwarded uint8

const (
	// XForwardedNone passes them on as they came.
	XForwardedNone XForwarded = iota
	// XForwardedAppend adds the client's address to the list, and keeps the host and protocol that the client sent.
	XForwardedAppend
	// XForwardedReplace believes none of what the client sent, nor its Forwarded.
	XForwardedReplace
)

// Labeler writes one end of a client's connection. Kind says how; of Static, Text is the label.
type Labeler struct {
	Kind LabelerKind
	Text string
}

// LabelerKind is how an end of a connection is written.
type LabelerKind uint8

const (
	// LabelRequest is a random label for each request: "_" and six letters or digits.
	LabelRequest LabelerKind = iota
	// LabelConnection is such a label for each connection.
	LabelConnection
	// LabelIP is the address.
	LabelIP
	// LabelIPPort is the address with its port.
	LabelIPPort
	// LabelStatic is a text.
	LabelStatic
)

// isZero reports whether nothing is to be written, as is nearly always so.
func (m *Marks) isZero() bool {
	return m.Timestamp == "" && !m.Forwarded && m.XForwarded == XForwardedNone
}

// randomLabel is "_" and six letters or digits.
type randomLabel [7]byte

func newLabel() (l randomLabel) {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	l[0] = '_'
	for i := 1; i < len(l); i++ {
		l[i] = letters[rand.IntN(len(letters))] //nolint:gosec // a label, not a secret
	}
	return l
}

// The names of the headers.
const (
	forwarded      = "Forwarded"
	forwardedFor   = "X-Forwarded-For"
	forwardedHost  = "X-Forwarded-Host"
	forwardedProto = "X-Forwarded-Proto"
)

// dropMarked drops the client's lines of what is written anew. Those of X-Forwarded-For are joined to the new one by appendMarks.
func (r *Request) dropMarked(m *Marks) {
	for i := range r.fields {
		name := r.name(i)
		switch {
		case m.Timestamp != "" && equalFold(name, m.Timestamp), m.XForwarded != XForwardedNone && equalFold(name, forwardedFor),
			m.XForwarded == XForwardedReplace && (equalFold(name, forwardedHost) || equalFold(name, forwardedProto) || equalFold(name, forwarded)):
			r.fields[i].drop = true
		}
	}
}

// appendMarks appends the lines that m asks for.
func (x *exchange) appendMarks(dst []byte, m *Marks) []byte {
	r := &x.req
	if m.Timestamp != "" {
		dst = append(append(dst, m.Timestamp...), ": "...)
		dst = strconv.AppendInt(dst, time.Now().UnixMilli(), 10)
		dst = append(dst, "\r\n"...)
	}
	if m.XForwarded != XForwardedNone {
		dst = r.appendXForwarded(dst, m.XForwarded == XForwardedAppend)
	}
	if !m.Forwarded {
		return dst
	}
	dst = x.appendLabel(append(dst, forwarded+": by="...), m.By, x.c.tc.Local)
	dst = x.appendLabel(append(dst, ";for="...), m.For, x.c.tc.Remote)
	if len(r.host) > 0 {
		dst = append(dst, ";host="...)
		if quoted := !all(r.host, charToken); quoted {
			dst = append(append(append(dst, '"'), r.host...), '"') // a host has neither quotes nor backslashes
		} else {
			dst = append(dst, r.host...)
		}
	}
	return append(dst, ";proto=http\r\n"...)
}

func (r *Request) appendXForwarded(dst []byte, keep bool) []byte {
	dst = append(dst, forwardedFor+": "...)
	hasHost, hasProto := false, false
	for i := range r.fields {
		switch name := r.name(i); {
		case !keep:
		case equalFold(name, forwardedFor) && len(r.val(i)) > 0:
			dst = append(append(dst, r.val(i)...), ", "...)
		case r.fields[i].drop: // the client's Connection names it
		case equalFold(name, forwardedHost):
			hasHost = true
		case equalFold(name, forwardedProto):
			hasProto = true
		}
	}
	dst = append(r.client.Addr().WithZone("").AppendTo(dst), "\r\n"...)
	if !hasHost && len(r.host) > 0 {
		dst = append(append(append(dst, forwardedHost+": "...), r.host...), "\r\n"...)
	}
	if !hasProto {
		dst = append(dst, forwardedProto+": http\r\n"...)
	}
	return dst
}

// appendLabel appends one end of the connection as a value of RFC 7239, section 4: quoted where it is no token.
func (x *exchange) appendLabel(dst []byte, l Labeler, end func() netip.AddrPort) []byte {
	switch l.Kind {
	case LabelStatic:
		return append(dst, l.Text...)
	case LabelConnection:
		if x.c.label == (randomLabel{}) {
			x.c.label = newLabel()
		}
		return append(dst, x.c.label[:]...)
	case LabelRequest:
		label := newLabel()
		return append(dst, label[:]...)
	}
	at := end()
	switch addr := at.Addr().WithZone(""); {
	case !addr.IsValid():
		return append(dst, "unknown"...)
	case l.Kind == LabelIPPort:
		return append(netip.AddrPortFrom(addr, at.Port()).AppendTo(append(dst, '"')), '"')
	case addr.Is6():
		return append(addr.AppendTo(append(dst, "\"["...)), "]\""...)
	default:
		return addr.AppendTo(dst)
	}
}
