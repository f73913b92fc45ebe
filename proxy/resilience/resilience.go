// Package resilience says what a request may cost: how long it takes, what of it counts as failed, when it is sent again. The packages below
// do it.
package resilience

import (
	"time"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// Policy is what the configuration says of the requests to one client by one name. It is immutable.
type Policy struct {
	Timeouts
	// CutsResponse makes Total, and the deadline that a request brings, bound the response to its end.
	CutsResponse bool
	// ForwardsDeadlines says that the deadline that a request brings ends nothing: the endpoint is told, as in Linkerd.
	ForwardsDeadlines bool
	// Classifier says what failed, and what of it may be sent again.
	Classifier classify.Kind
	// TrustsClassHeaders believes l5d-success-class and l5d-retryable in the responses of endpoints.
	TrustsClassHeaders bool
	// Faults are injected on purpose; nil: none.
	Faults *Faults
}

// Faults are injected into a share of the requests.
type Faults struct {
	// DelayPercent of the requests wait for Delay, AbortPercent are answered with AbortStatus.
	DelayPercent, AbortPercent float64
	Delay                      time.Duration
	AbortStatus                int
}

// Timeouts of one request. 0 means none.
type Timeouts struct {
	// Total and Attempt run from the request's head to the response's head, for all attempts and for each.
	Total, Attempt time.Duration
	// Silence is how long the endpoint may send nothing before or within its response.
	Silence time.Duration
}

// Attempt is one that failed, of a request that may be sent again.
type Attempt struct {
	// Retries is how often that was done already, and LastWait the wait before the last time.
	Retries  int
	LastWait time.Duration
	// Left is what remains until the request has to be over; 0 means no limit.
	Left time.Duration
	// Reason is that of the failure, or the status of the response.
	Reason string
	// StartNs and EndNs are monotonic nanoseconds.
	StartNs, EndNs int64
}
