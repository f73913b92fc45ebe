package k8s

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// labels are those of EndpointSlices that namers select by. No other label is kept, so one that comes anew has the slices listed anew.
type labels struct {
	// kept are those that slices are read with. They change only between two runs of the watch.
	kept atomic.Pointer[[]string]
	// grown tells that wanted has more than kept.
	grown chan struct{}

	mu     sync.Mutex
	wanted map[string]int // by how many namers
}

// want adds a user of a label.
func (l *labels) want(label string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wanted == nil {
		l.wanted = make(map[string]int)
	}
	l.wanted[label]++
	if l.wanted[label] == 1 && !slices.Contains(l.keep(), label) {
		select {
		case l.grown <- struct{}{}:
		default: // it is told already
		}
	}
}

// unwant removes a user of a label. It is kept until the slices are listed anew for another one.
func (l *labels) unwant(label string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wanted[label]--; l.wanted[label] == 0 {
		delete(l.wanted, label)
	}
}

// keep returns the labels that slices are read with.
func (l *labels) keep() []string {
	if kept := l.kept.Load(); kept != nil {
		return *kept
	}
	return nil
}

// of returns the labels that are kept of an object's.
func (l *labels) of(all map[string]string) map[string]string {
	var out map[string]string
	for _, label := range l.keep() {
		if value, ok := all[label]; ok {
			if out == nil {
				out = make(map[string]string, 1)
			}
			out[intern(label)] = intern(value)
		}
	}
	return out
}

// run runs watch until ctx is done, anew whenever it must read more labels.
func (l *labels) run(ctx context.Context, watch func(context.Context)) {
	for ctx.Err() == nil {
		l.mu.Lock()
		select {
		case <-l.grown:
		default:
		}
		kept := slices.Sorted(maps.Keys(l.wanted))
		l.kept.Store(&kept)
		l.mu.Unlock()
		run, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			select {
			case <-l.grown:
				cancel()
			case <-run.Done():
			}
		}()
		watch(run)
		cancel()
		<-done
	}
}
