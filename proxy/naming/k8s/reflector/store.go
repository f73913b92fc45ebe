package reflector

import (
	"context"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// counting is the store as client-go sees it.
type counting struct {
	cache.ReflectorStore
	r *Reflector
}

// Replace implements cache.ReflectorStore.
func (c counting) Replace(list []any, version string) error {
	c.r.relists.Incr(0)
	c.r.heard()
	return c.ReflectorStore.Replace(list, version)
}

// Transformer implements cache.TransformingStore.
func (c counting) Transformer() cache.TransformFunc {
	if t, ok := c.ReflectorStore.(cache.TransformingStore); ok {
		return t.Transformer()
	}
	return nil
}

// waits is the real clock, except that After ends early when its owner stops: client-go waits for a backoff without watching
// its context.
type waits struct {
	clock.RealClock
	done <-chan struct{}
}

func clockUntil(ctx context.Context) clock.Clock { return waits{done: ctx.Done()} }

// After implements clock.Clock.
func (w waits) After(d time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	go func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-w.done:
		}
		ch <- time.Now()
	}()
	return ch
}
