package telemetry

import "sync/atomic"

// Gauge is a whole number that goes up and down, such as open connections. Fractions and values that are cheap to compute when
// read belong in Scope.GaugeFunc.
type Gauge struct{ n atomic.Int64 }

// Set replaces the value.
func (g *Gauge) Set(v int64) { g.n.Store(v) }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Value returns the current value.
func (g *Gauge) Value() int64 { return g.n.Load() }

// GaugeFunc is what Scope.GaugeFunc registered, as a walk of the tree shows it.
type GaugeFunc struct{ value func() float64 }

// Value calls the function.
func (g *GaugeFunc) Value() float64 { return g.value() }
