package controllers

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead/fairlead/api/v1alpha1"
	v1alpha1ac "github.com/fairlead/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/controllers/rollup"
)

// dtabReconciler writes the status of Dtabs: what the Mesh controller decided, at the pace that the API server can bear.
type dtabReconciler struct {
	client   client.Client
	events   events.EventRecorder
	now      func() time.Time
	verdicts *verdicts
	limiter  *rate.Limiter
	paces    map[types.NamespacedName]*dtabPace
}

// dtabPace is the pace of one Dtab, and its place in the queue of writes (zero: none).
type dtabPace struct {
	pace[v1alpha1.DtabStatus]
	uid  types.UID
	turn time.Time
}

func (r *dtabReconciler) setup(mgr ctrl.Manager, changed <-chan event.GenericEvent) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("dtab").
		For(&v1alpha1.Dtab{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Channel(changed, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1, ReconciliationTimeout: reconcileTimeout}).
		Complete(r)
}

// Reconcile writes the status of one Dtab where it differs.
func (r *dtabReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var dtab v1alpha1.Dtab
	if err := r.client.Get(ctx, req.NamespacedName, &dtab); apierrors.IsNotFound(err) {
		delete(r.paces, req.NamespacedName)
		if v, ok := r.verdicts.get(req.NamespacedName); ok {
			r.verdicts.drop(req.NamespacedName, v.mesh)
		}
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, err
	}
	want, ok, err := r.want(ctx, &dtab)
	if err != nil || !ok {
		return reconcile.Result{}, err
	}
	p := r.paces[req.NamespacedName]
	if p == nil || p.uid != dtab.UID {
		p = &dtabPace{uid: dtab.UID}
		r.paces[req.NamespacedName] = p
	}
	now := r.now()
	have := p.base(dtab.Status, dtab.ResourceVersion, now)
	want.Conditions = rollup.Settle(have.Conditions, want.Conditions, now)
	if equality.Semantic.DeepEqual(have, want) {
		return reconcile.Result{}, nil
	}
	numbersOnly := equality.Semantic.DeepEqual(rollup.DtabUrgent(have), rollup.DtabUrgent(want))
	if wait := r.wait(p, numbersOnly, now); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	ac := v1alpha1ac.Dtab(dtab.Name, dtab.Namespace).WithUID(dtab.UID).WithStatus(dtabStatus(&want))
	if err := r.client.Status().Apply(ctx, ac, client.FieldOwner(desired.StatusFieldOwner), client.ForceOwnership); gone(err) {
		return reconcile.Result{}, nil // the event of its end or of its successor is on the way
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("apply status of dtab %s: %w", req.NamespacedName, err)
	}
	p.wrote(want, dtab.ResourceVersion, now)
	announce(r.events, &dtab, have.Conditions, want.Conditions, v1alpha1.ConditionAccepted)
	return reconcile.Result{}, nil
}

// want returns the status that the Dtab should have; false while the Mesh controller has not looked at this generation.
func (r *dtabReconciler) want(ctx context.Context, dtab *v1alpha1.Dtab) (v1alpha1.DtabStatus, bool, error) {
	mesh := meshOfDtab(dtab)
	if err := r.client.Get(ctx, mesh, &v1alpha1.Mesh{}); apierrors.IsNotFound(err) {
		return rollup.Orphan(dtab.Generation, mesh.String()), true, nil
	} else if err != nil {
		return v1alpha1.DtabStatus{}, false, fmt.Errorf("get mesh %s: %w", mesh, err)
	}
	v, ok := r.verdicts.get(client.ObjectKeyFromObject(dtab))
	if !ok || v.uid != dtab.UID || v.mesh != mesh || v.status.ObservedGeneration != dtab.Generation {
		return v1alpha1.DtabStatus{}, false, nil
	}
	return *v.status.DeepCopy(), true, nil
}

// wait returns how long the write must wait. A write that is due takes its turn in the bucket of all Dtabs and keeps it, so a
// thousand waiting ones do not race for each token; one with nothing but numbers goes only while plenty is left.
func (r *dtabReconciler) wait(p *dtabPace, numbersOnly bool, now time.Time) time.Duration {
	if !p.turn.IsZero() {
		if wait := p.turn.Sub(now); wait > 0 {
			return wait
		}
		p.turn = time.Time{}
		return 0
	}
	if numbersOnly {
		if wait := p.pace.wait(true, 0, now); wait > 0 {
			return wait
		}
		if missing := numbersReserve - r.limiter.TokensAt(now); missing > 0 {
			return time.Duration((missing + 1) / dtabWritesPerSecond * float64(time.Second))
		}
	}
	if wait := r.limiter.ReserveN(now, 1).DelayFrom(now); wait > 0 {
		p.turn = now.Add(wait)
		return wait
	}
	return 0
}
