package http1

import (
	"strconv"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// answer gives the status that the rules ask for, without a body. It is a response like that of an endpoint, so it has no l5d-err.
func (x *exchange) answer(status int) bool { return x.answerMessage(status, "", nil) }

// answerMessage is answer with a body of this content type, or with none.
func (x *exchange) answerMessage(status int, content string, message []byte) bool {
	closing := !x.skipBody() || x.req.close || x.s.draining.Load()
	if status < 200 {
		return x.refuse(errInterimAnswer, closing)
	}
	x.o.HeadNs = transport.Now()
	x.o.Status, x.o.Class = status, classify.NonRetryable5XX.Response(status, false)
	x.linger = closing
	x.takeOut(transport.SmallBuffer)
	b := appendStatusLine(x.b, status)
	if message != nil {
		b = append(append(b, "\r\nContent-Type: "...), content...)
	}
	switch {
	case status == 204, status == 304: // RFC 9110, section 8.6: not in a 204, and in a 304 it would be that of the 200
	case x.req.connect && status < 300: // nor here, says the same section
	default:
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(message)), 10)
	}
	switch {
	case closing:
		b = append(b, "\r\nConnection: close"...)
	case x.req.minor == 0:
		b = append(b, "\r\nConnection: keep-alive"...)
	}
	x.b = append(append(b, "\r\n\r\n"...), message...)
	x.o.ResponseBytes = int64(len(message))
	x.leave()
	if _, err := x.c.tc.Write(x.b, x.limits.StallTimeout, nil); err != nil {
		fail := clientFailure(err)
		x.o.Reason, x.o.Class = fail.Reason, classify.Ignored
		x.linger = false
		return false
	}
	return !closing
}

// appendStatusLine appends the first line of a response made here, without its CRLF.
func appendStatusLine(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	return append(b, reasonPhrases[status]...) // which may be empty: RFC 9112, section 4
}

// reasonPhrases are those of the IANA registry.
var reasonPhrases = map[int]string{
	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content", 205: "Reset Content",
	206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 305: "Use Proxy",
	307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 409: "Conflict", 410: "Gone",
	411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type",
	416: "Range Not Satisfiable", 417: "Expectation Failed", 421: "Misdirected Request", 422: "Unprocessable Content", 423: "Locked",
	424: "Failed Dependency", 425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
	505: "HTTP Version Not Supported", 506: "Variant Also Negotiates", 507: "Insufficient Storage", 508: "Loop Detected",
	511: "Network Authentication Required",
}
