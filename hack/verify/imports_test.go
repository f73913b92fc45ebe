// Package verify holds the rules of the house that a compiler does not check. It has tests only.
package verify

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fairlead/fairlead"

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath   string
	Name         string
	Dir          string
	Standard     bool
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Module       *struct{ Path string }
}

func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Name,Dir,Standard,Imports,GoFiles,TestGoFiles,XTestGoFiles,Module"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

// rule says what packages below a folder may import besides the standard library. Entries ending in /... allow all below.
type rule struct {
	folder string
	allow  []string
}

// The first rule whose folder holds a package is the one that counts.
var rules = []rule{
	{"api/v1alpha1/applyconfiguration", []string{"k8s.io/apimachinery/...", "k8s.io/client-go/applyconfigurations/...", "k8s.io/api/core/v1", "sigs.k8s.io/structured-merge-diff/...", module + "/api/..."}},
	{"api", []string{"k8s.io/apimachinery/...", "k8s.io/api/core/v1"}},
	{"proxy/dtab/lint", []string{module + "/proxy/dtab", module + "/proxy/spelling"}},
	{"proxy/pace", []string{"golang.org/x/sys/unix"}},
	{"proxy/spelling", nil},
	{"proxy/dtab", []string{module + "/proxy/pace"}},
	{"proxy/config", []string{module + "/api/v1alpha1", module + "/proxy/dtab", module + "/proxy/pace", module + "/proxy/spelling", "k8s.io/apimachinery/...", "k8s.io/api/core/v1", "sigs.k8s.io/yaml/...", "go.yaml.in/yaml/v3"}},
	{"proxy/identify", []string{module + "/api/v1alpha1", module + "/proxy/config", module + "/proxy/dtab"}},
	{"proxy/resilience", []string{module + "/proxy/resilience/..."}},
	{"proxy/balance", []string{module + "/proxy/balance/...", module + "/proxy/naming", module + "/proxy/resilience/classify"}},
	{"proxy/naming/k8s", []string{module + "/proxy/naming/...", module + "/proxy/dtab", module + "/proxy/telemetry", "k8s.io/api/...", "k8s.io/apimachinery/...", "k8s.io/client-go/...", "k8s.io/klog/v2", "google.golang.org/protobuf/encoding/protowire", "github.com/go-logr/logr"}},
	{"proxy/naming", []string{module + "/proxy/naming/...", module + "/proxy/dtab", module + "/proxy/spelling", "golang.org/x/sys/unix", "golang.org/x/net/dns/dnsmessage"}},
	{"proxy/telemetry/prometheus", []string{module + "/proxy/telemetry", "github.com/prometheus/..."}},
	{"proxy/telemetry", nil},
	{"proxy/handover", []string{"golang.org/x/sys/unix"}},
	{"proxy/transport", []string{"golang.org/x/sys/unix", "github.com/go-logr/logr"}},
	{"proxy/protocol", []string{module + "/proxy/balance", module + "/proxy/resilience/...", module + "/proxy/transport", module + "/proxy/naming", "github.com/go-logr/logr"}},
	{"proxy/route", []string{module + "/api/v1alpha1", module + "/proxy/balance/...", module + "/proxy/config", module + "/proxy/dtab", module + "/proxy/naming", module + "/proxy/resilience/...", module + "/proxy/telemetry"}},
	{"proxy/admin", []string{module + "/proxy/telemetry", "github.com/go-logr/logr", "golang.org/x/net/netutil"}},
	{"proxy/control", []string{module + "/api/...", module + "/proxy/config", module + "/proxy/dtab", module + "/proxy/pace", module + "/proxy/naming/k8s/...", module + "/proxy/telemetry", "k8s.io/apimachinery/...", "k8s.io/client-go/...", "k8s.io/utils/...", "github.com/go-logr/logr", "sigs.k8s.io/yaml"}},
	{"proxy/app", []string{module + "/proxy/...", module + "/api/v1alpha1", "github.com/go-logr/logr"}},
	{"controllers/desired", []string{module + "/api/...", module + "/proxy/config", module + "/proxy/dtab", "k8s.io/api/...", "k8s.io/apimachinery/...", "k8s.io/client-go/applyconfigurations/...", "sigs.k8s.io/yaml"}},
	{"controllers/rollup", []string{module + "/api/...", module + "/proxy/config", module + "/proxy/dtab", "k8s.io/api/...", "k8s.io/apimachinery/..."}},
	{"controllers", []string{module + "/api/...", module + "/controllers/...", module + "/proxy/config", module + "/proxy/dtab", "k8s.io/...", "sigs.k8s.io/...", "github.com/go-logr/...", "golang.org/x/time/rate", "github.com/prometheus/..."}},
	{"cmd/proxy", []string{module + "/proxy/app", module + "/proxy/config", module + "/proxy/control", "github.com/go-logr/...", "go.uber.org/zap/..."}},
	{"cli", []string{module + "/api/...", module + "/config/crd", module + "/proxy/app", module + "/proxy/config", module + "/proxy/dtab/...", module + "/proxy/naming", module + "/proxy/spelling", "k8s.io/...", "sigs.k8s.io/controller-runtime/...", "sigs.k8s.io/yaml", "github.com/spf13/cobra"}},
	{"cmd/fairlead", []string{module + "/cli", "k8s.io/cli-runtime/..."}},
	{"cmd/operator", []string{module + "/api/...", module + "/controllers/...", "k8s.io/...", "sigs.k8s.io/...", "github.com/go-logr/...", "go.uber.org/zap/..."}},
}

