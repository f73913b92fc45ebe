package controllers

import "time"

// lagAllowed is how long the cache may lag behind our own write before what it shows is believed to be somebody else's.
const lagAllowed = 2 * time.Second

// pace remembers the last write of one status, to know what is there while the cache lags, and when the next write may go out.
type pace[S any] struct {
	at time.Time
	// before is the resourceVersion that the cache showed at the write.
	before string
	status S
}

// base returns the status that is there: the cached one, unless it is the one from before our last write.
func (p *pace[S]) base(cached S, version string, now time.Time) S {
	if p.before != "" && version == p.before && now.Sub(p.at) < lagAllowed {
		return p.status
	}
	return cached
}

// wait returns how long a write must wait: every from the last one, or numbersEvery where it only brings numbers.
func (p *pace[S]) wait(numbersOnly bool, every time.Duration, now time.Time) time.Duration {
	if p.at.IsZero() {
		return 0
	}
	if numbersOnly {
		every = numbersEvery
	}
	return max(0, every-now.Sub(p.at))
}

func (p *pace[S]) wrote(status S, version string, now time.Time) {
	p.at, p.before, p.status = now, version, status
}
