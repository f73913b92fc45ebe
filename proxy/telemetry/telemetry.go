// Package telemetry is the metric tree: counters, gauges and histograms that a request writes without a lock, an allocation or
// a look-up by name. Exporters are child packages; this package itself only renders Linkerd's flat JSON.
package telemetry

// Scope is a place in the metric tree. Names are joined by "/" as in Linkerd (rt/outgoing/server/0.0.0.0/4140/requests).
// All methods are safe from any goroutine. Asking twice for one name returns the same metric.
//
// One name passed to Scope is one step of the tree even if it holds slashes, because exporters turn the step after rt, server,
// service and client into a label value: Scope("client", "#/io.l5d.fs/web"), never Scope("client", "#", "io.l5d.fs", "web").
// A metric's own name is cut at slashes: Counter("retries/total") is Scope("retries").Counter("total").
//
// Every method costs a lock and perhaps an allocation, so it belongs where a router, service or client is built. What it
// returns is what a request writes to.
type Scope interface {
	// Scope returns the place below by the given names.
	Scope(names ...string) Scope
	Counter(name string) *Counter
	Gauge(name string) *Gauge
	// GaugeFunc registers a gauge that is computed when it is read, replacing an earlier function of that name. The function
	// is called from any goroutine, must not block and must not use the tree.
	GaugeFunc(name string, value func() float64)
	// Histogram returns a histogram. The unit follows from the name; see Histogram.
	Histogram(name string) *Histogram
	// Close removes the place and all below it from the tree. Metrics already handed out go on working, unseen.
	// A place is one however many asked for it, so it needs one owner: close the old before its successor asks for the name.
	Close()
}
