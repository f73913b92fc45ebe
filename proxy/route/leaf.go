package route

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/backoff"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// Leaf is where one request goes: a client, reached from one name by one rule. It is immutable and shared by all such requests.
type Leaf struct {
	router  *Router
	service *service
	metrics *requestMetrics // of the service
	// client is nil where status answers.
	client      *client
	status      int
	addrs       naming.Live[naming.Addrs]
	headers     []byte
	name        *Name
	policy      resilience.Policy
	backoff     backoff.Backoff
	maxRetries  int
	most        int64 // requests under way at an endpoint
	chosen      bool
	destination *destination
	// passed are the leaves that requests for this one try now and then, isTrial says that this is such a one.
	passed  []*Leaf
	isTrial bool
}

// DestinationKey is a leaf of a rule of a Dtab object: what traffic is attributed to.
type DestinationKey struct {
	// Object is namespace/name, Index the position of the rule.
	Object string
	Index  int
	// Path is the leaf with what the rule appended to it.
	Path string
}

type destination struct {
	key      DestinationKey
	requests atomic.Int64
	users    int // guarded by Router.mu
}

// leaf makes the leaf of one bound name.
func (n *Name) leaf(t naming.Tree) (*Leaf, *Error) {
	var c *client
	if t.Bound.Status == 0 {
		var err *Error
		if c, err = n.router.acquireClient(t.Bound); err != nil {
			return nil, err
		}
	}
	cfg := n.router.settings.Load().router
	own, service := cfg.ClientFor(t.Bound.ID), cfg.ServiceFor(n.service.path)
	own.FailFast = own.FailFast && !cfg.IsLocal() // whoever chose the endpoint judges it
	if c != nil {
		c.follows(own)
	}
	l := &Leaf{
		router: n.router, name: n, service: n.service, metrics: n.router.meter(n.service), client: c, status: t.Bound.Status,
		addrs: t.Bound.Addrs, policy: policyOf(cfg, &service, &own), backoff: backoffOf(service.RetryBackoff),
		maxRetries: cmp.Or(service.MaxRetries, v1alpha1.DefaultMaxRetriesPerRequest),
		most:       int64(own.MaxPerEndpoint), chosen: n.chosen,
	}
	if cfg.IsLocal() {
		l.maxRetries = 0
	}
	n.service.retryBy(service.RetryBudget)
	l.headers = appendHeader(l.headers, "l5d-dst-service", n.service.path)
	l.headers = appendHeader(l.headers, "l5d-dst-client", t.Bound.ID)
	if len(t.Bound.Residual) > 0 {
		l.headers = appendHeader(l.headers, "l5d-dst-residual", t.Bound.Residual)
	}
	if len(n.local) > 0 {
		l.headers = append(append(append(l.headers, "l5d-ctx-dtab: "...), n.local.String()...), "\r\n"...)
	}
	if t.Source.Object != "" && t.Source.Object != naming.LocalObject {
		l.destination = n.router.acquireDestination(DestinationKey{t.Source.Object, t.Source.Index, t.Path.String()})
	}
	return l, nil
}

func appendHeader(dst []byte, name string, p dtab.Path) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, p.String()...)
	return append(dst, "\r\n"...)
}

func (l *Leaf) release() {
	if l.client != nil {
		l.router.releaseClient(l.client, l.addrs)
	}
	if l.destination != nil {
		l.router.releaseDestination(l.destination)
	}
}

func (r *Router) acquireDestination(key DestinationKey) *destination {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.destinations[key]
	if d == nil {
		d = &destination{key: key}
		r.destinations[key] = d
	}
	d.users++
	return d
}

// releaseDestination keeps what nothing leads to any more for the next report, as long as there is room.
func (r *Router) releaseDestination(d *destination) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.users--; d.users == 0 && len(r.destinations) > r.maxDestinations {
		delete(r.destinations, d.key)
	}
}

// Status returns the status that answers in place of an endpoint, or 0.
func (l *Leaf) Status() int { return l.status }

// ready reports whether the endpoints are known.
func (l *Leaf) ready() bool { return l.client == nil || l.client.ready.Load() }

// Pick returns an endpoint that is not among tried; the caller owes its Done. A leaf with a Status has none. The error says why there is
// no endpoint, as far as that is known.
func (l *Leaf) Pick(shard uint32, nowNs int64, tried []*balance.Node) (*balance.Node, error) {
	pick := l.client.balancer.Pick
	if l.isTrial {
		pick = l.client.balancer.PickTrial
	}
	node, err := pick(nowNs, tried, l.most)
	if errors.Is(err, balance.ErrNoEndpoints) {
		err = l.client.none(err)
	}
	if l.client.indexed && err == nil && node.Endpoint.Node != l.router.options.Node {
		l.router.chosen.remote.Incr(shard)
	}
	return node, err
}

