// Package classify names the outcomes of a request as balancers, retries and metrics see them (Linkerd's response classifiers).
package classify

import "strconv"

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

// IsFailure reports whether the class counts against the endpoint.
func (c Class) IsFailure() bool { return c == Failure || c == Retryable }

// Kind is a response classifier, as in Linkerd 1.x. 5xx responses, and requests that got none, are failures; the kinds differ in which
// of them may be repeated.
type Kind uint8

const (
	// NonRetryable5XX repeats none. It is the default.
	NonRetryable5XX Kind = iota
	// RetryableRead5XX repeats GET, HEAD, OPTIONS and TRACE.
	RetryableRead5XX
	// RetryableIdempotent5XX repeats also PUT and DELETE.
	RetryableIdempotent5XX
	// RetryableAll5XX repeats also POST and PATCH.
	RetryableAll5XX
	// AllSuccessful takes every response for a success, and repeats none.
	AllSuccessful
)

// Response classifies a response by its status code. repeats is what Repeats says of its request.
func (k Kind) Response(status int, repeats bool) Class {
	if status < 500 || k == AllSuccessful {
		return Success
	}
	return Failed(repeats)
}

// Failed returns the class of a failure of a request that may be sent again or not.
func Failed(repeats bool) Class {
	if repeats {
		return Retryable
	}
	return Failure
}

// Repeats reports whether a failed request of the method, which is as it was sent, may be sent again.
func (k Kind) Repeats(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return k >= RetryableRead5XX && k <= RetryableAll5XX
	case "PUT", "DELETE":
		return k == RetryableIdempotent5XX || k == RetryableAll5XX
	case "POST", "PATCH":
		return k == RetryableAll5XX
	}
	return false
}

// SuccessClass reads the value of l5d-success-class: the share of a success that a response is, above 0 for a success. What is no number
// is a failure, as in Linkerd.
func SuccessClass(value []byte) Class {
	if f, err := strconv.ParseFloat(string(value), 64); err == nil && f > 0 {
		return Success
	}
	return Failure
}
