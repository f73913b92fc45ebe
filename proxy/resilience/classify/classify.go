// Package classify names the outcomes of a request as balancers, retries and metrics see them.
package classify

// Class is what an attempt at an endpoint came to.
type Class uint8

const (
	// Success is a response the service meant to give.
	Success Class = iota
	// Failure is a response or an error that counts against the endpoint and may not be repeated.
	Failure
	// Retryable is a failure of a request that may be sent again.
	Retryable
	// Ignored says nothing about the endpoint: the client went away, or the request was refused before it was sent.
	Ignored
)

// String returns the class as metrics and logs print it.
func (c Class) String() string {
	switch c {
	case Success:
		return "success"
	case Failure:
		return "failure"
	case Retryable:
		return "retryable"
	}
	return "ignored"
}

// Status classifies an HTTP response by its status code as Linkerd's io.l5d.http.nonRetryable5XX does: 5xx is a failure.
func Status(code int) Class {
	if code >= 500 {
		return Failure
	}
	return Success
}
