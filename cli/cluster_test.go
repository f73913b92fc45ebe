package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// live runs a command against the API server of the tests.
func live(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, "", append(args, "--kubeconfig", apiServer.kubeconfig)...)
}

// create creates an object, and writes its status where it has one.
func create[T client.Object](t *testing.T, o T) T {
	t.Helper()
	status := o.DeepCopyObject().(T)
	if err := apiServer.admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		grace := client.GracePeriodSeconds(0)
		if err := apiServer.admin.Delete(context.WithoutCancel(t.Context()), o, grace); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	status.SetResourceVersion(o.GetResourceVersion())
	status.SetUID(o.GetUID())
	if err := apiServer.admin.Status().Update(t.Context(), status); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return status
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func conditions(status metav1.ConditionStatus, message string, types ...string) (out []metav1.Condition) {
	for _, c := range types {
		out = append(out, metav1.Condition{
			Type: c, Status: status, Reason: "Test", Message: message, ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(time.Unix(0, 0)),
		})
	}
	return out
}

const revision = "1a04f75bd0704a1e"

// mesh creates a Mesh that is all well, with a Dtab that is as well.
func mesh(t *testing.T, namespace string) {
	t.Helper()
	// The API server of the tests never ends a namespace that is deleted: another round of a test finds it there.
	if err := apiServer.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: named("", namespace)}); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	m := &v1alpha1.Mesh{ObjectMeta: named(namespace, "demo")}
	m.Status = v1alpha1.MeshStatus{AcceptedGeneration: 1, DtabRevision: revision, Conditions: conditions(metav1.ConditionTrue, "",
		v1alpha1.ConditionAccepted, v1alpha1.ConditionAvailable, v1alpha1.ConditionProgrammed)}
	create(t, m)
	rules(t, namespace, "web", metav1.ConditionTrue, "", v1alpha1.Dentry{Prefix: "/svc/web", Dst: "/#/io.l5d.k8s/default/http/web-v1"})
}

func rules(t *testing.T, namespace, name string, status metav1.ConditionStatus, message string, dentries ...v1alpha1.Dentry) {
	t.Helper()
	d := &v1alpha1.Dtab{ObjectMeta: named(namespace, name)}
	d.Spec = v1alpha1.DtabSpec{MeshRef: v1alpha1.MeshReference{Name: "demo"}, Router: "outgoing", Dentries: dentries}
	d.Status.Conditions = conditions(status, message, v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs, v1alpha1.ConditionProgrammed)
	create(t, d)
}

// proxyPod creates a Pod and what it reports. ready "" is a Pod that is.
func proxyPod(t *testing.T, namespace, name, unready string, report *v1alpha1.MeshProxyStatus) {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: named(namespace, name)}
	p.Labels = map[string]string{"app.kubernetes.io/name": "fairlead-proxy", "app.kubernetes.io/instance": "demo"}
	p.Spec = corev1.PodSpec{NodeName: "node-" + name, Containers: []corev1.Container{{Name: "proxy", Image: "x"}}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	if unready != "" {
		p.Status.Conditions[0] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Message: unready}
	}
	create(t, p)
	if report != nil {
		reported(t, namespace, name, report)
	}
}

func reported(t *testing.T, namespace, name string, report *v1alpha1.MeshProxyStatus) {
	t.Helper()
	m := &v1alpha1.MeshProxy{ObjectMeta: named(namespace, name), Status: *report}
	m.Spec = v1alpha1.MeshProxySpec{MeshRef: v1alpha1.MeshReference{Name: "demo"}, MeshUID: "uid", NodeName: "node-" + name}
	create(t, m)
}

func serves(generation int64, revision string) *v1alpha1.MeshProxyStatus {
	return &v1alpha1.MeshProxyStatus{ProxyVersion: "v1", MeshGeneration: generation, DtabRevision: revision}
}

