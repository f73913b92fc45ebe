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
