package controllers

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/controllers/rollup"
)

// meshReconciler makes the children and the status of Meshes. One pass at a time: nothing in it is locked.
type meshReconciler struct {
	client client.Client
	// live reads past the cache.
	live     client.Reader
	events   events.EventRecorder
	now      func() time.Time
	image    string
	states   map[types.NamespacedName]*meshState
	verdicts *verdicts
	// witness is written by event handlers too.
	witness *witness
	// changed wakes the Dtab controller.
	changed chan<- event.GenericEvent
	// distribution is the best traffic distribution that the API server takes.
	distribution string
	// binding is what was last applied of the ClusterRoleBinding.
	binding applied
}

func (r *meshReconciler) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("mesh").
		For(&v1alpha1.Mesh{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&appsv1.DaemonSet{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&rbacv1.RoleBinding{}).
		Watches(&v1alpha1.Mesh{}, handler.EnqueueRequestsFromMapFunc(r.others), // of two meshes with one port the older wins
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Dtab{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			mesh := meshOfDtab(o.(*v1alpha1.Dtab))
			r.witness.see(mesh, o)
			return []reconcile.Request{{NamespacedName: mesh}}
		}), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.MeshProxy{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: meshOfReport(o.(*v1alpha1.MeshProxy))}}
		})).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{
				Namespace: o.GetNamespace(), Name: o.GetLabels()[desired.LabelInstance],
			}}}
		})).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.all), builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(e event.UpdateEvent) bool {
				return nodeReady(e.ObjectOld.(*corev1.Node)) != nodeReady(e.ObjectNew.(*corev1.Node))
			},
		})).
		Watches(&rbacv1.ClusterRoleBinding{}, handler.EnqueueRequestsFromMapFunc(r.all)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1, ReconciliationTimeout: reconcileTimeout}).
		Complete(r)
}

// all asks for a pass over every Mesh.
func (r *meshReconciler) all(ctx context.Context, _ client.Object) []reconcile.Request {
	meshes, err := r.meshes(ctx)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list meshes for a change that concerns all")
		return nil
	}
	requests := make([]reconcile.Request, len(meshes))
	for i := range meshes {
		requests[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&meshes[i])}
	}
	return requests
}

// others asks for a pass over every Mesh but the one that changed.
func (r *meshReconciler) others(ctx context.Context, o client.Object) []reconcile.Request {
	r.witness.see(client.ObjectKeyFromObject(o), o)
	var requests []reconcile.Request
	for _, request := range r.all(ctx, o) {
		if request.NamespacedName != client.ObjectKeyFromObject(o) {
			requests = append(requests, request)
		}
	}
	return requests
}

func (r *meshReconciler) meshes(ctx context.Context) ([]v1alpha1.Mesh, error) {
	var list v1alpha1.MeshList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	return list.Items, nil
}

// Reconcile makes one pass: observe, decide, apply, record.
func (r *meshReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var mesh v1alpha1.Mesh
	switch err := r.client.Get(ctx, req.NamespacedName, &mesh); {
	case apierrors.IsNotFound(err):
		r.witness.take(req.NamespacedName)
		return r.forget(ctx, req.NamespacedName)
	case err != nil:
		return reconcile.Result{}, err
	case mesh.DeletionTimestamp != nil:
		return reconcile.Result{}, nil // in the foreground: the garbage collector is at work
	}
	s, ok := r.states[req.NamespacedName]
	if !ok || s.uid != mesh.UID {
		s = newMeshState(&mesh)
		r.states[req.NamespacedName] = s
	}
	if wait := passEvery - r.now().Sub(s.lastPass); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	s.lastPass = r.now()
	wait, err := r.pass(ctx, s, &mesh)
	if err == nil {
		s.failures = 0
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	// Not the queue's own pace of retries: it would begin anew with each pass that comes too early.
	retry := min(passEvery<<min(s.failures, 10), retryAtMost)
	s.failures++
	ctrl.LoggerFrom(ctx).Error(err, "cannot complete the pass", "failures", s.failures, "retry", retry.String())
	return reconcile.Result{RequeueAfter: retry}, nil
}

func (r *meshReconciler) pass(ctx context.Context, s *meshState, mesh *v1alpha1.Mesh) (time.Duration, error) {
	in, err := r.observe(ctx, s, mesh)
	if err != nil {
		return 0, err
	}
	if s.stale(in) {
		return passEvery, nil
	}
	in.witnessed = r.witness.take(client.ObjectKeyFromObject(mesh))
	if err := s.decide(in); err != nil {
		return 0, err
	}
	applyErr := r.applyChildren(ctx, s)
	if apierrors.IsConflict(applyErr) { // somebody else wrote the ConfigMap: read it again and merge
		s.loaded = false
		return passEvery, nil
	}
	wait, err := r.record(ctx, s, in, applyErr)
	return wait, errors.Join(applyErr, err)
}

// forget is the pass over a Mesh that is gone.
func (r *meshReconciler) forget(ctx context.Context, mesh types.NamespacedName) (reconcile.Result, error) {
	delete(r.states, mesh)
	again, err := r.removeChildren(ctx, mesh)
	if err := errors.Join(err, r.judgeOrphans(ctx, mesh), r.applyBinding(ctx)); err != nil || !again {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: passEvery}, nil
}

// judgeOrphans says of the Dtabs of a Mesh that is gone that it is.
func (r *meshReconciler) judgeOrphans(ctx context.Context, mesh types.NamespacedName) error {
	dtabs, err := r.dtabs(ctx, mesh)
	if err != nil {
		return err
	}
	for i := range dtabs {
		d := &dtabs[i]
		v := verdict{uid: d.UID, mesh: mesh, status: rollup.Orphan(d.Generation, mesh.String())}
		if err := r.judge(ctx, d, v); err != nil {
			return err
		}
	}
	return nil
}

// judge keeps a verdict and wakes the Dtab controller where it is news.
func (r *meshReconciler) judge(ctx context.Context, d *v1alpha1.Dtab, v verdict) error {
	if !r.verdicts.put(client.ObjectKeyFromObject(d), v) {
		return nil
	}
	wake := &v1alpha1.Dtab{}
	wake.Namespace, wake.Name = d.Namespace, d.Name
	select {
	case r.changed <- event.GenericEvent{Object: wake}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *meshReconciler) dtabs(ctx context.Context, mesh types.NamespacedName) ([]v1alpha1.Dtab, error) {
	var list v1alpha1.DtabList
	if err := r.client.List(ctx, &list, client.MatchingFields{indexMesh: mesh.String()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	return list.Items, nil
}
