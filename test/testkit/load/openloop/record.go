package openloop

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxFailures is how many failures are kept one by one; all are counted.
	maxFailures = 1000
	// maxOutcomes and maxVersions bound what a server under test can make the recorder hold. What is over goes into one that is
	// called "other".
	maxOutcomes, maxVersions = 200, 100
	other                    = "other"
	// bucketsPerDoubling makes a latency bucket 9 % wide.
	bucketsPerDoubling = 8
	buckets            = 40 * bucketsPerDoubling
)

// Sample is one request and what became of it.
type Sample struct {
	// Start is when it was sent; Latency counts from when it should have been sent, so a late generator hides nothing.
	Start   time.Time     `json:"start"`
	Latency time.Duration `json:"latencyNs"`
	// Status is 0 where no response came.
	Status  int    `json:"status"`
	Version string `json:"version,omitempty"`
	// Error is the client's, without addresses; Reason is the header l5d-err.
	Error  string `json:"error,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Kept says that it was to use a kept connection; Retried that the client sent it twice, because a kept connection ended.
	Kept    bool   `json:"kept,omitempty"`
	Retried bool   `json:"retried,omitempty"`
	Body    string `json:"body,omitempty"`
}

// Failed reports whether a user would call it a failure. One that succeeded on a second connection counts: not every client
// tries again.
func (s *Sample) Failed() bool {
	return s.Error != "" || s.Retried || s.Status < 200 || s.Status > 299
}

// Outcome is a kind of result and how often it was seen.
type Outcome struct {
	Status  int    `json:"status"`
	Version string `json:"version,omitempty"`
	Error   string `json:"error,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Retried bool   `json:"retried,omitempty"`
	Count   int    `json:"count"`
}

// Span is when requests that a version answered were sent.
type Span struct {
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Summary is all that was recorded.
type Summary struct {
	// Sent is the number of requests begun, Done of those that ended; NotSent is how many were not sent because too many were
	// under way, each of them a failure.
	Sent, Done, NotSent, Failed int
	// Failures are the first 1,000.
	Failures []Sample
	Outcomes []Outcome
	Versions map[string]Span
	// P50, P99 and Max of the latency; the first two are upper bounds within 9 %.
	P50, P99, Max time.Duration
}

// Recorder counts. It is safe for concurrent use, and its size is bounded.
type Recorder struct {
	mu        sync.Mutex
	sum       Summary
	outcomes  map[Outcome]int
	latencies [buckets]int
}

// NewRecorder returns an empty one.
func NewRecorder() *Recorder {
	return &Recorder{sum: Summary{Versions: map[string]Span{}}, outcomes: map[Outcome]int{}}
}

func (r *Recorder) sent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Sent++
}

func (r *Recorder) notSent(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.NotSent++
	r.fail(&Sample{Start: at, Error: "not sent: too many under way"})
}

// Record counts a request that ended.
func (r *Recorder) Record(s *Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Done++
	r.count(s)
	r.span(s)
	r.latencies[bucketOf(s.Latency)]++
	r.sum.Max = max(r.sum.Max, s.Latency)
	if s.Failed() {
		r.fail(s)
	}
}

func (r *Recorder) fail(s *Sample) {
	r.sum.Failed++
	if len(r.sum.Failures) < maxFailures {
		r.sum.Failures = append(r.sum.Failures, *s)
	}
}

func (r *Recorder) count(s *Sample) {
	key := Outcome{Status: s.Status, Version: s.Version, Error: s.Error, Reason: s.Reason, Retried: s.Retried}
	if _, known := r.outcomes[key]; !known && len(r.outcomes) >= maxOutcomes {
		key = Outcome{Status: s.Status, Error: other}
	}
	r.outcomes[key]++
}

func (r *Recorder) span(s *Sample) {
	if s.Version == "" {
		return
	}
	version := s.Version
	span, known := r.sum.Versions[version]
	if !known && len(r.sum.Versions) >= maxVersions {
		version = other
		span, known = r.sum.Versions[version]
	}
	span.Count++
	if !known || s.Start.Before(span.First) {
		span.First = s.Start
	}
	if s.Start.After(span.Last) {
		span.Last = s.Start
	}
	r.sum.Versions[version] = span
}

// Summary returns a copy of what was recorded until now.
func (r *Recorder) Summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.sum
	out.Failures = slices.Clone(r.sum.Failures)
	out.Versions = make(map[string]Span, len(r.sum.Versions))
	for version, span := range r.sum.Versions {
		out.Versions[version] = span
	}
	for key, count := range r.outcomes {
		key.Count = count
		out.Outcomes = append(out.Outcomes, key)
	}
	slices.SortFunc(out.Outcomes, func(a, b Outcome) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Version+a.Error+a.Reason, b.Version+b.Error+b.Reason)
	})
	out.P50, out.P99 = r.quantile(0.5), r.quantile(0.99)
	return out
}

func bucketOf(latency time.Duration) int {
	micros := max(1, float64(latency)/float64(time.Microsecond))
	return min(buckets-1, int(math.Ceil(math.Log2(micros)*bucketsPerDoubling)))
}

func (r *Recorder) quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(r.sum.Done)))
	if rank == 0 {
		return 0
	}
	for i, n := range r.latencies {
		if rank -= n; rank <= 0 {
			bound := time.Duration(math.Exp2(float64(i)/bucketsPerDoubling) * float64(time.Microsecond))
			return min(bound, r.sum.Max)
		}
	}
	return r.sum.Max
}
