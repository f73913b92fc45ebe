package control

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// desk is an API server for one MeshProxy, on the clock of the bubble. The test holds mu except while time passes.
type desk struct {
	mu     sync.Mutex
	status v1alpha1.MeshProxyStatus
	err    error
	writes []written
}

type written struct {
	at     time.Time
	whole  bool
	status v1alpha1.MeshProxyStatus
}

func (d *desk) write(_ context.Context, p *v1alpha1.MeshProxy, whole bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes = append(d.writes, written{time.Now(), whole, p.Status})
	return d.err
}

func (d *desk) current() (*v1alpha1.MeshProxy, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &v1alpha1.MeshProxy{Status: d.status}, d.status.DtabRevision != ""
}

// pass lets time go by and returns the writes in it.
func (d *desk) pass(t time.Duration) []written {
	d.writes = nil
	d.mu.Unlock()
	time.Sleep(t) // the bubble's clock: this is what time is, not synchronisation
	synctest.Wait()
	d.mu.Lock()
	return d.writes
}

func report(t *testing.T, test func(d *desk, r *reporter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		r := newReporter(Pod{Name: "p"}, d.write, d.current, logr.Discard(), telemetry.New())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.run(ctx); close(done) }()
		d.mu.Lock()
		test(d, r)
		d.mu.Unlock()
		cancel()
		<-done
	})
}

func TestRevisionIsReportedWithin250ms(t *testing.T) {
	report(t, func(d *desk, r *reporter) {
		if w := d.pass(time.Hour); len(w) != 0 {
			t.Errorf("%d reports before anything was served", len(w))
		}
		for _, revision := range []string{"a", "b", "c"} {
			d.status.DtabRevision = revision
			r.poke()
			w := d.pass(250 * time.Millisecond)
			if len(w) != 1 || w[0].status.DtabRevision != revision {
				t.Errorf("revision %s: %+v", revision, w)
			}
		}
	})
}

func TestStormOfEditsIsReportedInTime(t *testing.T) {
	report(t, func(d *desk, r *reporter) {
		total := 0
		for i := range 500 {
			d.status.DtabRevision, d.status.MeshGeneration = "a", int64(i)
			r.poke()
			total += len(d.pass(10 * time.Millisecond))
		}
		// 5 s of edits: each report waits at most 200 ms and takes what came in that time.
		if total < 20 || total > 150 {
			t.Errorf("%d reports in 5 s of edits", total)
		}
		d.pass(250 * time.Millisecond)
		if len(d.pass(9*time.Second)) != 0 {
			t.Error("reports go on after the last edit")
		}
	})
}

func TestHealthIsReportedWhenItChanges(t *testing.T) {
	report(t, func(d *desk, r *reporter) {
		d.status.DtabRevision = "a"
		d.status.Totals = v1alpha1.ProxyTotals{Endpoints: "4/4", Requests: 1000}
		r.poke()
		if w := d.pass(time.Second); len(w) != 1 || !w[0].whole {
			t.Fatalf("first report: %+v", w)
		}
		for i := range int64(20) {
			d.status.Totals.Requests = 950 + 5*i // steady traffic
			if w := d.pass(10 * time.Second); len(w) != 0 {
				t.Errorf("a write for %d requests after 1000", d.status.Totals.Requests)
			}
		}
		d.status.Totals.Endpoints = "3/4"
		if w := d.pass(10 * time.Second); len(w) != 1 || w[0].status.Totals.Endpoints != "3/4" || w[0].whole {
			t.Errorf("an endpoint was lost: %+v", w)
		}
		d.status.Totals.Requests = 2345
		if w := d.pass(10 * time.Second); len(w) != 1 || w[0].status.Totals.Requests != 2300 {
			t.Errorf("traffic doubled: %+v", w)
		}
	})
}

func TestReportIsAppliedAgain(t *testing.T) {
	report(t, func(d *desk, r *reporter) {
		d.status.DtabRevision = "a"
		r.poke()
		d.pass(time.Second)
		if w := d.pass(4*time.Minute + 50*time.Second); len(w) != 0 {
			t.Errorf("%d writes without a change in the first 5 minutes", len(w))
		}
		w := d.pass(time.Hour)
		if len(w) < 10 || len(w) > 12 {
			t.Errorf("%d refreshes in an hour", len(w))
		}
		for _, one := range w {
			if !one.whole {
				t.Error("a refresh without the spec")
			}
		}
	})
}

func TestReportIsTriedAgain(t *testing.T) {
	report(t, func(d *desk, r *reporter) {
		d.status.DtabRevision, d.err = "a", errors.New("connection refused")
		r.poke()
		w := d.pass(5 * time.Minute)
		if len(w) < 15 || len(w) > 40 {
			t.Errorf("%d tries in 5 minutes", len(w))
		}
		for i := range 100 { // edits do not hurry what fails
			d.status.MeshGeneration = int64(i)
			r.poke()
			if n := len(d.pass(100 * time.Millisecond)); n > 1 {
				t.Errorf("%d tries in 100 ms", n)
			}
		}
		d.status.DtabRevision, d.err = "b", nil
		w = d.pass(20 * time.Second)
		if len(w) != 1 || w[0].status.DtabRevision != "b" || !w[0].whole {
			t.Errorf("once the API server is back: %+v", w)
		}
	})
}

func TestReportIsBounded(t *testing.T) {
	s := v1alpha1.MeshProxyStatus{
		Refused:   make([]v1alpha1.RefusedObject, 100),
		Dtabs:     make([]v1alpha1.ProxyDestination, 1000),
		Balancers: make([]v1alpha1.ProxyBalancer, 100),
	}
	got := steady(nil, s)
	if len(got.Refused) != 32 || len(got.Dtabs) != 200 || len(got.Balancers) != 20 {
		t.Errorf("%d refused, %d dtabs, %d balancers", len(got.Refused), len(got.Dtabs), len(got.Balancers))
	}
	if len(s.Dtabs) != 1000 {
		t.Error("the status given was changed")
	}
}

func TestRound(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 7: 7, 99: 99, 100: 100, 104: 100, 105: 110, 1234: 1200, 99999: 100000} {
		if got := round(n); got != want {
			t.Errorf("round(%d) = %d, want %d", n, got, want)
		}
	}
}
