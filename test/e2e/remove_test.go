//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// managed picks everything that the operator makes for a Mesh.
const managed = "app.kubernetes.io/managed-by=fairlead-operator"

// removalLimit is how long any one deletion may take.
const removalLimit = 60 * time.Second

// childrenGone waits until nothing that the operator made is left in any namespace.
func (e *environment) childrenGone(t *testing.T) time.Duration {
	t.Helper()
	return eventually(t, removalLimit, "what the operator made is gone", func() error {
		left := e.kubectl(t, "get", "daemonset,pod,service,configmap,serviceaccount,rolebinding,role", "-A", "-l", managed, "-o", "name")
		if left != "" {
			return fmt.Errorf("left: %s", strings.Join(strings.Fields(left), " "))
		}
		return nil
	})
}

// testDeleteMesh: with the Mesh goes all it made, and its Dtab says why it does nothing.
func testDeleteMesh(t *testing.T, e *environment) {
	e.kubectl(t, "-n", namespace, "delete", "mesh", meshName, "--timeout=60s")
	e.note("children gone after %.1f s", e.childrenGone(t).Seconds())
	eventually(t, settle, "reports go with their Pods", func() error {
		if left := e.kubectl(t, "-n", namespace, "get", "meshproxies", "-o", "name"); left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
	eventually(t, settle, "the Dtab says that its Mesh is gone", func() error {
		dtab, err := e.dtab(t)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(dtab.Status.Conditions, v1alpha1.ConditionAccepted)
		if c == nil || c.Reason != v1alpha1.ReasonMeshNotFound {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	e.kubectl(t, "apply", "-k", "config/samples")
	e.ready(t)
}

// testDeleteOrders: namespace, CRDs and operator may be deleted in any order. It never hangs and leaves nothing.
func testDeleteOrders(t *testing.T, e *environment) {
	orders := [][]string{
		{"operator", "crds", "namespace"}, {"crds", "namespace", "operator"}, {"namespace", "crds", "operator"},
		{"namespace", "operator", "crds"}, {"crds", "operator", "namespace"}, {"operator", "namespace", "crds"},
	}
	for i, order := range orders[:e.sizes.orders] {
		t.Run(strings.Join(order, ","), func(t *testing.T) {
			if i > 0 {
				e.run(t, "hack/deploy", "operator")
				e.kubectl(t, "apply", "-k", "config/samples")
				e.ready(t)
			}
			e.deleteInOrder(t, order)
		})
	}
}

// testCleanUp: a cluster that is kept is as it was before the tests.
func testCleanUp(t *testing.T, e *environment) {
	e.kubectl(t, "delete", "--ignore-not-found", "--timeout=60s", "-f", "config/samples/web.yaml", "-f", "test/e2e/testdata/backends.yaml",
		"-f", "test/testkit/load/load.yaml")
}

func (e *environment) deleteInOrder(t *testing.T, order []string) {
	t.Helper()
	var took []string
	for i, what := range order {
		begin := time.Now()
		e.remove(t, what)
		if what == "crds" && i < 2 {
			e.childrenGone(t) // the garbage collector needs no operator
		}
		elapsed := time.Since(begin)
		if elapsed > removalLimit {
			t.Errorf("%s took %s", what, elapsed)
		}
		took = append(took, fmt.Sprintf("%s %.1f s", what, elapsed.Seconds()))
	}
	e.childrenGone(t)
	eventually(t, removalLimit, "nothing is left", func() error {
		all := e.kubectl(t, "get", "namespace,customresourcedefinition,clusterrole,clusterrolebinding,"+
			"validatingadmissionpolicy,validatingadmissionpolicybinding,priorityclass", "-o", "name")
		var left []string
		for _, name := range strings.Fields(all) {
			if strings.Contains(name, "fairlead") && !strings.HasSuffix(name, "/fairlead-load") {
				left = append(left, name)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	e.note("%s", strings.Join(took, ", "))
}

// remove deletes one part of the installation, as a user would.
func (e *environment) remove(t *testing.T, what string) {
	t.Helper()
	limit := []string{"--ignore-not-found", "--timeout=60s"}
	switch what {
	case "namespace":
		e.kubectl(t, append([]string{"delete", "namespace", namespace}, limit...)...)
	case "crds":
		e.kubectl(t, append([]string{"delete", "-k", "config/crd"}, limit...)...)
	case "operator":
		for _, folder := range []string{"manager", "policy", "proxy", "rbac"} {
			e.kubectl(t, append([]string{"delete", "-k", "config/" + folder}, limit...)...)
		}
		e.kubectl(t, append([]string{"delete", "namespace", systemNamespace}, limit...)...)
	}
}
