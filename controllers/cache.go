package controllers

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/controllers/desired"
)

// CacheOptions scopes and strips what the operator keeps in memory: its own Kinds, its labelled children, and of Pods and nodes
// only what rollup reads. The size of the cluster does not show in the operator's memory, but for one small entry per node.
func CacheOptions() cache.Options {
	children := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{desired.LabelManagedBy: desired.ManagedBy})}
	pods, configMaps := children, children
	pods.Label = labels.SelectorFromSet(labels.Set{desired.LabelName: desired.ProxyName, desired.LabelManagedBy: desired.ManagedBy})
	pods.Transform = stripPod
	configMaps.Transform = stripConfigMap
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:            pods,
			&corev1.Node{}:           {Transform: stripNode},
			&corev1.ConfigMap{}:      configMaps,
			&corev1.Service{}:        children,
			&corev1.ServiceAccount{}: children,
			&appsv1.DaemonSet{}:      children,
			&rbacv1.RoleBinding{}:    children,
			&rbacv1.ClusterRoleBinding{}: {
				Field: fields.OneTermEqualSelector("metadata.name", desired.ProxyClusterRole),
			},
		},
	}
}

// stripMeta keeps what identifies an object and ties it to its owner.
func stripMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels,
		DeletionTimestamp: m.DeletionTimestamp, OwnerReferences: m.OwnerReferences,
	}
}

func stripPod(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	out := &corev1.Pod{
		ObjectMeta: stripMeta(&pod.ObjectMeta), Spec: corev1.PodSpec{NodeName: pod.Spec.NodeName},
		Status: corev1.PodStatus{Phase: pod.Status.Phase},
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == desired.ContainerName && c.State.Running != nil {
			out.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: c.State.Running.StartedAt}},
			}}
		}
	}
	return out, nil
}

func stripNode(o any) (any, error) {
	node, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	out := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion}}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return out, nil
}

// stripConfigMap drops the documents: the operator holds them anyway and reads the ConfigMap itself when it must.
func stripConfigMap(o any) (any, error) {
	cm, ok := o.(*corev1.ConfigMap)
	if !ok {
		return o, nil
	}
	return &corev1.ConfigMap{ObjectMeta: stripMeta(&cm.ObjectMeta)}, nil
}

func nodeReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
