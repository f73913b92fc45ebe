package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Faults are injected into a share of the requests. Zero values say nothing.
type Faults struct {
	// DelayPercent of the requests wait for Delay, AbortPercent are answered with AbortStatus.
	DelayPercent, AbortPercent float64
	Delay                      time.Duration
	AbortStatus                int
}

func faultsOf(f *v1alpha1.Faults) Faults {
	var out Faults
	if f != nil && f.Delay != nil {
		out.DelayPercent, out.Delay = f.Delay.Percent, milliseconds(f.Delay.Ms)
	}
	if f != nil && f.Abort != nil {
		out.AbortPercent, out.AbortStatus = f.Abort.Percent, int(f.Abort.Status)
	}
	return out
}

// String tells of the faults, for people.
func (f Faults) String() string {
	var parts []string
	if f.DelayPercent > 0 {
		parts = append(parts, fmt.Sprintf("%v for %v %% of the requests", f.Delay, f.DelayPercent))
	}
	if f.AbortPercent > 0 {
		parts = append(parts, fmt.Sprintf("%d for %v %%", f.AbortStatus, f.AbortPercent))
	}
	return strings.Join(parts, ", ")
}

// Faults tells which faults the Mesh injects, for people; "" is none.
func (m *Mesh) Faults() string {
	var parts []string
	for i := range m.Routers {
		for _, s := range m.Routers[i].Services {
			if s.Faults != (Faults{}) {
				parts = append(parts, fmt.Sprintf("router %s, %s: %s", m.Routers[i].Name, s.Prefix, s.Faults))
			}
		}
	}
	return strings.Join(parts, "; ")
}

func faultRule(field string) rule {
	switch field {
	case "FaultDelay.percent", "FaultAbort.percent":
		return rule{required: true, least: 0.001, most: 100}
	case "FaultDelay.ms":
		return rule{required: true, min: 1, max: 600000}
	case "FaultAbort.status":
		return rule{required: true, min: 400, max: 599}
	}
	return rule{}
}