// AppendHeaders appends the l5d-dst-* header lines.
func (l *Leaf) AppendHeaders(dst []byte) []byte { return append(dst, l.headers...) }

// Explain returns the logical name, where it leads, and how many endpoints are up there, for people.
func (l *Leaf) Explain(int64) string {
	text := "service " + l.service.path.String()
	if l.client == nil {
		return text
	}
	if tree := l.name.current.Load().String(); tree != "" {
		text += ", tree " + tree
	}
	text += ", client " + l.client.id.String()
	if b := l.client.balancer; len(b.Nodes()) > 0 {
		text = fmt.Sprintf("%s, %d of %d endpoints up", text, b.Available(), len(b.Nodes()))
	}
	if l.isTrial {
		text += ", passed over since it has no live endpoint, and tried by this request"
	}
	return text
}

// Policy returns what the configuration says of the logical and the bound name.
func (l *Leaf) Policy() *resilience.Policy { return &l.policy }

// Result is what became of one request.
type Result struct {
	Class  classify.Class
	Reason string
	// Latency is that of the whole request, AttemptLatency that of the last of 1+Retries attempts. Requeues counts the endpoints that it
	// was sent to beside those.
	Latency, AttemptLatency time.Duration
	Requeues, Retries       int
	// NotOpen says that there was no other endpoint in place of one that had no room, CannotRetry that the request was not kept.
	NotOpen, CannotRetry bool
	// Delayed and Aborted tell of faults that were injected.
	Delayed, Aborted bool
	EndNs            int64
}

// Record counts one request that ended.
func (l *Leaf) Record(shard uint32, r *Result) {
	l.metrics.record(shard, r.Class, r.Reason, r.Latency)
	l.service.recordRetries(shard, r.Retries)
	if l.client != nil {
		l.client.metrics.record(shard, r.Class, r.Reason, r.AttemptLatency)
		l.client.recordRequeues(shard, r)
	}
	if l.destination != nil {
		l.destination.requests.Add(1)
	}
	if r.Delayed {
		l.metrics.scope.Scope("faults").Counter("delayed").Incr(shard)
	}
	if !r.Aborted {
		l.judged(r.Class)
	} else {
		l.metrics.scope.Scope("faults").Counter("aborted").Incr(shard)
	}
}

// RecordHop counts how one request came to an endpoint that has a hop: through it, or directly since there was none that worked.
func (l *Leaf) RecordHop(shard uint32, taken bool, connectFailures, resends int) {
	h := &l.router.hops
	if taken {
		h.taken.Incr(shard)
	} else {
		h.missing.Incr(shard)
	}
	if connectFailures > 0 {
		h.connectFailures.Add(shard, uint64(connectFailures))
	}
	if resends > 0 {
		h.resends.Add(shard, uint64(resends))
	}
}

// hopStats count the ways by which requests came to endpoints that have a hop.
type hopStats struct {
	taken, missing, connectFailures, resends *telemetry.Counter
}

func newHopStats(s telemetry.Scope) hopStats {
	return hopStats{
		taken: s.Counter("taken"), missing: s.Counter("missing"),
		connectFailures: s.Counter("connect_failures"), resends: s.Counter("resends"),
	}
}

// requestMetrics are the metrics of a service or a client, as Linkerd names them.
type requestMetrics struct {
	scope                       telemetry.Scope
	requests, success, failures *telemetry.Counter
	latency                     *telemetry.Histogram
}

func newRequestMetrics(s telemetry.Scope) requestMetrics {
	return requestMetrics{
		scope: s, requests: s.Counter("requests"), success: s.Counter("success"), failures: s.Counter("failures"),
		latency: s.Histogram("request_latency_ms"),
	}
}

func (m *requestMetrics) record(shard uint32, class classify.Class, reason string, latency time.Duration) {
	m.requests.Incr(shard)
	switch class {
	case classify.Success:
		m.success.Incr(shard)
	case classify.Failure, classify.Retryable:
		m.failures.Incr(shard)
		if reason != "" {
			// Failures are rare and reasons few: this one look-up by name is worth a label.
			m.scope.Scope("failures").Counter(reason).Incr(shard)
		}
	}
	m.latency.AddDuration(shard, latency)
}
