package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

const (
	endpoints = 4
	// quiet is how long an endpoint gets no request until its last one is taken for the last: at the default rate it would have had 30.
	quiet = 250 * time.Millisecond
	// removalLimit is how long a removed endpoint may go on to get requests before the run fails.
	removalLimit = 30 * time.Second
)

// removal takes one endpoint after the other out of a file of io.l5d.fs and puts it back.
func removal(ctx context.Context, o *options, dir string) (err error) {
	r, err := newRig(dir)
	if err != nil {
		return err
	}
	var all []*backend
	for i := range endpoints {
		b, err := newBackend(strconv.Itoa(i))
		if err != nil {
			return err
		}
		defer b.server.Close() //nolint:errcheck // the process ends
		all = append(all, b)
	}
	without := func(i int) error {
		text := ""
		for k, b := range all {
			if k != i {
				text += b.line()
			}
		}
		return r.put(filepath.Join("disco", "web"), text)
	}
	if err := errors.Join(without(-1), r.put("mesh.yaml", r.mesh())); err != nil {
		return err
	}
	if err := r.start(ctx, o.proxy, "web"); err != nil {
		return err
	}
	defer r.Stop()
	fmt.Println()
	l, err := startLoad(ctx, o, r.addr, "web")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	var took []time.Duration
	for i := range o.removals {
		b := all[i%len(all)]
		if err := b.served(ctx, time.Now()); err != nil {
			return err
		}
		removed := time.Now()
		if err := without(i % len(all)); err != nil {
			return err
		}
		last, err := b.quietSince(ctx, removed)
		if err != nil {
			return err
		}
		took = append(took, max(0, last.Sub(removed)))
		if err := without(-1); err != nil {
			return err
		}
		if _, err := l.take(); err != nil {
			return err
		}
	}
	fmt.Printf("endpoint removed from a file to the last request to it, %d removals: p50 %s, p99 %s, most %s; load average %s after\n",
		len(took), ms(at(0.5, took)), ms(at(0.99, took)), ms(at(1, took)), loadAverage())
	return nil
}

// served waits until the backend got a request after the moment.
func (b *backend) served(ctx context.Context, after time.Time) error {
	for limit := time.Now().Add(removalLimit); b.last.Load() <= after.UnixNano(); {
		if time.Now().After(limit) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("endpoint %s gets no requests", b.name), ctx.Err())
		}
		pause(ctx, time.Millisecond)
	}
	return nil
}

// quietSince waits until the backend gets no more requests, and returns when the last came. A removal that has not been seen yet looks
// like one where requests go on: the time until then counts.
func (b *backend) quietSince(ctx context.Context, removed time.Time) (time.Time, error) {
	for ctx.Err() == nil {
		last := time.Unix(0, b.last.Load())
		if time.Since(last) > quiet && time.Since(removed) > quiet {
			return last, nil
		}
		if time.Since(removed) > removalLimit {
			return last, fmt.Errorf("endpoint %s still gets requests %s after it was removed", b.name, removalLimit)
		}
		pause(ctx, 5*time.Millisecond)
	}
	return time.Time{}, ctx.Err()
}
