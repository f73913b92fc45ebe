package app

import (
	"time"

	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
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

// Names implements http1.Target.
func (t *target) Names() (service, client string) { return t.leaf().Names() }

// Timeouts implements http1.Target.
func (t *target) Timeouts() http1.Timeouts { return http1.Timeouts(t.leaf().Timeouts()) }

// Finish implements http1.Target.
func (t *target) Finish(shard uint32, o *http1.Outcome) {
	t.leaf().Record(shard, o.Class, o.Reason, time.Duration(o.LatencyNs()), o.ConnectRetries+o.Resends)
	if o.Hop != http1.HopNone {
		t.leaf().RecordHop(shard, o.Hop == http1.HopTaken, o.HopFailures, o.HopResends)
	}
}

// isOverridden reports whether the request brought rules of its own.
func isOverridden(req *http1.Request) bool {
	return req.HeaderValue(headerDtab) != nil || req.HeaderValue(headerContextDtab) != nil
}
