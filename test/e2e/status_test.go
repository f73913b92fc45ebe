//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// row is what kubectl prints of one object, by column.
type row map[string]string

// rows cuts what kubectl get prints of one Kind by the places where the headings stand: values have spaces in them.
func (e *environment) rows(t *testing.T, args ...string) []row {
	t.Helper()
	lines := strings.Split(strings.TrimRight(e.kubectl(t, append([]string{"-n", namespace, "get"}, args...)...), "\n"), "\n")
	starts := regexp.MustCompile(`\S+`).FindAllStringIndex(lines[0], -1)
	var out []row
	for _, line := range lines[1:] {
		r := row{}
		for i, at := range starts {
			end := len(line)
			if i+1 < len(starts) {
				end = min(end, starts[i+1][0])
			}
			r[lines[0][at[0]:at[1]]] = strings.TrimSpace(line[min(at[0], end):end])
		}
		out = append(out, r)
	}
	return out
}

// testEndpoints: a backend that fails its readiness is missing from the column, as long as it does.
func testEndpoints(t *testing.T, e *environment) {
	e.setRuleAndWait(t, "9 * "+allV1+" & 1 * "+allV2)
	// The Mesh also counts what other steps called and nobody uses any more, so there only how many are missing is known.
	shows := func(want string, missing int) time.Duration {
		return eventually(t, settle, "ENDPOINTS "+want, func() error {
			if got := e.rows(t, "dtab", dtabName)[0]["ENDPOINTS"]; got != want {
				return fmt.Errorf("ENDPOINTS %q", got)
			}
			var available, total int
			got := e.rows(t, "mesh", meshName)[0]["ENDPOINTS"]
			if _, err := fmt.Sscanf(got, "%d/%d", &available, &total); err != nil || total-available != missing {
				return fmt.Errorf("ENDPOINTS of the mesh %q, want %d missing", got, missing)
			}
			return nil
		})
	}
	shows("4/4", 0)
	var backends corev1.PodList
	if err := e.client.List(t.Context(), &backends, client.InNamespace("default"), client.MatchingLabels{"version": "v1"}); err != nil {
		t.Fatal(err)
	}
	toggle := func() {
		status, body, err := e.call(t, http.MethodPost, "http://"+backends.Items[0].Status.PodIP+":8080/toggle")
		if err != nil || status != http.StatusOK {
			t.Fatalf("toggle: %d %s %v", status, body, err)
		}
	}
	toggle()
	dropped := shows("3/4", 1)
	toggle()
	e.note("unready to 3/4: %.1f s; ready to 4/4: %.1f s", dropped.Seconds(), shows("4/4", 0).Seconds())
}

