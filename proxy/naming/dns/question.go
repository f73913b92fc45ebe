package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/fairlead/fairlead/proxy/naming"
)

// question is what is asked again and again, and the value its answers make.
type question[T any] struct {
	v     *naming.Var[T]
	ask   func(context.Context) (answer T, ttl time.Duration, err error)
	empty func(T) bool
	equal func(a, b T) bool
	// join adds to an answer those of the last one that it lacks.
	join func(answer, last T, half *halfAnswer) T
	// once ends the asking with the first answer that is not empty.
	once bool
	// floor is how often it is asked at most, whatever the TTL.
	floor time.Duration

	// good is set once there was an answer that is not empty; missing since when the name is said not to exist after that.
	good    bool
	missing time.Time
}

// run asks until ctx ends.
func (q *question[T]) run(ctx context.Context, r *Resolver) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		wait, asked := q.turn(ctx, r)
		if !asked || q.once && q.good {
			return
		}
		wait = max(wait, q.floor)
		// Later than it must be, never earlier: one query for each TTL, and not all of them together.
		timer.Reset(wait + rand.N(wait/10+1))
	}
}

// turn asks once and returns how long the answer holds. It has not asked where ctx ended.
func (q *question[T]) turn(ctx context.Context, r *Resolver) (wait time.Duration, asked bool) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return 0, false
	}
	defer func() { <-r.slots }()
	limited, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	r.stats.queries.Add(1)
	answer, ttl, err := q.ask(limited)
	if ctx.Err() != nil {
		return 0, false
	}
	var dns *net.DNSError
	var half *halfAnswer
	if errors.As(err, &half) {
		r.stats.failures.Add(1)
		answer, ttl = q.whole(answer, ttl, half)
		err = nil
	}
	switch {
	case errors.As(err, &dns) && dns.IsNotFound, err == nil && q.empty(answer):
		return q.gone(ttl), true
	case err != nil:
		r.stats.failures.Add(1)
		q.v.Fail(err)
		return RefreshInterval, true
	}
	q.good, q.missing = true, time.Time{}
	q.set(answer)
	return holds(ttl, MaxTTL), true
}

// whole adds what is lacking of an answer from the last one.
func (q *question[T]) whole(answer T, ttl time.Duration, half *halfAnswer) (T, time.Duration) {
	last, _, _ := q.v.Load()
	all := q.join(answer, last, half)
	if !q.equal(all, answer) {
		ttl = min(ttl, RefreshInterval) // what is kept may have changed
	}
	return all, ttl
}

// gone takes the answer that there is no such name.
func (q *question[T]) gone(ttl time.Duration) (wait time.Duration) {
	if q.good {
		if q.missing.IsZero() {
			q.missing = time.Now()
		}
		if since := time.Since(q.missing); since < MissingGrace {
			q.v.Fail(fmt.Errorf("no such name any more; the last answer is kept until that is said for %v", MissingGrace))
			return min(holds(ttl, MaxNegativeTTL), RefreshInterval)
		}
	}
	q.good, q.missing = false, time.Time{}
	var none T
	q.set(none)
	return holds(ttl, MaxNegativeTTL)
}

// set tells users only what changed.
func (q *question[T]) set(answer T) {
	if old, state, _ := q.v.Load(); state != naming.Ok || !q.equal(old, answer) {
		q.v.Set(answer)
	}
}

// holds returns how long an answer is taken for true.
func holds(ttl, most time.Duration) time.Duration {
	if ttl == 0 {
		return RefreshInterval
	}
	return min(max(ttl, MinTTL), most)
}