func matches(pattern, path string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return path == pattern
}

func TestImports(t *testing.T) {
	standard := make(map[string]bool)
	for _, p := range goList(t, "std") {
		standard[p.ImportPath] = true
	}
	for _, p := range goList(t, "./...") {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		i := slices.IndexFunc(rules, func(r rule) bool { return matches(r.folder+"/...", folder) })
		if i < 0 {
			continue
		}
		for _, path := range p.Imports {
			if standard[path] || slices.ContainsFunc(rules[i].allow, func(a string) bool { return matches(a, path) }) {
				continue
			}
			t.Errorf("%s imports %s, which the rule of %s does not allow", folder, path, rules[i].folder)
		}
	}
}

// TestPureRooms: desired and rollup decide from what they are given, so they have no client, no context and no clock.
func TestPureRooms(t *testing.T) {
	for _, p := range goList(t, "./controllers/desired", "./controllers/rollup", "./proxy/config") {
		if slices.Contains(p.Imports, "context") {
			t.Errorf("%s imports context", p.ImportPath)
		}
		for _, file := range p.GoFiles {
			text, err := os.ReadFile(p.Dir + "/" + file)
			if err != nil {
				t.Fatal(err)
			}
			for _, clock := range []string{"time.Now(", "metav1.Now("} {
				if bytes.Contains(text, []byte(clock)) {
					t.Errorf("%s/%s calls %s)", p.ImportPath, file, clock)
				}
			}
		}
	}
}

// TestProxyGraph holds what must not be linked into the proxy, and that each module in it was decided on.
func TestProxyGraph(t *testing.T) {
	decided, err := os.ReadFile("../../docs/adr/0002-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	forbidden := []string{
		"k8s.io/client-go/kubernetes/...", "k8s.io/client-go/dynamic/...", "k8s.io/client-go/informers/...",
		"sigs.k8s.io/controller-runtime/...", module + "/controllers/...", module + "/cli/...", "github.com/spf13/cobra/...", "k8s.io/cli-runtime/...",
	}
	modules := make(map[string]bool)
	for _, p := range goList(t, "-deps", "./cmd/proxy") {
		for _, f := range forbidden {
			if matches(f, p.ImportPath) {
				t.Errorf("cmd/proxy links %s", p.ImportPath)
			}
		}
		if p.Module != nil && p.Module.Path != module {
			modules[p.Module.Path] = true
		}
	}
	for m := range modules {
		if !bytes.Contains(decided, []byte("`"+m+"`")) {
			t.Errorf("module %s is linked into cmd/proxy and has no line in docs/adr/0002-dependencies.md", m)
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "base", "misc"}, p.Name) {
			t.Errorf("%s: the name %s says nothing", p.ImportPath, p.Name)
		}
	}
}
