//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testCLI: the command line finds all well, and has the proxies explain and compare through pods/proxy.
func testCLI(t *testing.T, e *environment) {
	t.Setenv("NO_PROXY", "*") // straight, whatever the environment says
	const split = "3 * " + allV1 + " & 1 * " + allV2
	e.setRuleAndWait(t, split)
	fleet := e.fleet(t)
	for node := range fleet.addresses {
		if s := fleet.once(t, node, ownNode, "web"); s.Failed() {
			t.Fatalf("web from %s: %+v", node, s)
		}
	}
	eventually(t, settle, "fairlead check", func() error {
		out, err := e.try(t, "bin/fairlead", "check")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	var rows []struct{ Node, State, Reason string }
	if err := json.Unmarshal([]byte(e.run(t, "bin/fairlead", "proxies", "-o", "json")), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != nodeCount {
		t.Errorf("%d proxies: %+v", len(rows), rows)
	}
	for _, r := range rows {
		if r.State != "synced" {
			t.Errorf("proxy on %s is %s: %s", r.Node, r.State, r.Reason)
		}
	}
	tree := e.run(t, "bin/fairlead", "dtab", "delegate", "/svc/web")
	for _, want := range []string{allV1 + "  75% bound, ", allV2 + "  25% bound, ", "<- " + namespace + "/" + dtabName + "[0] /svc/web => ", "<- mesh[0] /host => "} {
		if !strings.Contains(tree, want) {
			t.Errorf("%q is not in\n%s", want, tree)
		}
	}
	shift := filepath.Join(t.TempDir(), "dtab.yaml")
	if err := os.WriteFile(shift, fmt.Appendf(nil, "apiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: %s, namespace: %s}\n"+
		"spec:\n  meshRef: {name: %s}\n  router: outgoing\n  dentries:\n  - {prefix: /svc/web, dst: %s}\n", dtabName, namespace, meshName, allV2), 0o600); err != nil {
		t.Fatal(err)
	}
	diff := e.run(t, "bin/fairlead", "dtab", "diff", "-f", shift)
	for _, want := range []string{"(over 3 proxies) would go elsewhere", "/svc/web: 75% of its requests", "old: 75% " + allV1 + ", 25% " + allV2, "new: 100% " + allV2} {
		if !strings.Contains(diff, want) {
			t.Errorf("%q is not in\n%s", want, diff)
		}
	}
	if out := e.run(t, "bin/fairlead", "dtab", "lint", "--fail-on=warning"); !strings.Contains(out, "0 errors, 0 warnings") {
		t.Errorf("lint says\n%s", out)
	}
}
