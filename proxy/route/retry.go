package route

import (
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/resilience/retry"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// policyOf returns what the configuration says of requests. A router that serves the endpoints of its own node repeats nothing: the proxy
// that chose the endpoint does, and both together would multiply.
func policyOf(r *config.Router, s *config.Service, c *config.Client) resilience.Policy {
	p := resilience.Policy{
		Timeouts:     resilience.Timeouts{Total: s.TotalTimeout, Attempt: c.AttemptTimeout, Silence: c.ResponseIdleTimeout},
		CutsResponse: s.CutsResponse, ForwardsDeadlines: r.ForwardsDeadlines,
		Classifier: classifier(s.Classifier), TrustsClassHeaders: c.TrustsClassHeaders,
	}
	if s.Faults != (config.Faults{}) {
		f := resilience.Faults(s.Faults)
		p.Faults = &f
	}
	if r.IsLocal() && p.Classifier != classify.AllSuccessful {
		p.Classifier = classify.NonRetryable5XX
	}
	return p
}

func classifier(kind string) classify.Kind {
	switch kind {
	case v1alpha1.KindRetryableRead5XX:
		return classify.RetryableRead5XX
	case v1alpha1.KindRetryableIdempotent5XX:
		return classify.RetryableIdempotent5XX
	case v1alpha1.KindRetryableAll5XX:
		return classify.RetryableAll5XX
	case v1alpha1.KindAllSuccessful:
		return classify.AllSuccessful
	}
	return classify.NonRetryable5XX
}

// budget is that of a service's retries or a client's requeues. It changes with the configuration.
type budget struct {
	current   atomic.Pointer[retry.Budget]
	exhausted *telemetry.Counter
	// limited counts the requests that were not sent again because that was done so often already.
	limited *telemetry.Counter
}

// meter adds the metrics to the scope "retries".
func (b *budget) meter(s telemetry.Scope, clock func() int64) {
	b.exhausted, b.limited = s.Counter("budget_exhausted"), s.Counter("request_limit")
	s.GaugeFunc("budget", func() float64 {
		if current := b.current.Load(); current != nil {
			return float64(current.Balance(clock()))
		}
		return 0
	})
}

// set makes the budget follow the configuration; what was saved and spent is forgotten when that changes.
func (b *budget) set(c config.RetryBudget) {
	p := retry.DefaultPolicy
	if c != (config.RetryBudget{}) {
		p = retry.Policy{MinPerSecond: c.MinPerSecond, Percent: c.Percent, TTL: c.TTL}
	}
	if old := b.current.Load(); old == nil || old.Policy() != p {
		b.current.Store(retry.NewBudget(p))
	}
}

// withdraw reports whether one repetition is paid for.
func (b *budget) withdraw(shard uint32, nowNs int64) bool {
	if b.current.Load().Withdraw(nowNs) {
		return true
	}
	b.exhausted.Incr(shard)
	return false
}

// retryStats are the metrics of a service's retries.
type retryStats struct {
	total      *telemetry.Counter
	perRequest *telemetry.Histogram
}

func (s *service) retryBy(c config.RetryBudget) { s.budget.set(c) }

func (s *service) recordRetries(shard uint32, retries int) {
	if retries > 0 {
		s.retries.total.Add(shard, uint64(retries))
	}
	s.retries.perRequest.Add(shard, int64(retries))
}

// requeueStats are the metrics of a client's requeues.
type requeueStats struct {
	requeues, notOpen, cannotRetry *telemetry.Counter
	perRequest                     *telemetry.Histogram
}

func newRequeueStats(s telemetry.Scope) requeueStats {
	return requeueStats{
		requeues: s.Counter("requeues"), notOpen: s.Counter("not_open"), cannotRetry: s.Counter("cannot_retry"),
		perRequest: s.Histogram("requeues_per_request"),
	}
}

func (c *client) requeueBy(b config.RetryBudget) { c.budget.set(b) }

// recordRequeues counts what the request came to. A success allows a part of a requeue.
func (c *client) recordRequeues(shard uint32, r *Result) {
	if r.Class == classify.Success {
		c.budget.current.Load().Deposit(r.EndNs)
	}
	if r.Requeues > 0 {
		c.requeues.requeues.Add(shard, uint64(r.Requeues))
	}
	c.requeues.perRequest.Add(shard, int64(r.Requeues))
	if r.NotOpen {
		c.requeues.notOpen.Incr(shard)
	}
	if r.CannotRetry {
		c.requeues.cannotRetry.Incr(shard)
	}
}

// requeueShare is the share of its balance that one request may spend, as in Finagle.
const requeueShare = 5

// Begin counts one request towards what the service may retry.
func (l *Leaf) Begin(nowNs int64) { l.service.budget.current.Load().Deposit(nowNs) }

// Requeue reports whether a request that no endpoint has worked on, and which was requeued done times, may be sent once more.
func (l *Leaf) Requeue(shard uint32, nowNs int64, done int) bool {
	b := &l.client.budget
	if balance := b.current.Load().Balance(nowNs); done > 0 && int64(done) >= (balance+requeueShare-1)/requeueShare {
		b.limited.Incr(shard)
		return false
	}
	return b.withdraw(shard, nowNs)
}

// Retry reports where a request is sent once more after an attempt that failed, and after which wait; nil is nowhere. The name may lead
// somewhere else by then.
func (l *Leaf) Retry(shard uint32, nowNs int64, a *resilience.Attempt) (*Leaf, time.Duration) {
	if l.maxRetries == 0 {
		return nil, 0
	}
	s := l.service
	if a.Retries >= l.maxRetries {
		s.budget.limited.Incr(shard)
		return nil, 0
	}
	next := l
	if d := l.name.current.Load(); !d.pending && !d.unready() {
		var err *Error
		if next, err = d.draw(); err != nil || next.client == nil {
			return nil, 0
		}
	}
	wait := l.backoff.Next(a.Retries, a.LastWait)
	if a.Left > 0 && wait >= a.Left {
		return nil, 0 // there is no time for it, so it costs nothing
	}
	if !s.budget.withdraw(shard, nowNs) {
		return nil, 0
	}
	l.judged(classify.Retryable)
	l.client.metrics.record(shard, classify.Retryable, a.Reason, time.Duration(a.EndNs-a.StartNs))
	return next, wait
}
