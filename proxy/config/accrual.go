package config

import (
	"slices"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

var (
	accrualKinds = []string{
		v1alpha1.KindAccrualConsecutiveFailures, v1alpha1.KindAccrualSuccessRate, v1alpha1.KindAccrualSuccessRateWindowed, v1alpha1.KindAccrualNone,
	}
	backoffKinds = []string{v1alpha1.KindBackoffConstant, v1alpha1.KindBackoffJittered}
)

// FailureAccrual says when an endpoint is left alone. Which fields count depends on Kind. Two that are == do the same. An empty Kind says
// nothing.
type FailureAccrual struct {
	Kind        string
	Failures    int
	SuccessRate float64
	Requests    int
	Window      time.Duration
	Backoff     Backoff
}

// Backoff is a series of waits. Min is the only one of kind constant. An empty Kind says nothing.
type Backoff struct {
	Kind     string
	Min, Max time.Duration
}

func accrualOf(a *v1alpha1.FailureAccrual) FailureAccrual {
	if a == nil {
		return FailureAccrual{}
	}
	return FailureAccrual{
		Kind: a.Kind, Failures: int(a.Failures), SuccessRate: a.SuccessRate, Requests: int(a.Requests),
		Window: time.Duration(a.Window) * time.Second, Backoff: backoffOf(a.Backoff),
	}
}

func backoffOf(b *v1alpha1.Backoff) Backoff {
	switch {
	case b == nil:
		return Backoff{}
	case b.Kind == v1alpha1.KindBackoffConstant:
		return Backoff{Kind: b.Kind, Min: milliseconds(b.Ms)}
	}
	return Backoff{Kind: b.Kind, Min: milliseconds(b.MinMs), Max: milliseconds(b.MaxMs)}
}

// kindKey is a key that belongs to some kinds.
type kindKey struct {
	name          string
	kinds         []string
	set, required bool
}

// checkKindKeys refuses keys of other kinds and the absence of those that the kind requires.
func checkKindKeys(ps *problems, field, kind string, keys ...kindKey) {
	for _, key := range keys {
		switch belongs := slices.Contains(key.kinds, kind); {
		case key.set && !belongs:
			ps.at(field+"."+key.name, "key %s does not belong to kind %s, but to %s", key.name, kind, orList(key.kinds))
		case !key.set && belongs && key.required:
			ps.at(field+"."+key.name, "required for kind %s", kind)
		}
	}
}

func checkAccrual(ps *problems, field string, a *v1alpha1.FailureAccrual) {
	if a == nil || !slices.Contains(accrualKinds, a.Kind) {
		return // the rule of the schema says so
	}
	const (
		consecutive, rate, windowed = v1alpha1.KindAccrualConsecutiveFailures, v1alpha1.KindAccrualSuccessRate, v1alpha1.KindAccrualSuccessRateWindowed
	)
	checkKindKeys(ps, field, a.Kind,
		kindKey{"failures", []string{consecutive}, a.Failures != 0, true},
		kindKey{"successRate", []string{rate, windowed}, a.SuccessRate != 0, true},
		kindKey{"requests", []string{rate}, a.Requests != 0, true},
		kindKey{"window", []string{windowed}, a.Window != 0, true},
		kindKey{"backoff", []string{consecutive, rate, windowed}, a.Backoff != nil, false},
	)
	checkBackoff(ps, field+".backoff", a.Backoff)
}

func checkBackoff(ps *problems, field string, b *v1alpha1.Backoff) {
	if b == nil || !slices.Contains(backoffKinds, b.Kind) {
		return
	}
	const constant, jittered = v1alpha1.KindBackoffConstant, v1alpha1.KindBackoffJittered
	checkKindKeys(ps, field, b.Kind,
		kindKey{"ms", []string{constant}, b.Ms != 0, false},
		kindKey{"minMs", []string{jittered}, b.MinMs != 0, true},
		kindKey{"maxMs", []string{jittered}, b.MaxMs != 0, true},
	)
	if b.Kind == jittered && b.MaxMs != 0 && b.MinMs > b.MaxMs {
		ps.at(field+".minMs", "expected at most maxMs, %d, found %d", b.MaxMs, b.MinMs)
	}
}

func accrualRule(field string) rule {
	switch field {
	case "kind":
		return rule{required: true, enum: accrualKinds}
	case "failures", "requests":
		return rule{min: 1, max: 1000000}
	case "successRate":
		return rule{least: 0.001, most: 1}
	case "window":
		return rule{min: 1, max: 86400}
	}
	return rule{}
}

func backoffRule(field string) rule {
	switch field {
	case "kind":
		return rule{required: true, enum: backoffKinds}
	case "ms":
		return rule{min: 0, max: maxTimeoutMs}
	case "minMs", "maxMs":
		return rule{min: 1, max: maxTimeoutMs}
	}
	return rule{}
}
