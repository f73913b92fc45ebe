package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// load asks for a name at a fixed rate.
type load struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu    sync.Mutex // guards what follows
	times []time.Duration
	err   error
}

// startLoad begins to ask. Requests take turns over the connections; one whose connection is busy when it is due waits, and its time
// counts.
func startLoad(ctx context.Context, o *options, addr, name string) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	begin := time.Now()
	for i := range o.conns {
		a, err := ask(addr, name)
		if err != nil {
			cancel()
			return nil, err
		}
		l.wait.Go(func() {
			defer a.close()
			l.ask(ctx, a, begin.Add(time.Duration(i)*time.Second/time.Duration(o.rate)), time.Duration(o.conns)*time.Second/time.Duration(o.rate))
		})
	}
	return l, nil
}

func (l *load) ask(ctx context.Context, a *asker, due time.Time, every time.Duration) {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		_, err := a.ask()
		took := time.Since(due)
		l.mu.Lock()
		l.times = append(l.times, took)
		if err != nil && l.err == nil {
			l.err = fmt.Errorf("request: %w", err)
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
		due = due.Add(every)
		timer.Reset(time.Until(due))
	}
}

// take returns the times since the last call.
func (l *load) take() ([]time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	times := l.times
	l.times = nil
	return times, l.err
}

// stop ends it and returns the first error there was.
func (l *load) stop() error {
	l.cancel()
	l.wait.Wait()
	return l.err
}

// at returns the value below which the share q of the values is. It sorts them.
func at(q float64, values []time.Duration) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
