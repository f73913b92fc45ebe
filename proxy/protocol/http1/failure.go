package http1

import "fmt"

// What can be wrong with a head. The messages name the rule, never the client's bytes.
var (
	errBareLF         = &Failure{400, ReasonBadHeader, "a line of the head does not end in CRLF"}
	errBadHeaderName  = &Failure{400, ReasonBadHeader, "a header line has no valid name before its colon, or is folded"}
	errBadHeaderValue = &Failure{400, ReasonBadHeader, "a header value holds a control character"}
	errBadRequestLine = &Failure{400, ReasonBadRequestLine, "the request line is not: method, target, HTTP version"}
	errTLS            = &Failure{400, ReasonTLS, "TLS was sent to a port that speaks plain-text HTTP: use http:// or another port"}
	errBadTarget      = &Failure{400, ReasonBadTarget, "the request target is neither a path nor an http URL"}
	errBadVersion     = &Failure{505, ReasonBadVersion, "only HTTP/1.0 and HTTP/1.1 are spoken here"}
	errNoHost         = &Failure{400, ReasonBadHost, "an HTTP/1.1 request needs exactly one Host header"}
	errBadHost        = &Failure{400, ReasonBadHost, "the Host header is not a host with an optional port"}
	errBadLength      = &Failure{400, ReasonBadContentLength, "Content-Length is not one number, sent once"}
	errLengthAndTE    = &Failure{400, ReasonBadTransferEncoding, "both Content-Length and Transfer-Encoding were sent"}
	errTEIn10         = &Failure{400, ReasonBadTransferEncoding, "Transfer-Encoding does not exist in HTTP/1.0"}
	errTETwice        = &Failure{400, ReasonBadTransferEncoding, "Transfer-Encoding was sent more than once"}
	errUnsupportedTE  = &Failure{501, ReasonUnsupportedTE, "the only transfer coding supported is chunked"}
	errBadConnection  = &Failure{400, ReasonBadConnection, "the Connection header is not a short list of names"}
	errBadAuthority   = &Failure{400, ReasonBadTarget, "the target of CONNECT is not a host and a port"}
	errConnectBody    = &Failure{400, ReasonConnectBody, "a CONNECT request has no body"}
	errLineTooLong    = &Failure{414, ReasonLineTooLong, "the request line is longer than allowed"}
	errHeaderTooLarge = &Failure{431, ReasonHeaderTooLarge, "the header lines are larger than allowed"}
	errTooManyHeaders = &Failure{431, ReasonTooManyHeaders, "there are more header lines than allowed"}
	errCallDepth      = &Failure{400, ReasonCallDepth, "the request passed through more proxies than allowed: it may run in a loop"}
	errHeaderTimeout  = &Failure{408, ReasonHeaderTimeout, "the request's head did not arrive in time"}
	errBodyTimeout    = &Failure{408, ReasonBodyTimeout, "the request's body did not arrive in time"}
	errBodySlow       = &Failure{408, ReasonBodySlow, "the request's body came slower than allowed"}
	errBadChunk       = &Failure{400, ReasonBadChunk, "the chunked body is malformed"}
	errBadTrailer     = &Failure{400, ReasonBadTrailer, "a trailer line is malformed"}
	errTrailerTooBig  = &Failure{431, ReasonHeaderTooLarge, "the trailers are larger than allowed"}
	errMaxForwards    = &Failure{400, ReasonMaxForwards, "Max-Forwards is not one number"}
	errOverload       = &Failure{503, ReasonOverload, "more requests are under way than allowed; nothing was done for this one"}
	errBusy           = &Failure{503, ReasonBusy, "every endpoint has as many requests under way as allowed; nothing was done for this one"}
	errNoRouter       = &Failure{502, ReasonNoRouter, "the proxy has no configuration yet"}
	errClientClosed   = &Failure{0, ReasonClientClosed, "the client closed its connection"}
	errClientStalled  = &Failure{0, ReasonClientStalled, "the client stopped reading"}
	errShutdown       = &Failure{0, ReasonShutdown, "the proxy shut down"}
	errBadResponse    = &Failure{502, ReasonBadResponse, "the endpoint's response is not valid HTTP/1"}
	errBigResponse    = &Failure{502, ReasonResponseTooLarge, "the endpoint's response head is larger than allowed"}
	errUpReset        = &Failure{502, ReasonUpstreamReset, "the endpoint reset the connection before it answered"}
	errUpClosed       = &Failure{502, ReasonUpstreamClosed, "the endpoint closed the connection before it answered"}
	errUpTruncated    = &Failure{502, ReasonUpstreamTruncated, "the endpoint's response ended early"}
	errUpIdle         = &Failure{503, ReasonUpstreamTimeout, "the endpoint was silent for too long"}
	errAttemptTimeout = &Failure{503, ReasonAttemptTimeout, "the endpoint did not answer within the attempt timeout"}
	errInterimAnswer  = &Failure{502, ReasonInterimAnswer, "the rules answer with a status below 200, which ends no request"}
	errTotalTimeout   = &Failure{503, ReasonTotalTimeout, "no answer within the total timeout"}
	errDeadline       = &Failure{503, ReasonDeadline, "no answer before the deadline that the request brought in l5d-ctx-deadline"}
)

// isNack reports whether f says that nothing was done for the request and nothing is wrong with it: it may be sent elsewhere at once.
func (f *Failure) isNack() bool { return f.Reason == ReasonOverload || f.Reason == ReasonBusy }

// isConnect reports whether the endpoint could not be connected to, as far as the network tells.
func (f *Failure) isConnect() bool {
	return f.Reason == ReasonConnectRefused || f.Reason == ReasonConnectTimeout || f.Reason == ReasonConnectError
}

// withLimit returns f with the limit that was passed, and with the field of the router that sets it, where there is one.
func (f *Failure) withLimit(l *Limits) *Failure {
	limit := ""
	switch f {
	case errLineTooLong:
		limit = fmt.Sprintf("%d bytes; see maxInitialLineKB", l.RequestLine)
	case errHeaderTooLarge, errTrailerTooBig:
		limit = fmt.Sprintf("%d bytes; see maxHeadersKB", l.HeaderBytes)
	case errBodySlow:
		limit = fmt.Sprintf("%d bytes a second after %v; see minBodyBytesPerSecond", l.BodyRate, l.BodyGrace)
	case errTooManyHeaders:
		limit = fmt.Sprintf("%d lines", l.Headers)
	case errCallDepth:
		limit = fmt.Sprintf("%d; see maxCallDepth", l.CallDepth)
	default:
		return f
	}
	return &Failure{f.Status, f.Reason, f.Message + " (" + limit + ")"}
}

// asResponse turns what the scanner found in a response into the failure of that response.
func asResponse(f *Failure) *Failure {
	switch f {
	case nil:
		return nil
	case errHeaderTooLarge, errTooManyHeaders, errLineTooLong, errTrailerTooBig:
		return errBigResponse
	}
	return errBadResponse
}
