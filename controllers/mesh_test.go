package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
)

func TestMeshGetsChildrenThatGoWithIt(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	expectCondition(t, mesh, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	for _, want := range []string{"Accepted", "Available", "Programmed", "Ready"} {
		found := false
		for _, c := range mesh.Status.Conditions {
			found = found || c.Type == want && c.Reason != "" && !c.LastTransitionTime.IsZero()
		}
		if !found {
			t.Errorf("condition %s is missing in the first status: %+v", want, mesh.Status.Conditions)
		}
	}
	for _, child := range childrenOf(mesh) {
		get(t, child)
		if ref := metav1.GetControllerOf(child); ref == nil || ref.UID != mesh.UID || ref.Kind != "Mesh" {
			t.Errorf("%T is not owned by the Mesh, so it would outlive it: %v", child, child.GetOwnerReferences())
		}
	}
	expectSubject(t, ns, true)

	if err := api.Client.Delete(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	expectSubject(t, ns, false)
	// No garbage collector runs here, as if it had not learned of the kind yet.
	for _, child := range childrenOf(mesh) {
		eventually(t, "the child goes with its Mesh", func() error {
			err := api.Client.Get(t.Context(), client.ObjectKeyFromObject(child), child)
			if err == nil {
				return fmt.Errorf("%T is there", child)
			}
			return client.IgnoreNotFound(err)
		})
	}
}

// childrenOf returns the children of a mesh, of which only the names are set.
func childrenOf(mesh *v1alpha1.Mesh) []client.Object {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: mesh.Namespace, Name: name} }
	return []client.Object{
		&corev1.ServiceAccount{ObjectMeta: named("demo-proxy")},
		&rbacv1.RoleBinding{ObjectMeta: named("demo-proxy")},
		&corev1.Service{ObjectMeta: named("demo-proxy")},
		&corev1.ConfigMap{ObjectMeta: named("demo-config")},
		&appsv1.DaemonSet{ObjectMeta: named("demo-proxy")},
	}
}

// TestOrphanedChildrenStay: kubectl delete --cascade=orphan takes the owner away, and what has no owner is the user's.
func TestOrphanedChildrenStay(t *testing.T) {
	operator := startOperator(t)
	mesh := newMesh(t, newNamespace(t), "demo", v1alpha1.MeshSpec{})
	expectCondition(t, mesh, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	operator.stop()
	for _, child := range childrenOf(mesh) {
		update(t, child, func() { child.SetOwnerReferences(nil) }) // as the garbage collector does
	}
	if err := api.Client.Delete(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	startOperator(t)
	dtab := newDtab(t, mesh.Namespace, "late", "demo") // judged by a pass over the mesh that is gone, after its children were
	expectCondition(t, dtab, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonMeshNotFound)
	expectSubject(t, mesh.Namespace, false)
	for _, child := range childrenOf(mesh) {
		if get(t, child); child.GetDeletionTimestamp() != nil {
			t.Errorf("%T was deleted", child)
		}
	}
}

// expectSubject waits until the ClusterRoleBinding names the service account of the mesh demo, or no longer does.
func expectSubject(t *testing.T, namespace string, want bool) {
	t.Helper()
	eventually(t, "subjects", func() error {
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: desired.ProxyClusterRole}}
		if err := api.Client.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
			return err
		}
		found := false
		for _, s := range binding.Subjects {
			found = found || s.Namespace == namespace && s.Name == "demo-proxy"
		}
		if found != want {
			return fmt.Errorf("found is %v, want %v: %v", found, want, binding.Subjects)
		}
		return nil
	})
}

