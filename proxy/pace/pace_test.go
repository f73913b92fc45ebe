package pace

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pace
		time.Sleep(time.Hour) // of the bubble
		for step, want := range []time.Duration{0, 0, rest, 0, rest, 0} {
			before := time.Now()
			p.Step()
			if got := time.Since(before); got != want {
				t.Errorf("step %d: rested for %v, want %v", step, got, want)
			}
			time.Sleep(work / 2) // of the bubble
		}
	})
}
