package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
)

// fleet plays the part of nodes, kubelets, the DaemonSet controller and the proxies, through the API server.
type fleet struct {
	t       *testing.T
	mesh    *v1alpha1.Mesh
	ds      *appsv1.DaemonSet
	pods    map[string]*corev1.Pod
	reports map[string]*v1alpha1.MeshProxy
}

// newFleet makes one node, one ready Pod and one (silent) proxy per name.
func newFleet(t *testing.T, mesh *v1alpha1.Mesh, nodes ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, mesh: mesh, ds: daemonSetOf(mesh), pods: map[string]*corev1.Pod{}, reports: map[string]*v1alpha1.MeshProxy{}}
	expectCondition(t, mesh, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	get(t, f.ds)
	for _, name := range nodes {
		f.addNode(name)
	}
	f.scheduled(len(nodes))
	return f
}

func (f *fleet) scheduled(n int) {
	updateStatus(f.t, f.ds, func() {
		f.ds.Status.ObservedGeneration, f.ds.Status.DesiredNumberScheduled = f.ds.Generation, int32(n)
	})
}

func (f *fleet) addNode(name string) {
	f.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f.mesh.Namespace + "-" + name}}
	create(f.t, node)
	f.t.Cleanup(func() { _ = api.Client.Delete(context.Background(), node) })
	f.nodeReady(name, corev1.ConditionTrue)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.mesh.Namespace, Name: "demo-proxy-" + name, Labels: f.ds.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(f.ds, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))},
		},
		Spec: corev1.PodSpec{
			NodeName: node.Name, ServiceAccountName: f.ds.Spec.Template.Spec.ServiceAccountName,
			Containers: []corev1.Container{{Name: desired.ContainerName, Image: testImage}},
		},
	}
	create(f.t, pod)
	f.pods[name] = pod
	f.running(name, true, time.Now().Add(-time.Minute))
}

func (f *fleet) nodeReady(name string, status corev1.ConditionStatus) {
	f.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f.mesh.Namespace + "-" + name}}
	updateStatus(f.t, node, func() {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	})
}

// running is what the kubelet says: the container runs since started, and its readiness probe succeeds or not.
func (f *fleet) running(name string, ready bool, started time.Time) {
	f.t.Helper()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod := f.pods[name]
	updateStatus(f.t, pod, func() {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name:  desired.ContainerName,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}},
		}}
	})
}

// reports makes the proxies of the nodes say that they serve the Mesh's present generation and revision.
func (f *fleet) serve(nodes ...string) {
	f.t.Helper()
	get(f.t, f.mesh)
	for _, name := range nodes {
		f.report(name, func(s *v1alpha1.MeshProxyStatus) {
			s.MeshGeneration, s.DtabRevision = f.mesh.Generation, f.mesh.Status.DtabRevision
		})
	}
}

func (f *fleet) report(name string, change func(*v1alpha1.MeshProxyStatus)) {
	f.t.Helper()
	pod := f.pods[name]
	r := f.reports[name]
	if r == nil {
		r = &v1alpha1.MeshProxy{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: pod.Namespace, Name: pod.Name,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
			},
			Spec: v1alpha1.MeshProxySpec{
				MeshRef: v1alpha1.MeshReference{Name: f.mesh.Name}, MeshUID: string(f.mesh.UID), NodeName: pod.Spec.NodeName,
			},
		}
		create(f.t, r)
		f.reports[name] = r
	}
	updateStatus(f.t, r, func() {
		now := metav1.Now()
		r.Status.Since = &now
		change(&r.Status)
	})
}

// expectRevision waits for the revision of the Mesh to be another than the one given, and returns it.
func (f *fleet) expectRevision(not string) string {
	f.t.Helper()
	eventually(f.t, "revision", func() error {
		if get(f.t, f.mesh); f.mesh.Status.DtabRevision == not || f.mesh.Status.DtabRevision == "" {
			return fmt.Errorf("is %q", f.mesh.Status.DtabRevision)
		}
		return nil
	})
	return f.mesh.Status.DtabRevision
}

func (f *fleet) expectProgrammed(o client.Object, status metav1.ConditionStatus, reason, message string) {
	f.t.Helper()
	eventually(f.t, "Programmed of "+o.GetName(), func() error {
		get(f.t, o)
		for _, c := range conditionsOf(o) {
			if c.Type == v1alpha1.ConditionProgrammed && (c.Status != status || c.Reason != reason || c.Message != message) {
				return fmt.Errorf("is %s %s %q, want %s %s %q", c.Status, c.Reason, c.Message, status, reason, message)
			}
		}
		return nil
	})
}
