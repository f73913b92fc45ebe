// Package desired says which objects a Mesh needs: ServiceAccount, RoleBinding, ConfigMap, Service and DaemonSet, and the one
// ClusterRoleBinding of all meshes. It is pure: no client, no context, no clock. It states only what the operator owns, so that
// what others add (an annotation of kubectl rollout restart, a label) survives every apply.
package desired

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// Field owners of server-side apply.
const (
	FieldOwner       = "fairlead-operator"
	StatusFieldOwner = "fairlead-operator/status"
)

// Names that config/rbac ships and the operator refers to.
const (
	// ProxyClusterRole may read what naming needs in every namespace; one ClusterRoleBinding of the same name gives it.
	ProxyClusterRole = "fairlead-proxy"
	// ProxyMeshClusterRole may read meshes and write reports; a RoleBinding gives it in the namespace of the mesh alone.
	ProxyMeshClusterRole = "fairlead-proxy-mesh"
)

// Labels of every child.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// ProxyName is the value of LabelName, and ManagedBy that of LabelManagedBy.
	ProxyName = "fairlead-proxy"
	ManagedBy = "fairlead-operator"
)

// ContainerName is the name of the proxy's container.
const ContainerName = "proxy"

// ProxyObject returns the name of the ServiceAccount, DaemonSet, Service and RoleBinding of a mesh.
func ProxyObject(mesh string) string { return v1alpha1.ProxyName(mesh) }

// selector picks the proxy Pods of a mesh. It can never change: a DaemonSet's selector is immutable.
func selector(m *config.Mesh) map[string]string {
	return map[string]string{LabelName: ProxyName, LabelInstance: m.Name}
}

func labels(m *config.Mesh) map[string]string {
	return map[string]string{LabelName: ProxyName, LabelInstance: m.Name, LabelPartOf: "fairlead", LabelManagedBy: ManagedBy}
}

// owner makes the garbage collector remove a child with its Mesh. It does not block the deletion of the Mesh: that would need the
// right to change finalizers of meshes, and a deletion in the foreground would wait for the operator.
func owner(m *config.Mesh) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind("Mesh").
		WithName(m.Name).
		WithUID(types.UID(m.UID)).
		WithController(true)
}

// Owned reports whether the object is a child of the mesh.
func Owned(o metav1.Object, m *config.Mesh) bool {
	ref := metav1.GetControllerOfNoCopy(o)
	return ref != nil && string(ref.UID) == m.UID
}
