package config

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// balancerKinds are the kinds of load balancers there are.
var balancerKinds = []string{
	v1alpha1.KindLoadBalancerEWMA, v1alpha1.KindLoadBalancerP2C, v1alpha1.KindLoadBalancerAperture, v1alpha1.KindLoadBalancerHeap,
	v1alpha1.KindLoadBalancerRoundRobin,
}

// LoadBalancer says how the endpoint of a request is picked. Which fields count depends on Kind; zero values mean its defaults. Two that
// are == do the same. An empty Kind says nothing.
type LoadBalancer struct {
	Kind                    string
	MaxEffort               int
	DecayTime, SmoothWindow time.Duration
	LowLoad, HighLoad       float64
	MinAperture             int
	// SlowStart is 0 where there is none; SlowStartLeast is a share, from 0 to 1.
	SlowStart      time.Duration
	SlowStartLeast float64
	// SpillFactor is 0 where no zone is preferred.
	SpillFactor float64
}

func balancerOf(b *v1alpha1.LoadBalancer) LoadBalancer {
	if b == nil {
		return LoadBalancer{}
	}
	out := LoadBalancer{
		Kind: b.Kind, MaxEffort: int(b.MaxEffort), DecayTime: milliseconds(b.DecayTimeMs), SmoothWindow: milliseconds(b.SmoothWindowMs),
		LowLoad: b.LowLoad, HighLoad: b.HighLoad, MinAperture: int(b.MinAperture),
	}
	if s := b.SlowStart; s != nil {
		out.SlowStart, out.SlowStartLeast = milliseconds(s.WindowMs), float64(cmp.Or(s.MinPercent, v1alpha1.DefaultSlowStartMinPercent))/100
	}
	if z := b.ZonePreference; z != nil {
		out.SpillFactor = cmp.Or(z.SpillFactor, v1alpha1.DefaultSpillFactor)
	}
	return out
}

// checkBalancer checks which keys belong to which kind, and what the schema cannot say.
func checkBalancer(ps *problems, field string, b *v1alpha1.LoadBalancer) {
	if b == nil || !slices.Contains(balancerKinds, b.Kind) {
		return // the rule of the schema says so
	}
	const ewma, aperture = v1alpha1.KindLoadBalancerEWMA, v1alpha1.KindLoadBalancerAperture
	checkKindKeys(ps, field, b.Kind,
		kindKey{"maxEffort", []string{ewma, v1alpha1.KindLoadBalancerP2C, aperture, v1alpha1.KindLoadBalancerRoundRobin}, b.MaxEffort != 0, false},
		kindKey{"decayTimeMs", []string{ewma}, b.DecayTimeMs != 0, false},
		kindKey{"smoothWindowMs", []string{aperture}, b.SmoothWindowMs != 0, false},
		kindKey{"lowLoad", []string{aperture}, b.LowLoad != 0, false},
		kindKey{"highLoad", []string{aperture}, b.HighLoad != 0, false},
		kindKey{"minAperture", []string{aperture}, b.MinAperture != 0, false},
	)
	low, high := v1alpha1.DefaultLowLoad, v1alpha1.DefaultHighLoad
	if b.LowLoad != 0 {
		low = b.LowLoad
	}
	if b.HighLoad != 0 {
		high = b.HighLoad
	}
	if b.Kind == aperture && low >= high {
		ps.at(field+".lowLoad", "expected less than highLoad, %v, found %v", high, low)
	}
}

func balancerRule(field string) rule {
	switch field {
	case "kind":
		return rule{required: true, enum: balancerKinds}
	case "maxEffort":
		return rule{min: 1, max: 100}
	case "decayTimeMs", "smoothWindowMs":
		return rule{min: 1, max: maxTimeoutMs}
	case "lowLoad", "highLoad":
		return rule{least: 0.01, most: 1000}
	case "minAperture":
		return rule{min: 1, max: 100000}
	case "windowMs":
		return rule{required: true, min: 1, max: maxTimeoutMs}
	case "spillFactor":
		return rule{least: 1, most: 1000}
	case "minPercent":
		return rule{min: 1, max: 100}
	}
	return rule{}
}
