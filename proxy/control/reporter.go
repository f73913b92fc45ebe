package control

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

const (
	fieldOwner = "fairlead-proxy"
	// reportJitter spreads the reports of one edit by all proxies; with the time to write, a change is seen within 250 ms.
	reportJitter = 200 * time.Millisecond
	// healthInterval is how often health is looked at.
	healthInterval = 10 * time.Second
	// refreshInterval is when a report that did not change is applied again; up to a tenth is added.
	refreshInterval = 5 * time.Minute
	// writeTimeout bounds one write.
	writeTimeout                     = 5 * time.Second
	reportRetryMin, reportRetryMax   = 500 * time.Millisecond, 10 * time.Second
	maxRefused, maxDtabs, maxBalance = 32, 200, 20
)

// writer applies the MeshProxy: its status, and before that its spec when whole is set or the object turns out to be missing.
type writer func(ctx context.Context, p *v1alpha1.MeshProxy, whole bool) error

// reporter tells the operator what is served, by one small object that only this Pod writes.
type reporter struct {
	pod               Pod
	write             writer
	current           func() (*v1alpha1.MeshProxy, bool)
	log               logr.Logger
	reports, failures *telemetry.Counter
	changed           chan struct{}

	// last is what was written last, nil before.
	last    *v1alpha1.MeshProxyStatus
	refresh time.Time
	backoff time.Duration
	broken  string
}

// newReporter returns a reporter. current returns what to report, or false when there is nothing yet.
func newReporter(pod Pod, write writer, current func() (*v1alpha1.MeshProxy, bool), log logr.Logger, s telemetry.Scope) *reporter {
	return &reporter{
		pod: pod, write: write, current: current, log: log,
		reports: s.Counter("reports"), failures: s.Counter("report_failures"), changed: make(chan struct{}, 1),
	}
}

// poke says that the revision or a refusal changed.
func (r *reporter) poke() { poke(r.changed) }

// run reports until ctx is done.
func (r *reporter) run(ctx context.Context) {
	if r.pod.Name == "" {
		return // not in a Pod, so there is no name to report under
	}
	health := time.NewTicker(healthInterval)
	defer health.Stop()
	due := time.NewTimer(0)
	<-due.C
	defer due.Stop()
	// A write that waits, for its jitter or a backoff, takes everything that changes meanwhile with it.
	waiting := false
	wait := func(d time.Duration) {
		if !waiting {
			waiting = true
			due.Reset(d)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.changed:
			wait(rand.N(reportJitter))
		case <-health.C:
			if r.outdated() {
				wait(0)
			}
		case <-due.C:
			waiting = false
			if !r.send(ctx) {
				wait(r.backoff + rand.N(r.backoff))
			}
		}
	}
}

// outdated reports whether there is something to write: a number that differs from the one written, or a report that is old.
func (r *reporter) outdated() bool {
	now, ok := r.current()
	if !ok {
		return false
	}
	if r.last == nil || !time.Now().Before(r.refresh) {
		return true
	}
	return !reflect.DeepEqual(*r.last, steady(r.last, now.Status))
}

