//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// testDropped: a Pod whose packets are dropped between nodes and proxies is ready for Kubernetes, and fails for those who call it. The proxies
// leave it alone, the columns show it, and no request fails that may be retried.
func testDropped(t *testing.T, e *environment) {
	e.setRuleAndWait(t, "9 * "+allV1+" & 1 * "+allV2)
	e.configure(t, func(spec *v1alpha1.MeshSpec) {
		defaults := spec.WithDefaults()
		spec.Routers = defaults.Routers
		for i := range spec.Routers {
			spec.Routers[i].Services = []v1alpha1.Service{{
				Prefix: "/", TotalTimeoutMs: 8000, ResponseClassifier: &v1alpha1.ResponseClassifier{Kind: v1alpha1.KindRetryableRead5XX},
			}}
			spec.Routers[i].Clients = []v1alpha1.Client{{Prefix: "/", RequestAttemptTimeoutMs: 2000}}
		}
	})
	shows := func(endpoints string, missing int, failing bool) (seconds float64) {
		return eventually(t, settle, "ENDPOINTS "+endpoints, func() error {
			if got := e.rows(t, "dtab", dtabName)[0]["ENDPOINTS"]; got != endpoints {
				return fmt.Errorf("ENDPOINTS %q", got)
			}
			mesh := e.rows(t, "mesh", meshName, "-o", "wide")[0]
			var healthy, balancers, available, total int
			if _, err := fmt.Sscanf(mesh["BALANCERS"]+" "+mesh["ENDPOINTS"], "%d/%d %d/%d", &healthy, &balancers, &available, &total); err != nil {
				return err
			}
			if total-available != missing || failing != (healthy < balancers) || failing != strings.Contains(mesh["WORST"], "failing") {
				return fmt.Errorf("BALANCERS %s, ENDPOINTS %s, WORST %q", mesh["BALANCERS"], mesh["ENDPOINTS"], mesh["WORST"])
			}
			return nil
		}).Seconds()
	}
	shows("4/4", 0, false)
	var backends corev1.PodList
	if err := e.client.List(t.Context(), &backends, client.InNamespace("default"), client.MatchingLabels{"version": "v1"}); err != nil {
		t.Fatal(err)
	}
	pod := backends.Items[0]
	fleet := e.fleet(t)
	fleet.start(t, "web", 0)
	fleet.sent(t, rate/4)
	drop := []string{"drop", pod.Spec.NodeName, pod.Status.PodIP}
	e.run(t, "hack/cluster/packets", drop...)
	restored := false
	restore := func() {
		if !restored {
			restored = true
			e.run(t, "hack/cluster/packets", "pass", pod.Spec.NodeName)
		}
	}
	defer restore()
	dropped := shows("3/4", 1, true)
	var ready corev1.Pod
	if err := e.client.Get(t.Context(), client.ObjectKeyFromObject(&pod), &ready); err != nil || !podReady(&ready) {
		t.Errorf("the Pod is not ready for Kubernetes (%v): nothing was shown that only proxies see", err)
	}
	restore()
	healed := shows("4/4", 0, false)
	e.note("packets dropped to 3/4: %.1f s; passed again to 4/4: %.1f s; 0 of %d requests failed", dropped, healed, noneFailed(t, fleet.stop(t)))
	e.configure(t, func(spec *v1alpha1.MeshSpec) { spec.Routers = nil })
}

// configure edits the Mesh and waits until every proxy serves it.
func (e *environment) configure(t *testing.T, edit func(*v1alpha1.MeshSpec)) {
	t.Helper()
	var mesh v1alpha1.Mesh
	if err := e.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: meshName}, &mesh); err != nil {
		t.Fatal(err)
	}
	edit(&mesh.Spec)
	if err := e.client.Update(t.Context(), &mesh); err != nil {
		t.Fatal(err)
	}
	eventually(t, settle, "the Mesh is programmed", func() error {
		now, err := e.mesh(t)
		if err != nil {
			return err
		}
		if now.Status.AcceptedGeneration != mesh.Generation {
			return fmt.Errorf("generation %d is accepted, not %d", now.Status.AcceptedGeneration, mesh.Generation)
		}
		return condition(now, now.Status.Conditions, v1alpha1.ConditionProgrammed, metav1.ConditionTrue)
	})
	e.ready(t)
}
