package watch

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/proxy/naming/k8s"
)

var (
	events  = flag.Int("churn", 1000, "random events of TestChurn; make churn has 10,000")
	seed    = flag.Uint64("churn-seed", 1, "seed of TestChurn")
	writers = 8
)

// writer edits Services of its own, so that no two writers meet.
type writer struct {
	ns, name string
	r        *rand.Rand
	// slices has what exists, by name; nil where the Service does not.
	services map[string]map[string]*discoveryv1.EndpointSlice
	last     int
}

func newWriter(ns string, number int) *writer {
	return &writer{
		ns: ns, name: fmt.Sprintf("w%d", number), r: rand.New(rand.NewPCG(*seed, uint64(number))),
		services: map[string]map[string]*discoveryv1.EndpointSlice{},
	}
}

// step makes one event, or two where an endpoint moves.
func (w *writer) step(ctx context.Context) error {
	svc := fmt.Sprintf("%s-%d", w.name, w.r.IntN(10))
	id := fmt.Sprintf("%s-s%d", svc, w.r.IntN(3))
	have, exists := w.services[svc]
	switch {
	case !exists:
		w.services[svc] = map[string]*discoveryv1.EndpointSlice{}
		return api.Client.Create(ctx, service(w.ns, svc))
	case w.r.IntN(12) == 0:
		delete(w.services, svc)
		err := api.Client.Delete(ctx, service(w.ns, svc))
		for _, es := range have {
			if err == nil {
				err = api.Client.Delete(ctx, es)
			}
		}
		return err
	case w.r.IntN(15) == 0:
		changed := service(w.ns, svc)
		changed.Spec.Ports[0].Port = 80 + w.r.Int32N(10)
		return api.Client.Update(ctx, changed)
	case have[id] == nil:
		have[id] = w.fill(slice(w.ns, svc, id))
		return api.Client.Create(ctx, have[id])
	case w.r.IntN(8) == 0:
		es := have[id]
		delete(have, id)
		return api.Client.Delete(ctx, es)
	}
	es := have[id]
	for other, to := range have {
		if other != id && len(es.Endpoints) > 0 && w.r.IntN(3) == 0 {
			return w.move(ctx, es, to)
		}
	}
	es.ResourceVersion = ""
	return api.Client.Update(ctx, w.fill(es))
}

// move hands an endpoint over, and for a moment it is in both slices.
func (w *writer) move(ctx context.Context, from, to *discoveryv1.EndpointSlice) error {
	e := from.Endpoints[0]
	for _, has := range to.Endpoints {
		if has.Addresses[0] == e.Addresses[0] {
			return nil
		}
	}
	to.Endpoints = append(to.Endpoints, e)
	from.Endpoints = from.Endpoints[1:]
	from.ResourceVersion, to.ResourceVersion = "", ""
	if err := api.Client.Update(ctx, to); err != nil {
		return err
	}
	return api.Client.Update(ctx, from)
}

// fill makes new endpoints, with conditions of every legal kind.
func (w *writer) fill(es *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	es.Endpoints = nil
	for range w.r.IntN(6) {
		w.last++
		flag := func() *bool {
			return [...]*bool{nil, ptr(true), ptr(false)}[w.r.IntN(3)]
		}
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 1+w.last>>16, w.last>>8&255, w.last&255)},
			NodeName:  ptr(fmt.Sprintf("node-%d", w.r.IntN(5))), Zone: ptr(fmt.Sprintf("zone-%d", w.r.IntN(3))),
			Conditions: discoveryv1.EndpointConditions{Ready: flag(), Serving: flag(), Terminating: flag()},
		})
	}
	return es
}

// disturb breaks something at random, and mends it.
func disturb(ctx context.Context, r *rand.Rand, i *injector) {
	switch r.IntN(6) {
	case 0:
		i.cut()
	case 1:
		i.finish(0)
	case 2:
		i.finish(http.StatusGone)
	case 3:
		i.answer([...]int{http.StatusGone, http.StatusNotFound, http.StatusInternalServerError}[r.IntN(3)])
	case 4:
		i.hush()
	case 5:
		i.lose()
	}
	pause(ctx, time.Duration(50+r.IntN(500))*time.Millisecond)
	i.heal()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// TestChurn makes random events on the real API server while the way to it breaks at random. In the end there is no difference.
func TestChurn(t *testing.T) {
	ns, i := namespace(t), newInjector(t, api.Config)
	store, tree := start(t, ns, i.config(), k8s.Options{Silence: time.Second})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var breaking, writing sync.WaitGroup
	cuts := 0
	breaking.Go(func() {
		r := rand.New(rand.NewPCG(*seed, 99))
		for ctx.Err() == nil {
			disturb(ctx, r, i)
			cuts++
			pause(ctx, time.Duration(r.IntN(500))*time.Millisecond)
		}
	})
	began := time.Now()
	var left atomic.Int64
	left.Store(int64(*events))
	for n := range writers {
		w := newWriter(ns, n)
		writing.Go(func() {
			for left.Add(-1) >= 0 {
				if err := w.step(ctx); client.IgnoreNotFound(err) != nil {
					t.Errorf("%s: %v", w.name, err)
					return
				}
			}
		})
	}
	writing.Wait()
	wrote := time.Since(began)
	stop()
	breaking.Wait()
	// A watch that was muted is given up after its silence.
	took := await(t, store, ns, time.Second*11/10+healed)
	for _, kind := range kinds {
		_, relists, most := i.counts(kind)
		if most != 1 {
			t.Errorf("%s: %d relists at a time", kind, most)
		}
		t.Logf("%s: %d relists, %d events heard", kind, relists, tree.Scope(kind).Counter("events").Value())
	}
	t.Logf("%d events in %v with %d breaks; equal %v later: %d objects", *events, wrote.Round(time.Millisecond), cuts,
		took.Round(time.Millisecond), len(held(store, ns)))
}