// TestWhatOthersWroteSurvives: kubectl rollout restart adds an annotation, a policy adds a label; ours are put back.
func TestWhatOthersWroteSurvives(t *testing.T) {
	startOperator(t)
	mesh := newMesh(t, newNamespace(t), "demo", v1alpha1.MeshSpec{})
	expectCondition(t, mesh, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	ds := daemonSetOf(mesh)
	const restarted = "kubectl.kubernetes.io/restartedAt"
	update(t, ds, func() {
		ds.Spec.Template.Annotations = map[string]string{restarted: "2026-01-01T00:00:00Z"}
		ds.Labels["team"] = "edge"
		ds.Spec.Template.Spec.PriorityClassName = "" // drift in a field of ours
	})
	eventually(t, "drift is undone", func() error {
		get(t, ds)
		if got := ds.Spec.Template.Spec.PriorityClassName; got != "system-node-critical" {
			return fmt.Errorf("priority class is %q", got)
		}
		return nil
	})
	if ds.Spec.Template.Annotations[restarted] == "" || ds.Labels["team"] != "edge" {
		t.Errorf("foreign fields are gone: annotations %v, labels %v", ds.Spec.Template.Annotations, ds.Labels)
	}
	restarts := ds.Generation

	// Rules are no reason to restart proxies; spec.proxy is, and still what others wrote stays.
	update(t, mesh, func() {
		mesh.Spec.Routers = mesh.Spec.WithDefaults().Routers
		mesh.Spec.Routers[0].Dtab = append(mesh.Spec.Routers[0].Dtab, v1alpha1.Dentry{Prefix: "/svc/a", Dst: "/svc/b"})
	})
	expectCondition(t, mesh, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	if get(t, ds); ds.Generation != restarts {
		t.Errorf("an edit of rules changed the DaemonSet: generation %d, was %d", ds.Generation, restarts)
	}
	update(t, mesh, func() { mesh.Spec.Proxy.TerminationGracePeriodSeconds = 60 })
	eventually(t, "new grace period", func() error {
		if get(t, ds); ds.Generation == restarts {
			return errors.New("the DaemonSet did not change")
		}
		return nil
	})
	if ds.Spec.Template.Annotations[restarted] == "" {
		t.Error("the annotation of kubectl rollout restart is gone after an edit of the Mesh")
	}
}

func TestInvalidMeshKeepsTheLastGoodOne(t *testing.T) {
	startOperator(t)
	mesh := newMesh(t, newNamespace(t), "demo", v1alpha1.MeshSpec{})
	expectCondition(t, mesh, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	before, err := storedDocuments(t, mesh)
	if err != nil {
		t.Fatal(err)
	}
	update(t, mesh, func() {
		mesh.Spec.Routers = mesh.Spec.WithDefaults().Routers
		mesh.Spec.Routers[0].Dtab = []v1alpha1.Dentry{{Prefix: "/svc", Dst: "/a | "}}
	})
	c := expectCondition(t, mesh, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	if !strings.Contains(c.Message, "spec.routers[0].dtab[0].dst:1:6: expected") {
		t.Errorf("message does not say where: %s", c.Message)
	}
	after, err := storedDocuments(t, mesh)
	if err != nil || after != before {
		t.Errorf("the stored configuration changed (%v):\n%s\nwas\n%s", err, after, before)
	}
	if mesh.Status.AcceptedGeneration != 1 || mesh.Status.ObservedGeneration != 2 {
		t.Errorf("accepted %d, observed %d, want 1 and 2", mesh.Status.AcceptedGeneration, mesh.Status.ObservedGeneration)
	}
}

func TestPortConflict(t *testing.T) {
	startOperator(t)
	older := newMesh(t, newNamespace(t), "a", v1alpha1.MeshSpec{})
	expectCondition(t, older, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	younger := newMesh(t, older.Namespace, "b", v1alpha1.MeshSpec{})
	c := expectCondition(t, younger, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonPortConflict)
	if !strings.Contains(c.Message, "4140") || !strings.Contains(c.Message, older.Namespace+"/a") {
		t.Errorf("message names neither port nor owner: %s", c.Message)
	}
	if err := api.Client.Get(t.Context(), client.ObjectKeyFromObject(daemonSetOf(younger)), daemonSetOf(younger)); err == nil {
		t.Error("the younger Mesh got a DaemonSet")
	}
	apart := newMesh(t, older.Namespace, "c", v1alpha1.MeshSpec{Routers: []v1alpha1.Router{{
		Name: "outgoing", Servers: []v1alpha1.Server{{Port: 5140}},
	}}})
	expectCondition(t, apart, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)

	if err := api.Client.Delete(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	expectCondition(t, younger, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
}

// TestForeignObjectsAreLeftAlone: what bears the name of a child but is not ours is neither changed nor, later, collected.
func TestForeignObjectsAreLeftAlone(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "demo-config"}, Data: map[string]string{"mine": "yes"}}
	create(t, cm)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "demo-proxy"}}
	create(t, account)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	c := expectCondition(t, mesh, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed)
	for _, want := range []string{"configmap " + ns + "/demo-config: one of that name exists", "serviceaccount " + ns + "/demo-proxy: one of"} {
		if !strings.Contains(c.Message, want) {
			t.Errorf("no %q in %s", want, c.Message)
		}
	}
	for _, o := range []client.Object{cm, account} {
		before := o.GetResourceVersion()
		if get(t, o); o.GetResourceVersion() != before {
			t.Errorf("%T was changed: %v", o, o)
		}
	}
	// Once they are out of the way, all is well.
	for _, o := range []client.Object{cm, account} {
		if err := api.Client.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	expectStored(t, mesh, []string{`"kind":"Mesh"`}, nil)
}
