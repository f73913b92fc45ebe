package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming/transformer"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestTransformersOfAMesh: each kind that needs no cluster changes where requests go, live, as a part of a router and of a namer.
func TestTransformersOfAMesh(t *testing.T) {
	web, other := backend(t, "web"), backend(t, "other")
	out, adminless := freeport.Get(t), "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n"
	rules := fmt.Sprintf("    dtab:\n    - {prefix: /svc, dst: %s}\n", inet(web))
	a := start(t, Options{})
	c := client(t)
	for _, test := range []struct{ transformers, status, body, id string }{
		{"", "200", "web", inet(web)},
		{"{kind: io.l5d.localhost}", "200", "web", "/%/io.l5d.localhost" + inet(web)},
		{"{kind: io.l5d.specificHost, host: 127.0.0.1}", "200", "web", "/%/io.l5d.specificHost" + inet(web)},
		{"{kind: io.l5d.specificHost, host: 127.0.0.2}", "502", "no-endpoints: no endpoints are available (service /svc/web, client /%/io.l5d.specificHost" + inet(web) + ")\n", ""},
		{fmt.Sprintf("{kind: io.l5d.port, port: %d}", other.Port()), "200", "other", fmt.Sprintf("/%%/io.l5d.port/%d%s", other.Port(), inet(web))},
		{"{kind: io.l5d.replace, path: " + inet(other) + "}", "200", "other", "/%/io.l5d.replace" + inet(other)},
		{"{kind: io.l5d.const, path: " + inet(other) + "}, {kind: io.l5d.localhost}", "200", "other", "/%/io.l5d.localhost/%/io.l5d.const" + inet(other)},
	} {
		text := adminless + fmt.Sprintf("  routers:\n  - name: outgoing\n    servers: [{port: %d}]\n    interpreter: {transformers: [%s]}\n", out, test.transformers) + rules
		if err := a.Apply(t.Context(), decode(t, text)); err != nil {
			t.Fatal(err)
		}
		status, body, h := get(t, c, out, "web")
		if fmt.Sprint(status) != test.status || body != test.body || h.Get("X-Client") != test.id {
			t.Errorf("%s: %d %q from %q, want %s %q from %q", test.transformers, status, body, h.Get("X-Client"), test.status, test.body, test.id)
		}
	}
}

// TestWhatMayBeDialled: endpoints of the cluster's own discovery wherever they are; what else there is only where the policy allows it.
func TestWhatMayBeDialled(t *testing.T) {
	c := newCluster(t)
	a := c.node(t, "a")
	for text, want := range map[string]bool{
		"/#/io.l5d.k8s/default/http/web": true,
		"/%/io.l5d.k8s.daemonset/mesh/incoming/demo-proxy/#/io.l5d.k8s/default/http/web": true,
		"/%/io.l5d.localhost/%/io.l5d.k8s.localnode/a/#/io.l5d.k8s/default/http/web":     true,
		"/%/io.l5d.replace/#/io.l5d.k8s/default/http/web":                                true,
		"/%/io.l5d.port/10250/#/io.l5d.k8s/default/http/web":                             false,
		"/%/io.l5d.localhost/%/io.l5d.port/10250/#/io.l5d.k8s/default/http/web":          false,
		"/%/io.l5d.const/$/inet/127.0.0.1/10250":                                         false,
		"/$/inet/127.0.0.1/10250":                                                        false,
		"/#/io.l5d.fs/web":                                                               false,
		"/$/inet/#/io.l5d.k8s/default/http/web":                                          false,
	} {
		id, err := dtab.ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.isDiscovered(id); got != want {
			t.Errorf("%s: discovered %t", text, got)
		}
	}
}

