package http1

import (
	"math/rand/v2"
	"time"

	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/transport"
)

// inject lets the request have its share of the faults that are asked for. It returns a failure if the request ends by that.
func (x *exchange) inject(f *resilience.Faults) *Failure {
	if rand.Float64()*100 < f.DelayPercent { //nolint:gosec // no secret
		x.o.Delayed = true
		wait := f.Delay
		if left := x.left(transport.Now()); left > 0 {
			wait = min(wait, time.Duration(left))
		}
		if fail := x.pause(wait); fail != nil {
			return fail
		}
		if fail := x.expired(transport.Now()); fail != nil {
			return fail
		}
	}
	if rand.Float64()*100 < f.AbortPercent { //nolint:gosec // no secret
		x.o.Aborted = true
		return &Failure{f.AbortStatus, ReasonFault, "this share of the requests is answered so on purpose; see faults of the Mesh"}
	}
	return nil
}
