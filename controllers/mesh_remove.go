package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
)

// removeChildren deletes what is left of the children of a Mesh that is gone, and reports whether to look again. The garbage collector
// deletes them too, but only those of an owner that it saw, or of a kind that it can still ask for: it learns of kinds every half
// minute, so the children of a Mesh whose CRD comes and goes within that time would stay for good. What the user orphaned
// (--cascade=orphan) has no owner any more, and stays.
func (r *meshReconciler) removeChildren(ctx context.Context, mesh types.NamespacedName) (again bool, err error) {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: mesh.Namespace, Name: name} }
	for _, child := range []client.Object{
		&appsv1.DaemonSet{ObjectMeta: named(desired.ProxyObject(mesh.Name))},
		&corev1.Service{ObjectMeta: named(desired.ProxyObject(mesh.Name))},
		&rbacv1.RoleBinding{ObjectMeta: named(desired.ProxyObject(mesh.Name))},
		&corev1.ServiceAccount{ObjectMeta: named(desired.ProxyObject(mesh.Name))},
		&corev1.ConfigMap{ObjectMeta: named(v1alpha1.ConfigMapName(mesh.Name))},
	} {
		switch err := r.removeChild(ctx, mesh, child); {
		case apierrors.IsConflict(err): // it changed meanwhile, perhaps its owner
			again = true
		case err != nil:
			return false, fmt.Errorf("delete %T %s of a mesh that is gone: %w", child, client.ObjectKeyFromObject(child), err)
		}
	}
	return again, nil
}

// removeChild deletes the child, of which only the name is set, where the cache knows it and its owner is gone.
func (r *meshReconciler) removeChild(ctx context.Context, mesh types.NamespacedName, child client.Object) error {
	key := client.ObjectKeyFromObject(child)
	if err := r.client.Get(ctx, key, child); err != nil {
		return client.IgnoreNotFound(err)
	}
	owner := metav1.GetControllerOf(child)
	if owner == nil || owner.Kind != "Mesh" || owner.Name != mesh.Name || child.GetDeletionTimestamp() != nil {
		return nil
	}
	// Past the cache: a Mesh that it does not show yet is no reason to delete anything.
	var found v1alpha1.Mesh
	switch err := r.live.Get(ctx, mesh, &found); {
	case err == nil && found.UID == owner.UID:
		return nil
	case err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err):
		return err
	}
	uid, version := child.GetUID(), child.GetResourceVersion()
	return client.IgnoreNotFound(r.client.Delete(ctx, child, client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: &uid, ResourceVersion: &version}))
}
