package reflector

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// firstWait is the shortest wait after a failure; it doubles with each further one. Up to as much again is added by chance, so
	// that proxies do not act together.
	firstWait = 200 * time.Millisecond
	// quickWait is the longest wait in the first twenty seconds: a server that is back is asked within 1 s.
	quickWait = 500 * time.Millisecond
	// longWait is the longest wait of all.
	longWait = 5 * time.Second
	// lossShare lets the wait grow with what is lost already: a fortieth of it.
	lossShare = 40
	// steady is how long a watch must live to count as a success. Answers alone do not: a server that takes every request and ends
	// it at once would be asked without end.
	steady = 5 * time.Second
)

// pace says when the next request may be sent. Lists and watches of one resource share it.
type pace struct {
	mu       sync.Mutex
	failures int
	began    time.Time // the first failure in a row
	next     time.Time
	expired  bool
}

// wait returns when a request may be sent, or when ctx is done.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	d := time.Until(p.next)
	p.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// failed sets the next wait. err is nil when a watch just ended. A version that expired, once in a row, is no fault of the
// server: what it needs is a list, soon.
func (p *pace) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.expired && (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)) {
		p.expired = true
		p.next = now.Add(rand.N(firstWait))
		return
	}
	if p.failures == 0 {
		p.began = now
	}
	d := min(firstWait<<min(p.failures, 10), max(quickWait, now.Sub(p.began)/lossShare), longWait)
	if after, ok := apierrors.SuggestsClientDelay(err); ok {
		d = max(d, min(time.Duration(after)*time.Second, longWait))
	}
	p.failures++
	p.next = now.Add(d + rand.N(d))
}

// lived is told how long a watch lived, before failed.
func (p *pace) lived(d time.Duration) {
	if d < steady {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures, p.expired = 0, false
}
