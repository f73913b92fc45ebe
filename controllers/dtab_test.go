package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const (
	goodRule = "/#/io.l5d.k8s/default/http/web-v1"
	nextRule = "/#/io.l5d.k8s/default/http/web-v2"
	badRule  = "9 * /a & "
)

// expectStored waits until the ConfigMap holds all of has and none of hasNot.
func expectStored(t *testing.T, mesh *v1alpha1.Mesh, has, hasNot []string) {
	t.Helper()
	eventually(t, "stored documents", func() error {
		text, err := storedDocuments(t, mesh)
		if err != nil {
			return err
		}
		for _, s := range has {
			if !strings.Contains(text, s) {
				return fmt.Errorf("no %q in\n%s", s, text)
			}
		}
		for _, s := range hasNot {
			if strings.Contains(text, s) {
				return fmt.Errorf("%q in\n%s", s, text)
			}
		}
		return nil
	})
}

func TestRefusedDtabKeepsItsLastGoodRules(t *testing.T) {
	o := startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: goodRule})
	other := newDtab(t, ns, "other", "demo", v1alpha1.Dentry{Prefix: "/svc/other", Dst: "/svc/first"})
	expectCondition(t, web, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	expectStored(t, mesh, []string{goodRule, "/svc/first"}, nil)

	update(t, web, func() { web.Spec.Dentries[0].Dst = badRule })
	c := expectCondition(t, web, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	if !strings.Contains(c.Message, "spec.dentries[0].dst:1:10: expected") {
		t.Errorf("message does not say where: %s", c.Message)
	}
	if web.Status.AcceptedGeneration != 1 {
		t.Errorf("acceptedGeneration = %d, want 1", web.Status.AcceptedGeneration)
	}
	expectEvent(t, web, v1alpha1.ReasonInvalid)
	update(t, other, func() { other.Spec.Dentries[0].Dst = "/svc/second" }) // others go on
	expectStored(t, mesh, []string{goodRule, "/svc/second"}, []string{"/svc/first", badRule})

	o.stop()
	update(t, other, func() { other.Spec.Dentries[0].Dst = "/svc/third" })
	o = startOperator(t) // a new one knows only what was stored
	expectStored(t, mesh, []string{goodRule, "/svc/third"}, []string{badRule})
	expectCondition(t, web, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
	if web.Status.AcceptedGeneration != 1 {
		t.Errorf("acceptedGeneration after a restart = %d, want 1", web.Status.AcceptedGeneration)
	}

	o.stop()
	if err := api.Client.Delete(t.Context(), web); err != nil { // while nobody looks
		t.Fatal(err)
	}
	startOperator(t)
	expectStored(t, mesh, []string{"/svc/third"}, []string{goodRule})
	if err := api.Client.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	expectStored(t, mesh, []string{`"kind":"Mesh"`}, []string{"/svc/third"})
}

func expectEvent(t *testing.T, o client.Object, reason string) {
	t.Helper()
	eventually(t, "event "+reason, func() error {
		var list eventsv1.EventList
		if err := api.Client.List(t.Context(), &list, client.InNamespace(o.GetNamespace())); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.UID == o.GetUID() && e.Reason == reason && e.Type == corev1.EventTypeWarning {
				return nil
			}
		}
		return fmt.Errorf("not among %d events", len(list.Items))
	})
}

// TestOlderNeverReplacesNewer: another operator, ahead of our cache, stored a newer accepted generation. Ours must take it over.
func TestOlderNeverReplacesNewer(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: goodRule})
	expectStored(t, mesh, []string{goodRule}, nil)

	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: v1alpha1.ConfigMapName("demo")}}
	update(t, cm, func() {
		text := cm.Data[v1alpha1.ConfigKey]
		newer := strings.Replace(strings.Replace(text, goodRule, nextRule, 1),
			fmt.Sprintf(`"uid":%q,"generation":1`, web.UID), fmt.Sprintf(`"uid":%q,"generation":7`, web.UID), 1)
		if newer == text || !strings.Contains(newer, `"generation":7`) {
			t.Fatalf("cannot forge a newer document from\n%s", text)
		}
		cm.Data[v1alpha1.ConfigKey] = newer
	})
	newDtab(t, ns, "other", "demo", v1alpha1.Dentry{Prefix: "/svc/other", Dst: "/svc/first"}) // makes the operator write
	expectStored(t, mesh, []string{nextRule, "/svc/first"}, []string{goodRule})
}

func TestDtabsThatBelongNowhere(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	rule := v1alpha1.Dentry{Prefix: "/svc/web", Dst: goodRule}
	orphan := newDtab(t, ns, "orphan", "demo", rule)
	expectCondition(t, orphan, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonMeshNotFound)

	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	expectCondition(t, orphan, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)

	lost := newDtab(t, ns, "lost", "demo", rule)
	update(t, lost, func() { lost.Spec.Router = "outgoin" })
	expectCondition(t, lost, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonRouterNotFound)

	foreign := &v1alpha1.Dtab{
		ObjectMeta: metav1.ObjectMeta{Namespace: newNamespace(t), Name: "foreign"},
		Spec: v1alpha1.DtabSpec{
			MeshRef: v1alpha1.MeshReference{Name: "demo", Namespace: ns}, Router: "outgoing", Dentries: []v1alpha1.Dentry{rule},
		},
	}
	create(t, foreign)
	expectCondition(t, foreign, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
	update(t, mesh, func() {
		mesh.Spec.Dtabs = v1alpha1.DtabPolicy{From: v1alpha1.DtabsFromList, Namespaces: []v1alpha1.DtabNamespace{
			{Name: foreign.Namespace, Prefixes: []string{"/svc/shop"}},
		}}
	})
	expectCondition(t, foreign, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonPrefixNotAllowed)

	if err := api.Client.Delete(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	expectCondition(t, orphan, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonMeshNotFound)
}

func TestDtabFirstStatusIsComplete(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: goodRule})
	eventually(t, "status", func() error {
		get(t, web)
		if len(web.Status.Conditions) == 0 {
			return errors.New("no conditions yet")
		}
		return nil
	})
	var types []string
	for _, c := range web.Status.Conditions {
		types = append(types, c.Type)
	}
	if got := strings.Join(types, " "); got != "Accepted ResolvedRefs Programmed Ready" {
		t.Errorf("conditions = %s", got)
	}
}

// TestGoodEditBeforeABadOneIsNotMissed: a proxy sees every generation, so the operator must not skip one that was good because a bad
// one followed within the pace of its passes.
func TestGoodEditBeforeABadOneIsNotMissed(t *testing.T) {
	startOperator(t)
	ns := newNamespace(t)
	mesh := newMesh(t, ns, "demo", v1alpha1.MeshSpec{})
	web := newDtab(t, ns, "web", "demo", v1alpha1.Dentry{Prefix: "/svc/web", Dst: goodRule})
	expectStored(t, mesh, []string{goodRule}, nil)
	for i := range 5 {
		good := fmt.Sprintf("/#/io.l5d.k8s/default/http/web-%d", i)
		update(t, web, func() { web.Spec.Dentries[0].Dst = good })
		update(t, web, func() { web.Spec.Dentries[0].Dst = badRule })
		expectStored(t, mesh, []string{good}, []string{goodRule})
		update(t, mesh, func() { mesh.Spec.Admin.Port = int32(20000 + i) })
		update(t, mesh, func() { mesh.Spec.Admin.Port = 4140 }) // taken by the router
		expectStored(t, mesh, []string{fmt.Sprint(20000 + i)}, nil)
	}
}