// The sync table says of each proxy what it serves, and why that is not the newest.
func TestProxies(t *testing.T) {
	const namespace = "proxies"
	mesh(t, namespace)
	proxyPod(t, namespace, "a", "", serves(1, revision))
	proxyPod(t, namespace, "b", "", serves(0, "0000"))
	refusing := serves(1, revision)
	refusing.Refused = []v1alpha1.RefusedObject{{Kind: "Dtab", Namespace: namespace, Name: "web", Generation: 2, Message: "spec: bad"}}
	proxyPod(t, namespace, "c", "", refusing)
	// The status of the Mesh is behind: what the Dtabs come to as they are is served already.
	var web v1alpha1.Dtab
	if err := apiServer.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "web"}, &web); err != nil {
		t.Fatal(err)
	}
	proxyPod(t, namespace, "ahead", "", serves(1, config.Revision([]config.Member{{UID: string(web.UID), Generation: web.Generation}})))
	// What the operator refuses as well is not the proxy's trouble.
	rules(t, namespace, "bad", metav1.ConditionFalse, "spec: bad", v1alpha1.Dentry{Prefix: "/svc/bad", Dst: "/a | /b |"})
	asAll := serves(1, revision)
	asAll.Refused = []v1alpha1.RefusedObject{{Kind: "Dtab", Namespace: namespace, Name: "bad", Generation: 1, Message: "spec: bad"}}
	proxyPod(t, namespace, "as-all", "", asAll)
	proxyPod(t, namespace, "d", "waiting for endpoints", nil)
	proxyPod(t, namespace, "e", "", nil)
	reported(t, namespace, "f", serves(1, revision))
	r := live(t, "proxies", "-n", namespace, "-o", "json").expect(t, 0)
	var rows []proxyRow
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, row.Pod+" "+row.State+" "+row.Reason)
	}
	want := []string{
		"a synced ",
		"ahead synced ",
		"as-all synced ",
		"b stale it serves generation 0 of the Mesh, accepted is 1; it serves revision 0000 of the rules, accepted is " + revision,
		"c refusing it refuses Dtab proxies/web generation 2: spec: bad",
		"d not ready waiting for endpoints",
		"e silent it has not reported yet",
		"f gone its Pod is not there any more",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	live(t, "proxies", "-n", namespace).expect(t, 0, "MESH", "proxies/demo", "node-b", "refusing")
	live(t, "version", "-n", namespace).expect(t, 0, "client:  test\nproxies: not reported (2), v1 (5)\n")
	v := live(t, "version", "-n", namespace, "-o", "json").expect(t, 0)
	var known versions
	if err := json.Unmarshal([]byte(v.out), &known); err != nil || known.Client != "test" || !slices.Equal(known.Proxies, []proxyVersion{{"", 2}, {"v1", 5}}) {
		t.Errorf("%v, %s", err, v)
	}
	live(t, "dtab", "delegate", "/svc/web", "-n", namespace, "--proxy", "d").expect(t, 1, "no proxy of the Mesh proxies/demo is ready to be asked: d is not ready: waiting")
}

// check is content with an installation that is well, and says what is wrong with one that is not.
func TestCheckCluster(t *testing.T) {
	const namespace = "check"
	live(t, "check").expect(t, 2, "ok    definition dtabs.fairlead.dev has the fields of this build", "fail  there is no operator", "warn  there is no Mesh")
	mesh(t, namespace)
	operator := &appsv1.Deployment{ObjectMeta: named("default", "fairlead-operator")}
	operator.Labels = map[string]string{"app.kubernetes.io/name": "fairlead-operator"}
	operator.Spec.Selector = &metav1.LabelSelector{MatchLabels: operator.Labels}
	operator.Spec.Template.Labels = operator.Labels
	operator.Spec.Template.Spec.Containers = []corev1.Container{{Name: "operator", Image: "x"}}
	operator.Status = appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 1, Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: "True"}}}
	create(t, operator)
	proxyPod(t, namespace, "a", "", serves(1, revision))
	live(t, "check").expect(t, 0, "ok    operator default/fairlead-operator is available (1 of 1 ready)", "ok    Mesh check/demo: Accepted, Available, Programmed",
		"ok    1 of 1 proxies of check/demo serve revision "+revision, "ok    Dtab check/web: ")
	t.Run("stale proxy", func(t *testing.T) {
		proxyPod(t, namespace, "b", "", serves(1, "0000"))
		live(t, "check").expect(t, 1, "warn  proxy b on node-b is stale", "1 of 2 proxies")
	})
	t.Run("bad dtab", func(t *testing.T) {
		rules(t, namespace, "bad", metav1.ConditionFalse, "spec.dentries[0].dst: expected", v1alpha1.Dentry{Prefix: "/svc/web", Dst: "/x"})
		live(t, "check").expect(t, 2, "fail  Dtab check/bad: Accepted=False, Test: spec.dentries[0].dst: expected",
			"hint: kubectl describe it; no generation of it was accepted, so nothing of it is served\n")
		d := &v1alpha1.Dtab{}
		if err := apiServer.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "bad"}, d); err != nil {
			t.Fatal(err)
		}
		d.Status.AcceptedGeneration = 7
		if err := apiServer.admin.Status().Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		live(t, "check").expect(t, 2, "hint: kubectl describe it; generation 7, the last accepted one, is served on\n")
	})
	t.Run("older definitions", func(t *testing.T) {
		for _, c := range []struct {
			code int
			want string
			edit func(properties map[string]any)
		}{
			{2, "fail  definition dtabs.fairlead.dev is older than this build: it lacks spec.priority", func(p map[string]any) { delete(p, "priority") }},
			{1, "warn  definition dtabs.fairlead.dev is newer than this build: it has spec.novelty", func(p map[string]any) {
				p["novelty"] = map[string]any{"type": "string"}
			}},
		} {
			undo := editDefinition(t, "dtabs.fairlead.dev", c.edit)
			r := live(t, "check", "-o", "json")
			undo()
			var lines []checkLine
			if err := json.Unmarshal([]byte(r.out), &lines); err != nil || r.code != c.code {
				t.Errorf("%v, %s", err, r)
			}
			found := false
			for _, l := range lines {
				found = found || l.Level+"  "+l.What == c.want && l.Hint != ""
			}
			if !found {
				t.Errorf("%q is not in\n%s", c.want, r)
			}
		}
	})
}

