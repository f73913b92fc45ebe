package controllers

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Limits of status writes.
const (
	// meshWriteEvery is the least time between two writes of one Mesh.status; the first of a burst goes out at once.
	meshWriteEvery = 5 * time.Second
	// newsGrace is how long proxies have for what is new before the status of their Mesh says that it waits for them.
	newsGrace = time.Second
	// numbersEvery is the least time between a write and the next one that only brings numbers.
	numbersEvery = time.Minute
	// dtabWritesPerSecond and dtabWriteBurst bound the writes of all Dtab.status together.
	dtabWritesPerSecond = 4
	dtabWriteBurst      = 20
	// numbersReserve is how many writes numbers leave to conditions.
	numbersReserve = 10
	// passEvery is the least time between two passes over one Mesh, so that a storm of reports costs five of them a second.
	passEvery = 200 * time.Millisecond
	// retryAtMost is the longest wait after passes that failed.
	retryAtMost = 30 * time.Second
	// reconcileTimeout bounds one pass.
	reconcileTimeout = time.Minute
)

// Names of field indexes.
const indexMesh = "mesh"

// Options of the controllers.
type Options struct {
	// ProxyImage is the image of proxies whose Mesh names none.
	ProxyImage string
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

// Setup adds the controllers to the manager, which must have been made with CacheOptions.
func Setup(ctx context.Context, mgr ctrl.Manager, opts Options) error {
	if opts.ProxyImage == "" {
		return fmt.Errorf("set up controllers: no proxy image")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	indexer := mgr.GetFieldIndexer()
	if err := indexer.IndexField(ctx, &v1alpha1.Dtab{}, indexMesh, func(o client.Object) []string {
		return []string{meshOfDtab(o.(*v1alpha1.Dtab)).String()}
	}); err != nil {
		return fmt.Errorf("index dtabs: %w", err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.MeshProxy{}, indexMesh, func(o client.Object) []string {
		return []string{meshOfReport(o.(*v1alpha1.MeshProxy)).String()}
	}); err != nil {
		return fmt.Errorf("index meshproxies: %w", err)
	}
	changed := make(chan event.GenericEvent, dtabChannelSize)
	shared := &verdicts{byDtab: map[types.NamespacedName]verdict{}}
	recorder := mgr.GetEventRecorder("fairlead-operator")
	meshes := &meshReconciler{
		client: mgr.GetClient(), live: mgr.GetAPIReader(), events: recorder, now: opts.Now, image: opts.ProxyImage,
		states: map[types.NamespacedName]*meshState{}, verdicts: shared, changed: changed, distribution: preferSameNode,
		witness: &witness{},
	}
	if err := meshes.setup(mgr); err != nil {
		return fmt.Errorf("set up mesh controller: %w", err)
	}
	dtabs := &dtabReconciler{
		client: mgr.GetClient(), events: recorder, now: opts.Now, verdicts: shared,
		limiter: rate.NewLimiter(dtabWritesPerSecond, dtabWriteBurst), paces: map[types.NamespacedName]*dtabPace{},
	}
	if err := dtabs.setup(mgr, changed); err != nil {
		return fmt.Errorf("set up dtab controller: %w", err)
	}
	return nil
}

func meshOfDtab(d *v1alpha1.Dtab) types.NamespacedName {
	namespace := d.Spec.MeshRef.Namespace
	if namespace == "" {
		namespace = d.Namespace
	}
	return types.NamespacedName{Namespace: namespace, Name: d.Spec.MeshRef.Name}
}

func meshOfReport(p *v1alpha1.MeshProxy) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Spec.MeshRef.Name}
}