// testColumns: the tables show what docs/spec says, from what the proxies report.
func testColumns(t *testing.T, e *environment) {
	e.ready(t)
	fleet := e.fleet(t)
	fleet.start(t, "web", 0) // numbers alone are written once a minute: there must be some by then
	cell := func(kind string, r row, want map[string]string) error {
		for column, form := range want {
			value, ok := r[column]
			if !ok || !regexp.MustCompile("^("+form+")$").MatchString(value) {
				return fmt.Errorf("%s: column %s is %q, want %s", kind, column, value, form)
			}
		}
		return nil
	}
	const age = `\d+[smhd].*`
	eventually(t, settle, "the columns", func() error {
		mesh := e.rows(t, "mesh", "-o", "wide")
		if len(mesh) != 1 {
			return fmt.Errorf("%d meshes", len(mesh))
		}
		if err := cell("mesh", mesh[0], map[string]string{"NAME": meshName, "READY": "True", "NODES": "3/3", "PROGRAMMED": "3/3",
			"BALANCERS": `(\d+)/\d+`, "ENDPOINTS": `\d+/\d+`, "AGE": age, "WORST": ".*", "MESSAGE": ".*"}); err != nil {
			return err
		}
		dtab := e.rows(t, "dtab", "-o", "wide")
		if len(dtab) != 1 {
			return fmt.Errorf("%d dtabs", len(dtab))
		}
		return cell("dtab", dtab[0], map[string]string{"NAME": dtabName, "MESH": meshName, "ROUTER": "outgoing", "READY": "True",
			"PROGRAMMED": "3/3", "ENDPOINTS": "4/4", "AGE": age, "MESSAGE": ".*",
			"SPLIT": `(89|9[01])(\.\d)?%/90% web-v1, (9|1[01])(\.\d)?%/10% web-v2`})
	})
	noneFailed(t, fleet.stop(t))
	proxies := e.rows(t, "meshproxies", "-o", "wide")
	nodes := map[string]bool{}
	for _, r := range proxies {
		nodes[r["NODE"]] = true
		if err := cell("meshproxy", r, map[string]string{"MESH": meshName, "NODE": "n[123]", "GENERATION": `\d+`, "REVISION": "[0-9a-f]+",
			"SINCE": age, "ENDPOINTS": `\d+/\d+`, "REQUESTS": `\d+`, "VERSION": ".+"}); err != nil {
			t.Error(err)
		}
		if r["REVISION"] != proxies[0]["REVISION"] {
			t.Errorf("proxies serve %s and %s", r["REVISION"], proxies[0]["REVISION"])
		}
	}
	if len(nodes) != nodeCount {
		t.Errorf("reports of %d nodes, want %d", len(nodes), nodeCount)
	}
	for _, short := range []string{"mesh", "dt", "mp"} {
		e.kubectl(t, "-n", namespace, "get", short)
	}
	if all := e.kubectl(t, "-n", namespace, "get", "fairlead", "-o", "name"); len(strings.Fields(all)) != 2+nodeCount {
		t.Errorf("the category fairlead has %q", all)
	}
}

// testForeignReport: a proxy writes its own report and no other. Everything is a dry run, which admission decides like a real one.
func testForeignReport(t *testing.T, e *environment) {
	pods := e.proxies(t)
	own, other := pods["n1"], pods["n2"]
	bound := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: own.Name, UID: own.UID}
	withPod, without := e.as(t, bound), e.as(t, nil)
	report := func(c client.Client, pod *corev1.Pod) error {
		object := &v1alpha1.MeshProxy{}
		if err := e.client.Get(t.Context(), client.ObjectKeyFromObject(pod), object); err != nil {
			t.Fatal(err)
		}
		patch := client.MergeFrom(object.DeepCopy())
		object.Status.DtabRevision = "forged"
		return c.Status().Patch(t.Context(), object, patch, client.DryRunAll)
	}
	create := func(c client.Client, name string) error {
		object := &v1alpha1.MeshProxy{}
		if err := e.client.Get(t.Context(), client.ObjectKeyFromObject(&own), object); err != nil {
			t.Fatal(err)
		}
		object.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name, OwnerReferences: object.OwnerReferences}
		return c.Create(t.Context(), object, client.DryRunAll)
	}
	if err := report(withPod, &own); err != nil {
		t.Errorf("its own report is denied: %v", err)
	}
	for what, err := range map[string]error{
		"another Pod's report": report(withPod, &other), "a report without a Pod's claims": report(without, &own),
		"a report of a Pod that does not exist": create(withPod, "demo-proxy-other"),
	} {
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "fairlead-meshproxy") {
			t.Errorf("%s: %v, want it denied by the policy fairlead-meshproxy", what, err)
		}
	}
}

// as returns a client with a token of the proxies' service account, bound to a Pod or to nothing.
func (e *environment) as(t *testing.T, pod *authenticationv1.BoundObjectReference) client.Client {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "demo-proxy"}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: pod}}
	if err := e.client.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(e.rest)
	config.BearerToken = request.Status.Token
	config.Proxy = e.rest.Proxy
	return newClient(t, config)
}
