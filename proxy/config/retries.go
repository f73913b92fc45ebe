package config

import (
	"cmp"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

var classifierKinds = []string{
	v1alpha1.KindNonRetryable5XX, v1alpha1.KindRetryableRead5XX, v1alpha1.KindRetryableIdempotent5XX, v1alpha1.KindRetryableAll5XX,
	v1alpha1.KindAllSuccessful,
}

// Defaults of a RetryBudget, as in Linkerd.
const (
	defaultMinRetriesPerSec = 10
	defaultPercentCanRetry  = 0.2
	defaultTTLSecs          = 10
)

// RetryBudget bounds how many requests are sent again. The zero value says nothing; TTL is never 0 otherwise.
type RetryBudget struct {
	MinPerSecond int
	Percent      float64
	TTL          time.Duration
}

func budgetOf(b *v1alpha1.RetryBudget) RetryBudget {
	if b == nil {
		return RetryBudget{}
	}
	out := RetryBudget{
		MinPerSecond: defaultMinRetriesPerSec, Percent: defaultPercentCanRetry,
		TTL: time.Duration(cmp.Or(b.TTLSecs, defaultTTLSecs)) * time.Second,
	}
	if b.MinRetriesPerSec != nil {
		out.MinPerSecond = int(*b.MinRetriesPerSec)
	}
	if b.PercentCanRetry != nil {
		out.Percent = *b.PercentCanRetry
	}
	return out
}

func serviceOf(ps *problems, field string, s *v1alpha1.Service) Service {
	out := Service{
		Prefix:       parsePrefix(ps, field+".prefix", s.Prefix),
		TotalTimeout: milliseconds(s.TotalTimeoutMs), CutsResponse: s.TotalTimeoutCutsResponse, Faults: faultsOf(s.Faults),
	}
	if s.ResponseClassifier != nil {
		out.Classifier = s.ResponseClassifier.Kind
	}
	if r := s.Retries; r != nil {
		out.RetryBudget, out.RetryBackoff, out.MaxRetries = budgetOf(r.Budget), backoffOf(r.Backoff), int(r.MaxPerRequest)
		checkBackoff(ps, field+".retries.backoff", r.Backoff)
	}
	return out
}

func serviceRule(field string) rule {
	switch field {
	case "ResponseClassifier.kind":
		return rule{required: true, enum: classifierKinds}
	case "Retries.maxPerRequest":
		return rule{min: 1, max: 100}
	case "RetryBudget.minRetriesPerSec":
		return rule{min: 0, max: 1000000}
	case "RetryBudget.percentCanRetry":
		return rule{least: 0, most: 1000}
	case "RetryBudget.ttlSecs":
		return rule{min: 1, max: 60}
	}
	return faultRule(field)
}
