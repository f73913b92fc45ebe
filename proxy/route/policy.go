package route

import (
	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/balance"
	"github.com/fairlead/fairlead/proxy/balance/aperture"
	"github.com/fairlead/fairlead/proxy/balance/ewma"
	"github.com/fairlead/fairlead/proxy/balance/heap"
	"github.com/fairlead/fairlead/proxy/balance/p2c"
	"github.com/fairlead/fairlead/proxy/balance/roundrobin"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/resilience/accrual"
	"github.com/fairlead/fairlead/proxy/resilience/backoff"
)

// policy returns the way to choose an endpoint that the configuration says; peak EWMA where it says nothing.
func policy(b config.LoadBalancer) balance.Policy {
	switch b.Kind {
	case v1alpha1.KindLoadBalancerP2C:
		return p2c.Policy{MaxEffort: b.MaxEffort}
	case v1alpha1.KindLoadBalancerAperture:
		return aperture.Policy{
			SmoothWindow: b.SmoothWindow, LowLoad: b.LowLoad, HighLoad: b.HighLoad, MinAperture: b.MinAperture, MaxEffort: b.MaxEffort,
		}
	case v1alpha1.KindLoadBalancerHeap:
		return heap.Policy{}
	case v1alpha1.KindLoadBalancerRoundRobin:
		return roundrobin.Policy{MaxEffort: b.MaxEffort}
	}
	return ewma.Policy{Decay: b.DecayTime, MaxEffort: b.MaxEffort}
}

// breakers returns what makes the judges of endpoints that the configuration says, Linkerd's default where it says nothing, and nil where
// nobody judges.
func breakers(a config.FailureAccrual) func() balance.Breaker {
	p := accrual.Policy{Failures: a.Failures, Rate: a.SuccessRate, Requests: a.Requests, Window: a.Window, Backoff: backoffOf(a.Backoff)}
	switch a.Kind {
	case v1alpha1.KindAccrualNone:
		return nil
	case v1alpha1.KindAccrualSuccessRate:
		p.Kind = accrual.SuccessRate
	case v1alpha1.KindAccrualSuccessRateWindowed:
		p.Kind = accrual.SuccessRateWindowed
	}
	return func() balance.Breaker { return p.New() }
}

func backoffOf(b config.Backoff) backoff.Backoff {
	out := backoff.Backoff{Min: b.Min, Max: b.Max}
	switch b.Kind {
	case v1alpha1.KindBackoffConstant:
		out.Kind = backoff.Constant
	case v1alpha1.KindBackoffJittered:
		out.Kind = backoff.Decorrelated
	}
	return out
}