// send writes the report, and returns false when it must be tried again.
func (r *reporter) send(ctx context.Context) bool {
	p, ok := r.current()
	if !ok {
		return true
	}
	p.Status = steady(r.last, p.Status)
	whole := r.last == nil || !time.Now().Before(r.refresh)
	if !whole && reflect.DeepEqual(*r.last, p.Status) {
		r.backoff = 0
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := r.write(ctx, p, whole); err != nil {
		r.failures.Incr(0)
		r.backoff = min(max(2*r.backoff, reportRetryMin), reportRetryMax)
		if err.Error() != r.broken {
			r.log.Info("Report not written, retrying", "error", err.Error())
		}
		r.broken = err.Error()
		return false
	}
	r.reports.Incr(0)
	r.last, r.backoff, r.broken = p.Status.DeepCopy(), 0, ""
	if whole {
		r.refresh = time.Now().Add(refreshInterval + rand.N(refreshInterval/10))
	}
	return true
}

// steady bounds the lists and rounds the numbers of s. A count of requests stays at the one written last while it is within a
// tenth of it, so that steady traffic causes no writes.
func steady(last *v1alpha1.MeshProxyStatus, s v1alpha1.MeshProxyStatus) v1alpha1.MeshProxyStatus {
	out := *s.DeepCopy()
	out.Refused = out.Refused[:min(len(out.Refused), maxRefused)]
	out.Dtabs = out.Dtabs[:min(len(out.Dtabs), maxDtabs)]
	out.Balancers = out.Balancers[:min(len(out.Balancers), maxBalance)]
	written := map[string]int64{}
	if last != nil {
		for _, d := range last.Dtabs {
			written[destination(&d)] = d.Requests
		}
		out.Totals.Requests = near(last.Totals.Requests, out.Totals.Requests)
	} else {
		out.Totals.Requests = round(out.Totals.Requests)
	}
	for i := range out.Dtabs {
		d := &out.Dtabs[i]
		d.Requests = near(written[destination(d)], d.Requests)
	}
	return out
}

func destination(d *v1alpha1.ProxyDestination) string {
	return d.Dtab + " " + strconv.Itoa(int(d.Dentry)) + " " + d.Dst
}

func near(last, n int64) int64 {
	if last > 0 && n > 0 && math.Abs(float64(n-last)) <= float64(last)/10 {
		return last
	}
	return round(n)
}

// round keeps two digits.
func round(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

// status is the MeshProxy as it should be: what the application confirmed that it serves, never what it was asked to.
func (c *Cluster) status() (*v1alpha1.MeshProxy, bool) {
	c.mu.Lock()
	served, since := c.state.served, c.state.since
	c.mu.Unlock()
	if served == nil {
		return nil, false
	}
	var st v1alpha1.MeshProxyStatus
	if c.opts.Health != nil {
		st = c.opts.Health()
	}
	st.ProxyVersion = c.opts.Version
	st.MeshGeneration, st.DtabRevision = served.Mesh.Generation, served.Revision
	at := metav1.NewTime(since.Truncate(time.Second))
	st.Since = &at
	st.Refused = nil
	for _, r := range c.Refused() {
		st.Refused = append(st.Refused, v1alpha1.RefusedObject{
			Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Generation: r.Generation, Message: message(r.Err),
		})
	}
	pod := c.opts.Pod
	return &v1alpha1.MeshProxy{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "MeshProxy"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.opts.Namespace, Name: pod.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: types.UID(pod.UID)}},
		},
		Spec: v1alpha1.MeshProxySpec{
			MeshRef: v1alpha1.MeshReference{Name: c.opts.Mesh}, MeshUID: served.Mesh.UID, NodeName: pod.Node,
		},
		Status: st,
	}, true
}

// meshProxyWriter returns the writer that applies on the API server as fairlead-proxy. The documents are made by hand: the generated
// apply configurations would bring the whole clientset's scheme into the proxy.
func meshProxyWriter(client rest.Interface, namespace string) writer {
	apply := func(ctx context.Context, name string, doc any, subresources ...string) error {
		body, err := json.Marshal(doc)
		if err != nil {
			return fmt.Errorf("meshproxy %s: %w", name, err)
		}
		err = client.Patch(types.ApplyPatchType).Namespace(namespace).Resource("meshproxies").Name(name).
			SubResource(subresources...).Param("fieldManager", fieldOwner).Param("force", "true").
			Body(body).Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("meshproxy %s: %w", name, err)
		}
		return nil
	}
	type metadata struct {
		Name            string                  `json:"name"`
		OwnerReferences []metav1.OwnerReference `json:"ownerReferences,omitempty"`
	}
	type object struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metadata                  `json:"metadata"`
		Spec            *v1alpha1.MeshProxySpec   `json:"spec,omitempty"`
		Status          *v1alpha1.MeshProxyStatus `json:"status,omitempty"`
	}
	return func(ctx context.Context, p *v1alpha1.MeshProxy, whole bool) error {
		spec := object{TypeMeta: p.TypeMeta, Metadata: metadata{p.Name, p.OwnerReferences}, Spec: &p.Spec}
		status := object{TypeMeta: p.TypeMeta, Metadata: metadata{Name: p.Name}, Status: &p.Status}
		if whole {
			if err := apply(ctx, p.Name, spec); err != nil {
				return err
			}
		}
		err := apply(ctx, p.Name, status, "status")
		if !apierrors.IsNotFound(err) || whole {
			return err
		}
		// Somebody deleted it.
		if err := apply(ctx, p.Name, spec); err != nil {
			return err
		}
		return apply(ctx, p.Name, status, "status")
	}
}
