package desired

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/fairlead/fairlead/proxy/config"
)

// ServiceAccount returns the identity of the proxies of a mesh.
func ServiceAccount(m *config.Mesh) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(ProxyObject(m.Name), m.Namespace).
		WithLabels(labels(m)).
		WithOwnerReferences(owner(m))
}

// RoleBinding lets the proxies of a mesh read their Mesh and write their reports, in the namespace of the mesh alone.
func RoleBinding(m *config.Mesh) *rbacv1ac.RoleBindingApplyConfiguration {
	return rbacv1ac.RoleBinding(ProxyObject(m.Name), m.Namespace).
		WithLabels(labels(m)).
		WithOwnerReferences(owner(m)).
		WithRoleRef(clusterRole(ProxyMeshClusterRole)).
		WithSubjects(subject(types.NamespacedName{Namespace: m.Namespace, Name: m.Name}))
}

// ClusterRoleBinding lets the proxies of all meshes read what naming needs. config/rbac ships it without subjects; no object of
// the cluster's scope exists per Mesh, so that no finalizer is needed to clean up.
func ClusterRoleBinding(meshes []types.NamespacedName) *rbacv1ac.ClusterRoleBindingApplyConfiguration {
	sorted := slices.Clone(meshes)
	slices.SortFunc(sorted, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	binding := rbacv1ac.ClusterRoleBinding(ProxyClusterRole).WithRoleRef(clusterRole(ProxyClusterRole))
	for _, mesh := range sorted {
		binding.WithSubjects(subject(mesh))
	}
	return binding
}

func clusterRole(name string) *rbacv1ac.RoleRefApplyConfiguration {
	return rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(name)
}

func subject(mesh types.NamespacedName) *rbacv1ac.SubjectApplyConfiguration {
	return rbacv1ac.Subject().WithKind(rbacv1.ServiceAccountKind).WithNamespace(mesh.Namespace).WithName(ProxyObject(mesh.Name))
}
