package app

import (
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/route"
)

// Pick implements http1.Target.
func (t *target) Pick(shard uint32, nowNs int64, req *http1.Request, tried []*balance.Node) (*balance.Node, error) {
	if l := t.leaf(); l.IsChosen() {
		return l.PickChosen(shard, nowNs, req.Endpoint(), tried)
	}
	return t.leaf().Pick(shard, nowNs, tried)
}

// Status implements http1.Target.
func (t *target) Status() int { return t.leaf().Status() }

// AppendHeaders implements http1.Target.
func (t *target) AppendHeaders(dst []byte) []byte { return t.leaf().AppendHeaders(dst) }

// Explain implements http1.Target.
func (t *target) Explain(nowNs int64) string { return t.leaf().Explain(nowNs) }

// Diagnose implements http1.Target.
func (t *target) Diagnose(nowNs int64) string { return t.leaf().Diagnose(nowNs) }

// Policy implements http1.Target.
func (t *target) Policy() *resilience.Policy { return t.leaf().Policy() }

// Begin implements http1.Target.
func (t *target) Begin(nowNs int64) { t.leaf().Begin(nowNs) }

// Requeue implements http1.Target.
func (t *target) Requeue(shard uint32, nowNs int64, done int) bool {
	return t.leaf().Requeue(shard, nowNs, done)
}

// Retry implements http1.Target.
func (t *target) Retry(shard uint32, nowNs int64, a *resilience.Attempt) (http1.Target, time.Duration) {
	next, wait := t.leaf().Retry(shard, nowNs, a)
	if next == nil {
		return nil, 0
	}
	return (*target)(next), wait
}

// Finish implements http1.Target.
func (t *target) Finish(shard uint32, o *http1.Outcome) {
	t.leaf().Record(shard, &route.Result{
		Class: o.Class, Reason: o.Reason, Latency: time.Duration(o.LatencyNs()), AttemptLatency: time.Duration(o.EndNs - o.AttemptNs),
		Requeues: o.ConnectRetries + o.Resends, Retries: o.Retries, NotOpen: o.NotOpen, CannotRetry: o.CannotRetry, EndNs: o.EndNs,
		Delayed: o.Delayed, Aborted: o.Aborted,
	})
	if o.Hop != http1.HopNone {
		t.leaf().RecordHop(shard, o.Hop == http1.HopTaken, o.HopFailures, o.HopResends)
	}
}

// isOverridden reports whether the request brought rules of its own.
func isOverridden(req *http1.Request) bool {
	return req.HeaderValue(headerDtab) != nil || req.HeaderValue(headerContextDtab) != nil
}
