package controllers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/proxy/config"
)

// Traffic distributions of the Service, the better one first.
const (
	preferSameNode = corev1.ServiceTrafficDistributionPreferSameNode
	preferClose    = corev1.ServiceTrafficDistributionPreferClose
)

// applied remembers an apply: what was sent and which version of the object the cache showed then. While both are the same there
// is nothing to do; when the cache shows another version, the next apply finds out whether anything was changed by others.
type applied struct {
	sum     [sha256.Size]byte
	version string
}

// applyChildren applies all children of the accepted generation. The ConfigMap comes first: Pods mount it, and a failure to
// store what was accepted must not be hidden by a success elsewhere. An error of one child does not keep the others back.
func (r *meshReconciler) applyChildren(ctx context.Context, s *meshState) error {
	errs := []error{r.applyBinding(ctx)}
	m := s.accepted
	if m == nil {
		return errors.Join(errs...)
	}
	if err := r.applyConfigMap(ctx, s, m); err != nil {
		if apierrors.IsConflict(err) {
			return err
		}
		errs = append(errs, err)
	}
	errs = append(errs,
		r.applyChild(ctx, s, &corev1.ServiceAccount{}, m, desired.ServiceAccount(m)),
		r.applyChild(ctx, s, &rbacv1.RoleBinding{}, m, desired.RoleBinding(m)),
		r.applyService(ctx, s, m),
		r.applyChild(ctx, s, &appsv1.DaemonSet{}, m, desired.DaemonSet(m, r.image)),
	)
	return errors.Join(errs...)
}

// applyConfigMap stores the accepted documents, unless somebody wrote the ConfigMap since it was read.
func (r *meshReconciler) applyConfigMap(ctx context.Context, s *meshState, m *config.Mesh) error {
	if w := s.written; w != nil && w.Key == s.content.Key && w.Incomplete == s.content.Incomplete && bytes.Equal(w.Data, s.content.Data) {
		return nil
	}
	name := fmt.Sprintf("%s/%s", m.Namespace, v1alpha1.ConfigMapName(m.Name))
	if s.foreign {
		return fmt.Errorf("apply configmap %s: one of that name exists and is not managed by %s", name, desired.ManagedBy)
	}
	cm := desired.ConfigMap(m, s.content, s.stored)
	if err := r.client.Apply(ctx, cm, client.FieldOwner(desired.FieldOwner), client.ForceOwnership); err != nil {
		if apierrors.IsNotFound(err) { // deleted since
			s.stored = ""
		}
		return fmt.Errorf("apply configmap %s: %w", name, err)
	}
	content := s.content
	s.written = &content
	if cm.ResourceVersion != nil {
		s.stored = *cm.ResourceVersion
	}
	return nil
}

func (r *meshReconciler) applyService(ctx context.Context, s *meshState, m *config.Mesh) error {
	err := r.applyChild(ctx, s, &corev1.Service{}, m, desired.Service(m, r.distribution))
	if r.distribution == preferSameNode && apierrors.IsInvalid(err) && strings.Contains(err.Error(), "trafficDistribution") {
		r.distribution = preferClose // an older API server
		return r.applyChild(ctx, s, &corev1.Service{}, m, desired.Service(m, r.distribution))
	}
	return err
}

// applyChild applies one child named after the proxy. current is an empty object of its Kind.
func (r *meshReconciler) applyChild(ctx context.Context, s *meshState, current client.Object, m *config.Mesh,
	want runtime.ApplyConfiguration) error {
	key := types.NamespacedName{Namespace: m.Namespace, Name: desired.ProxyObject(m.Name)}
	kind := fmt.Sprintf("%T", current)
	next, err := r.apply(ctx, s.children[kind], key, current, want)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", strings.ToLower(kind[strings.LastIndexByte(kind, '.')+1:]), key, err)
	}
	s.children[kind] = next
	return nil
}

// applyBinding names the service accounts of all meshes as the subjects of the one ClusterRoleBinding.
func (r *meshReconciler) applyBinding(ctx context.Context) error {
	meshes, err := r.meshes(ctx)
	if err != nil {
		return fmt.Errorf("list meshes: %w", err)
	}
	var subjects []types.NamespacedName
	for i := range meshes {
		if meshes[i].DeletionTimestamp == nil {
			subjects = append(subjects, client.ObjectKeyFromObject(&meshes[i]))
		}
	}
	key := types.NamespacedName{Name: desired.ProxyClusterRole}
	next, err := r.apply(ctx, r.binding, key, &rbacv1.ClusterRoleBinding{}, desired.ClusterRoleBinding(subjects))
	if err != nil {
		return fmt.Errorf("apply clusterrolebinding %s (config/rbac brings it): %w", desired.ProxyClusterRole, err)
	}
	r.binding = next
	return nil
}

// refuseForeign keeps the operator from taking over, and the garbage collector from deleting, what somebody else made under the
// name of a child: the cache shows labelled objects alone.
func (r *meshReconciler) refuseForeign(ctx context.Context, key types.NamespacedName, current client.Object) error {
	if key.Namespace == "" {
		return nil
	}
	if err := r.live.Get(ctx, key, current); err != nil {
		return client.IgnoreNotFound(err)
	}
	if current.GetLabels()[desired.LabelManagedBy] != desired.ManagedBy {
		return fmt.Errorf("one of that name exists and is not managed by %s", desired.ManagedBy)
	}
	return nil
}

// apply sends what is wanted unless that is known to be there.
func (r *meshReconciler) apply(ctx context.Context, last applied, key types.NamespacedName, current client.Object,
	want runtime.ApplyConfiguration) (applied, error) {
	text, err := json.Marshal(want)
	if err != nil {
		return last, err
	}
	if err := r.client.Get(ctx, key, current); client.IgnoreNotFound(err) != nil {
		return last, err
	}
	next := applied{sum: sha256.Sum256(text), version: current.GetResourceVersion()}
	if next == last && next.version != "" {
		return last, nil
	}
	if next.version == "" {
		if err := r.refuseForeign(ctx, key, current); err != nil {
			return last, err
		}
	}
	return next, r.client.Apply(ctx, want, client.FieldOwner(desired.FieldOwner), client.ForceOwnership)
}