// editDefinition changes the properties of spec in a definition, until undo is called.
func editDefinition(t *testing.T, name string, edit func(map[string]any)) (undo func()) {
	t.Helper()
	var o unstructured.Unstructured
	o.SetGroupVersionKind(definitionKind)
	get := func() {
		if err := apiServer.admin.Get(t.Context(), client.ObjectKey{Name: name}, &o); err != nil {
			t.Fatal(err)
		}
	}
	get()
	before, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	properties := versions[0].(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)["properties"].(map[string]any)
	edit(properties["spec"].(map[string]any)["properties"].(map[string]any))
	put := func(versions []any) {
		get()
		if err := unstructured.SetNestedSlice(o.Object, versions, "spec", "versions"); err != nil {
			t.Fatal(err)
		}
		if err := apiServer.admin.Update(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
	}
	put(versions)
	return func() { put(before) }
}

// Live objects are checked, alone or with the files over them; several Meshes have to be told apart.
func TestLintCluster(t *testing.T) {
	mesh(t, "lint")
	live(t, "dtab", "lint").expect(t, 0, "0 errors, 0 warnings")
	changed := strings.NewReplacer("namespace: fairlead", "namespace: lint", "/#/io.l5d.k8s/default/http/web-v1", "/svc/web").Replace(read(t, sampleDtab))
	live(t, "dtab", "lint", "-f", file(t, changed)).expect(t, 0, "warning: router outgoing: lint/web[0] self-reference")
	rules(t, "lint", "loop", metav1.ConditionTrue, "", v1alpha1.Dentry{Prefix: "/svc/a", Dst: "/svc/a"})
	live(t, "dtab", "lint").expect(t, 1, "error: router outgoing: lint/loop[0] self-reference: /svc/a=>/svc/a")
	// One that is refused hinders nobody: it is said, and what is accepted is looked at.
	rules(t, "lint", "refused", metav1.ConditionFalse, "bad", v1alpha1.Dentry{Prefix: "/svc/b", Dst: "/a |"})
	live(t, "dtab", "lint").expect(t, 1, "left out: lint/refused: ", "error: router outgoing: lint/loop[0] self-reference: /svc/a=>/svc/a")
	live(t, "dtab", "delegate", "/svc/web").expect(t, 1, "no proxy of the Mesh lint/demo is ready to be asked: there is none")
	live(t, "dtab", "lint", "--mesh", "other").expect(t, 1, `--mesh: there is no Mesh "other" in the cluster: expected one of lint/demo`)
	live(t, "dtab", "lint", "-n", "default").expect(t, 1, "expected one Mesh, there is none in namespace default\nhint: --namespace chooses another one")
	live(t, "proxies", "--mesh", "other").expect(t, 1, `--mesh: there is no Mesh "other" in the cluster: expected one of lint/demo`)
	live(t, "check", "--mesh", "other").expect(t, 2, `fail  there is no Mesh "other"`, "hint: fairlead check without --mesh")
	mesh(t, "lint-other")
	live(t, "dtab", "lint").expect(t, 1, "expected one Mesh, found 2 (lint-other/demo, lint/demo): choose with --namespace and --mesh")
	live(t, "dtab", "lint", "-n", "lint-other").expect(t, 0, "0 errors, 0 warnings")
}
