package controllers

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/proxy/config"
)

// inputs of one pass.
type inputs struct {
	mesh   *v1alpha1.Mesh
	meshes []v1alpha1.Mesh
	dtabs  []v1alpha1.Dtab
	// present holds the Dtabs that the cache shows; unseen those it never showed although they exist: it is young.
	present map[types.NamespacedName]*v1alpha1.Dtab
	unseen  map[types.NamespacedName]bool
	// witnessed are earlier generations that events showed since the last pass.
	witnessed []client.Object
}

// observe reads what the decision depends on.
func (r *meshReconciler) observe(ctx context.Context, s *meshState, mesh *v1alpha1.Mesh) (*inputs, error) {
	in := &inputs{mesh: mesh, present: map[types.NamespacedName]*v1alpha1.Dtab{}, unseen: map[types.NamespacedName]bool{}}
	if err := r.load(ctx, s, mesh); err != nil {
		return nil, err
	}
	var err error
	if in.meshes, err = r.meshes(ctx); err != nil {
		return nil, fmt.Errorf("list meshes: %w", err)
	}
	if in.dtabs, err = r.dtabs(ctx, client.ObjectKeyFromObject(mesh)); err != nil {
		return nil, fmt.Errorf("list dtabs: %w", err)
	}
	for i := range in.dtabs {
		in.present[client.ObjectKeyFromObject(&in.dtabs[i])] = &in.dtabs[i]
	}
	for key, d := range s.dtabs {
		if d.seen || in.present[key] != nil {
			continue
		}
		var live v1alpha1.Dtab
		switch err := r.live.Get(ctx, key, &live); {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("get dtab %s: %w", key, err)
		default:
			in.unseen[key] = live.UID == d.uid && meshOfDtab(&live) == client.ObjectKeyFromObject(mesh)
		}
	}
	return in, nil
}

// load reads the ConfigMap at the first pass and whenever somebody else wrote it, and takes over what is newer there.
func (r *meshReconciler) load(ctx context.Context, s *meshState, mesh *v1alpha1.Mesh) error {
	key := types.NamespacedName{Namespace: mesh.Namespace, Name: v1alpha1.ConfigMapName(mesh.Name)}
	var cached corev1.ConfigMap
	if err := r.client.Get(ctx, key, &cached); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get configmap %s: %w", key, err)
	}
	if s.loaded && cached.ResourceVersion != "" && !newer(cached.ResourceVersion, s.stored) {
		return nil
	}
	if s.loaded && cached.ResourceVersion == "" && s.stored == "" {
		return nil
	}
	var live corev1.ConfigMap
	if err := r.live.Get(ctx, key, &live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get configmap %s: %w", key, err)
	}
	s.foreign = live.ResourceVersion != "" && live.Labels[desired.LabelManagedBy] != desired.ManagedBy
	if live.ResourceVersion != s.stored || !s.loaded {
		s.stored, s.written = live.ResourceVersion, nil
		r.restore(ctx, s, mesh, &live)
	}
	s.loaded = true
	return nil
}

// restore never fails: what cannot be read is replaced by what is accepted now.
func (r *meshReconciler) restore(ctx context.Context, s *meshState, mesh *v1alpha1.Mesh, cm *corev1.ConfigMap) {
	log := ctrl.LoggerFrom(ctx)
	ref := metav1.GetControllerOfNoCopy(cm)
	if ref == nil || ref.UID != mesh.UID {
		return
	}
	data, err := desired.Documents(cm.Data, cm.BinaryData)
	if err != nil {
		log.Error(err, "cannot read the earlier configuration", "configMap", cm.Name)
		return
	}
	docs, refusal := config.Decode(cm.Name, data, config.Cluster)
	if refusal != nil {
		log.Error(errors.New(refusal.Error()), "cannot read all of the earlier configuration", "configMap", cm.Name)
	}
	s.restore(docs)
}

// newer compares two resourceVersions of one object.
func newer(a, b string) bool {
	if b == "" {
		return a != ""
	}
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	if errX != nil || errY != nil {
		return a != b
	}
	return x > y
}