// TestNamersBelowDiscovery: files and name servers mounted below the prefix of the cluster's discovery are none: their addresses are
// dialled only where the policy allows it, and no other proxy can choose them.
func TestNamersBelowDiscovery(t *testing.T) {
	c := newCluster(t)
	files := t.TempDir()
	target, ordinary := app(t, "file"), app(t, "cluster")
	if err := os.WriteFile(filepath.Join(files, "web"), fmt.Appendf(nil, "127.0.0.1 %d\n", target.Port()), 0o600); err != nil {
		t.Fatal(err)
	}
	c.set("/default/http/web", on("a", ordinary))
	policy, err := ClusterPolicy()
	if err != nil {
		t.Fatal(err)
	}
	for prefix, mine := range map[string]string{"/io.l5d.k8s/files": "/#/io.l5d.k8s/files/web", "/io.l5d.k8s": "/#/io.l5d.k8s/web"} {
		n := &proxyNode{name: "a", outgoing: freeport.Get(t), incoming: freeport.Get(t), metrics: telemetry.New()}
		n.App = start(t, Options{Metrics: n.metrics, Node: "a", Kubernetes: c.store().Namer, Policy: policy})
		namers := fmt.Sprintf("  namers: [{kind: io.l5d.k8s}, {kind: io.l5d.fs, prefix: %s, rootDir: %q}]\n", prefix, files)
		if err := n.Apply(t.Context(), hopMesh(t, n.outgoing, n.incoming, namers, "/svc/file => "+mine)); err != nil {
			t.Fatal(err)
		}
		if status, body, _ := get(t, client(t), n.outgoing, "file"); status != 502 {
			t.Errorf("%s: %d %q from an address of this node", mine, status, body)
		}
		// The cluster's own endpoint stays within reach unless files have the very prefix, which leaves untold whose a name is.
		want := 200
		if prefix == "/io.l5d.k8s" {
			want = 502
		}
		if status, body, _ := get(t, client(t), n.outgoing, "web"); status != want {
			t.Errorf("beside %s: %d %q, want %d", mine, status, body, want)
		}
		get(t, client(t), n.incoming, "none", "l5d-dst-endpoint", target.String(), "l5d-dst-service", "/svc/none", "l5d-dst-client", mine)
		n.settles(t, "rt/incoming/chosen/refused", 1)
	}
}

// TestReportsCountTheWholeService: what a router keeps to its own node has not lost the endpoints of others.
func TestReportsCountTheWholeService(t *testing.T) {
	c := newCluster(t)
	unready := on("b", app(t, "b2"))
	unready.Serving = false
	c.set("/default/http/web", on("a", app(t, "a1")), on("b", app(t, "b1")), unready)
	a := start(t, Options{Node: "a", Kubernetes: c.store().Namer})
	incoming := freeport.Get(t)
	text := fmt.Sprintf(`apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: demo, namespace: mesh}
spec:
  routers:
  - name: incoming
    servers: [{ip: 127.0.0.1, port: %d}]
    interpreter: {transformers: [{kind: io.l5d.k8s.localnode}]}
---
apiVersion: fairlead.dev/v1alpha1
kind: Dtab
metadata: {name: web, namespace: mesh}
spec:
  meshRef: {name: demo}
  router: incoming
  dentries:
  - {prefix: /svc/web, dst: /#/io.l5d.k8s/default/http/web}
`, incoming)
	cfg, problem := config.DecodeConfig("test.yaml", []byte(text), config.Cluster)
	if problem != nil {
		t.Fatal(problem)
	}
	if err := a.Apply(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	client := client(t)
	for range 5 {
		if status, body, h := get(t, client, incoming, "web"); status != 200 || body != "a1" || !strings.HasPrefix(h.Get("X-L5d-Dst-Client"), "/%/"+transformer.KindLocalNode+"/a/#/") {
			t.Fatalf("%d %q %v", status, body, h)
		}
	}
	until(t, func() error { // a request is counted when its last byte was sent
		s := a.Health()
		d, b := s.Dtabs[0], s.Balancers[0]
		if d.Endpoints != 3 || d.Available != 2 || d.Requests != 5 || d.State != stateBound || len(s.Balancers) != 1 ||
			b.Client != "/#/io.l5d.k8s/default/http/web" || b.Endpoints != 3 || b.Available != 2 || s.Totals.Endpoints != "2/3" {
			return fmt.Errorf("report %+v", s)
		}
		return nil
	})
}
