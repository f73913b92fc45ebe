package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/naming"
)

const (
	sampleMesh = "../config/samples/mesh.yaml"
	sampleDtab = "../config/samples/dtab.yaml"
)

func TestParse(t *testing.T) {
	run(t, "/a=>/b|/c;\n  /d => 1*/e & .5 * ! ;", "dtab", "parse").expect(t, 0, "/a => /b | /c ;\n", "/d => /e & 0.50*! ;\n")
	run(t, "", "dtab", "parse", file(t, "/a => /b;\n/c => (/d")).expect(t, 1, "file.yaml:2:10: expected ")
	run(t, "", "dtab", "parse", "/does/not/exist").expect(t, 1, "no such file")
	run(t, "", "dtab", "parse", "-f", file(t, "/a=>/b")).expect(t, 0, "/a => /b ;\n")
	run(t, "/a=>/b", "dtab", "parse", "-f", "-").expect(t, 0, "/a => /b ;\n")
	run(t, "", "dtab", "parse", "-f", file(t, "/a => /b;\n/c => (/d")).expect(t, 1, "file.yaml:2:10: expected ")
	run(t, "", "dtab", "parse", "/a=>/b").expect(t, 0, "/a => /b ;\n")
	run(t, "", "dtab", "parse", "/a=>/b;\n/c => (/d").expect(t, 1, "fairlead: dtab:2:10: expected ")
	run(t, "", "dtab", "parse", "a", "-f", "b").expect(t, 1, "expected FILE or --filename, found both")
	run(t, "", "dtab", "parse", "-f", sampleDtab).expect(t, 1, "dtab.yaml:", "\nhint: Mesh and Dtab documents are checked by fairlead dtab lint -f FILE")
	r := run(t, "/a => /b", "dtab", "parse", "-o", "json").expect(t, 0)
	var rules []map[string]any
	if err := json.Unmarshal([]byte(r.out), &rules); err != nil || len(rules) != 1 || rules[0]["dst"] != "/b" {
		t.Errorf("%v, %s", err, r)
	}
	run(t, "", "dtab", "parse", "-o", "yaml").expect(t, 1, "expected json")
}

// Files alone explain a name: which branches there are, what requests take, and where each step comes from.
func TestDelegateFromFiles(t *testing.T) {
	r := run(t, "", "dtab", "delegate", "/svc/web", "-f", sampleMesh, "-f", sampleDtab).expect(t, 0,
		"* /svc/web\n", "& 9.00 * /#/io.l5d.k8s/default/http/web-v1  through /%/io.l5d.k8s.daemonset/", "/#/io.l5d.k8s/default/http/web-v1  90% bound, ", "  <- fairlead/web[0] /svc/web => ",
		"<- mesh[0] /host => /#/nsSvc/default", "/#/nsSvc/web  does not exist (~)")
	if marked := strings.Count("\n"+r.out, "\n* "); marked != 6 {
		t.Errorf("%d lines are marked, want those of the name, its rule and the two branches with what they go through\n%s", marked, r)
	}
	run(t, "", "dtab", "delegate", "/svc/web", "-f", sampleMesh, "-f", sampleDtab, "--bound", "/#/io.l5d.k8s/default/http/web-v2").
		expect(t, 0, "web-v1  does not exist (~)", "web-v2  100% bound")
	run(t, "", "dtab", "delegate", "/svc/web", "--dtab", "/svc => /#/a | /#/b", "--bound", "/#/b").expect(t, 0, "*   | /#/b/web  100% bound /#/b residual /web")
	// A status answers by itself: it has no endpoints to count.
	status := run(t, "", "dtab", "delegate", "/svc/web", "--dtab", "/svc => /$/io.buoyant.http.status/503").
		expect(t, 0, "*   /$/io.buoyant.http.status/503/web  100% answers with status 503  <- mesh[0]")
	if strings.Contains(status.out, "endpoints") {
		t.Error(status)
	}
	// A circle is named, and what follows it left out.
	circle := run(t, "", "dtab", "delegate", "/svc/web", "--dtab", "/svc => /svc; /svc => /svc")
	if want := "* /svc/web  (error)\n*   | /svc/web  error: leads in a circle: /svc -> /svc  <- mesh[1] /svc => /svc\n" +
		"    | /svc/web  leads in a circle: /svc -> /svc  <- mesh[0] /svc => /svc\n"; circle.out != want {
		t.Errorf("want\n%s\n%s", want, circle)
	}
	run(t, "", "dtab", "delegate", "/svc/web", "--dtab", "/svc => /a; /a => /b; /b => /c; /c => /d; /d => /e; /e => /f; /f => /svc").
		expect(t, 0, "error: leads in a circle: /svc -> /a -> /b -> /c -> /d -> 2 more -> /svc  <- ")
	run(t, "", "dtab", "delegate", "/svc/web", "-f", sampleMesh, "--override", "/svc => !").expect(t, 0, "l5d-dtab[0] /svc => !")
	// A circle with a way out ends in no error: what goes around again is told.
	run(t, "", "dtab", "delegate", "/svc/web", "--dtab", "/svc => 1 * /svc & 3 * /#/a", "--bound", "/#/a").
		expect(t, 0, "*   & 1.00 * /svc/web  25% leads in a circle: /svc -> /svc  <- ", "/#/a/web  75% bound /#/a residual /web")
	j := run(t, "", "dtab", "delegate", "/svc/web", "-o", "json", "-f", sampleMesh, "-f", sampleDtab).expect(t, 0)
	var root naming.Step
	if err := json.Unmarshal([]byte(j.out), &root); err != nil || root.Type != naming.StepAlt || !root.Alt[0].Primary ||
		root.Alt[0].Union[0].Tree.Dentry.Object != "fairlead/web" {
		t.Errorf("%v, %s", err, j)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"svc", "--dtab", "/a => /b"}, "path:1:1: expected '/'"},
		{[]string{"/svc", "--dtab", "/a => /b", "--override", "/a => /b;\n/c"}, "--override:2:3: expected "},
		{[]string{"/svc", "--dtab", "/a => "}, "--dtab:1:7: expected "},
		{[]string{"/svc", "--dtab", "/a => /b", "-f", sampleMesh}, "found both"},
		{[]string{"/svc", "-f", sampleDtab}, "expected one Mesh, found none"},
		{[]string{"/svc", "-f", sampleMesh, "--router", "none"}, `there is no router "none": expected one of outgoing, incoming`},
		{nil, "expected one PATH, as in /svc/web, found 0 arguments"},
		{[]string{"/svc", "--dtab", "/a => /b", "--bound", "/a"}, "expected a name below /#/"},
		{[]string{"/svc", "-f", sampleMesh, "-f", file(t, "kind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: a}\n"+
			"spec:\n  meshRef: {name: demo}\n  router: outgoing\n  dentries:\n  - {prefix: /svc, dst: /a |}\n")}, "file.yaml:8:"},
	} {
		run(t, "", append([]string{"dtab", "delegate"}, c.args...)...).expect(t, 1, c.want)
	}
}

func TestLintFromFiles(t *testing.T) {
	run(t, "", "dtab", "lint", "-f", sampleMesh, "-f", sampleDtab, "--fail-on=warning").expect(t, 0, "0 errors, 0 warnings")
	run(t, "", "dtab", "lint", "-f", sampleMesh, "--fail-on=warning").expect(t, 0, "0 errors, 0 warnings")
	run(t, "", "dtab", "lint", "-f", "../config/samples/standalone/mesh.yaml", "--standalone", "--fail-on=warning").expect(t, 0, "0 errors, 0 warnings")
	bad := file(t, "kind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: bad, namespace: fairlead}\nspec:\n  meshRef: {name: demo}\n"+
		"  router: outgoing\n  dentries:\n  - {prefix: /svc/a, dst: /#/io.l5d.k8x/b}\n  - {prefix: /svc/b, dst: /svc/b}\n")
	run(t, "", "dtab", "lint", "-f", sampleMesh, "-f", bad).expect(t, 1, "warning: router outgoing: fairlead/bad[0] no-namer: /svc/a=>/#/io.l5d.k8x/b",
		"error: router outgoing: fairlead/bad[1] self-reference", "/svc/b -> /svc/b", "1 error, 1 warning")
	own := file(t, "kind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: own, namespace: fairlead}\nspec:\n  meshRef: {name: demo}\n"+
		"  router: outgoing\n  dentries:\n  - {prefix: /canary, dst: /#/io.l5d.k8s/default/http/web}\n")
	for ignore, want := range map[string]string{
		"": "0 errors, 1 warning\n", "unreachable:fairlead/other,shadowed": "0 errors, 1 warning\n", "unreachable:mesh": "0 errors, 1 warning\n",
		"unreachable": "0 errors, 0 warnings, 1 ignored\n", "loop,unreachable:fairlead/own": "0 errors, 0 warnings, 1 ignored\n",
	} {
		args := []string{"dtab", "lint", "-f", sampleMesh, "-f", own, "--fail-on=warning", "--ignore", ignore}
		if r := run(t, "", args...); !strings.HasSuffix(r.out, want) || (r.code == 0) != strings.Contains(want, "0 warnings") ||
			strings.Contains(r.out, "unreachable") != (r.code == 1) {
			t.Errorf("--ignore %s: %s", ignore, r)
		}
	}
	run(t, "", "dtab", "lint", "--dtab", "/a => /b", "--ignore", "unreachible").expect(t, 1, "--ignore: expected one of loop, ", `found "unreachible"`)
	run(t, "", "dtab", "lint", "--dtab", "/a => /$/inet/host/http").expect(t, 1, "error: mesh[0] bad-utility: /a=>/$/inet/host/http\n  why: ",
		`expected a port number from 1 to 65535 after the host, as in /$/inet/host/80, found "http"`)
	run(t, "", "dtab", "lint", "--dtab", "/a => /#/x | ! | /#/y").expect(t, 0, "unreachable-branch")
	run(t, "", "dtab", "lint", "--dtab", "/a => /#/x | ! | /#/y", "--fail-on", "warning").expect(t, 1)
	run(t, "", "dtab", "lint", "--dtab", "/a => /b", "--fail-on", "none").expect(t, 1, "expected error or warning")
	var reports []lintReport
	r := run(t, "", "dtab", "lint", "-o", "json", "-f", sampleMesh, "-f", bad).expect(t, 1)
	if err := json.Unmarshal([]byte(r.out), &reports); err != nil || len(reports) != 2 || len(reports[0].Findings) != 2 {
		t.Errorf("%v, %s", err, r)
	}
}

// What is written for Linkerd, or by hand, and is no document is told what is expected in its place.
func TestHintsForFiles(t *testing.T) {
	const head = "kind: Mesh\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: demo}\nspec:\n"
	for text, want := range map[string]string{
		head + "  routers:\n  - name: outgoing\n    servers: [{port: 4140}]\n    dtab: |\n      /svc => /host;\n": `file.yaml:8:11: spec.routers[0].dtab: expected a list of rules, as in "- {prefix: /svc, dst: /host}" (a dtab as text, `,
		head + "\trouters:\n\t- name: outgoing\n":                      "file.yaml:5:1: YAML: expected spaces before the text of the line, found a tab\n",
		head + "  routers:\n  - name: outgoing\n  \tservers: [1]\n":    "file.yaml:7:3: YAML: expected spaces before the text of the line, found a tab\n",
		"# rules\n/svc => /host;\n/host => /#/io.l5d.k8s/default/http": "\nhint: for a plain dtab use --dtab ",
	} {
		run(t, "", "dtab", "lint", "-f", file(t, text)).expect(t, 1, want)
	}
}

// What the flags say at once, and cannot both be done, is refused, not half ignored.
func TestFlagsThatClash(t *testing.T) {
	const admin = "http://127.0.0.1:1"
	for want, args := range map[string][]string{
		"found both: with rules given no proxy is asked": {"dtab", "delegate", "/svc/web", "-f", sampleMesh, "--admin", admin},
		"--filename or --dtab, found both":               {"dtab", "delegate", "/svc/web", "--dtab", "/svc => /a", "--proxy", "pod"},
		"--admin: expected neither --mesh nor --proxy":   {"check", "--admin", admin, "--mesh", "other"},
		"which choose among those of a cluster":          {"proxies", "--admin", admin, "--proxy", "pod"},
	} {
		run(t, "", args...).expect(t, 1, want)
	}
}

func TestDiffFromFiles(t *testing.T) {
	half := file(t, strings.Replace(read(t, sampleDtab), "9 * ", "1 * ", 1))
	names := file(t, "# names\n/svc/web 120\n\n/svc/api 7\n")
	args := []string{"dtab", "diff", "--base", sampleMesh, "--base", sampleDtab, "--names", names, "-f"}
	run(t, "", append(args, half)...).expect(t, 0, "router outgoing: 1 of 2 names in use would go elsewhere", "/svc/web: 40% of its requests (120 so far)",
		"old: 90% /#/io.l5d.k8s/default/http/web-v1, 10% /", "new: 50% /#/io.l5d.k8s/default/http/web-v1, 50% /", "router incoming: 0 of 2")
	run(t, "", append(args, sampleDtab)...).expect(t, 0, "router outgoing: 0 of 2")
	run(t, "/svc/web", "dtab", "diff", "--base", sampleMesh, "--base", sampleDtab, "--names", "-", "-f", half).expect(t, 0, "/svc/web: 40% of its requests would move\n")
	run(t, "", append(args, half, "--router", "none")...).expect(t, 1, `has no router "none": expected one of outgoing, incoming`)
	// A Mesh and its Dtab in one file, as a standalone proxy has them, without a namespace.
	whole := strings.ReplaceAll(read(t, sampleMesh)+"---\n"+read(t, sampleDtab), "  namespace: fairlead\n", "")
	run(t, "", "dtab", "diff", "--base", file(t, whole), "--names", names, "-f", file(t, strings.Replace(whole, "9 * ", "1 * ", 1))).
		expect(t, 0, "router outgoing: 1 of 2 names in use would go elsewhere")
	// A namer that nobody has yet is no reason to believe that what leads to it is gone, without a word.
	const mesh = "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec: {namers: [{kind: io.l5d.k8s}%s]}\n"
	added := file(t, fmt.Sprintf(mesh, ", {kind: io.l5d.fs, rootDir: /disco, prefix: /new}"))
	run(t, "", "dtab", "diff", "--base", file(t, fmt.Sprintf(mesh, "")), "--names", names, "-f", added).
		expect(t, 0, "\n  /#/new is a namer that is not in use yet: what leads there counts as not there\n")
	run(t, "", "dtab", "diff").expect(t, 1, "expected --filename")
	run(t, "", "dtab", "diff", "-f", half, "--base", sampleMesh).expect(t, 1, "expected --names with --base")
	run(t, "", "dtab", "diff", "-f", half, "--base", sampleMesh, "--names", file(t, "/svc/web many")).expect(t, 1, "fairlead: --names: ", "file.yaml:1: expected a name and the number")
	run(t, "/svc/web\nsvc", "dtab", "diff", "-f", half, "--base", sampleMesh, "--names", "-").
		expect(t, 1, `fairlead: --names: standard input:2: expected a name, as in /svc/web: "svc": expected '/', found 's'`)
	run(t, "", "dtab", "diff", "-f", half, "--base", sampleMesh, "--names", "/does/not/exist").expect(t, 1, "fairlead: --names: open /does/not/exist: no such file")
}

// A namer that fails and still has endpoints says both: what is served, and why it may be old.
func TestNoteOfKeptEndpoints(t *testing.T) {
	kept := &naming.StepAddr{State: "failed", Error: "web:2: expected <host>", Total: 2, Available: 1}
	for _, c := range []struct {
		addr *naming.StepAddr
		want string
	}{
		{kept, "bound, 1 of 2 endpoints ready, as known before: web:2: expected <host>"},
		{&naming.StepAddr{State: "failed", Error: "no answer"}, "bound, endpoints not known: no answer"},
		{&naming.StepAddr{State: "bound", Error: `"web" is not resolved: there is no such host`}, `bound, no endpoints: "web" is not resolved: there is no such host`},
	} {
		s := &naming.Step{Type: naming.StepLeaf, Path: "/#/io.l5d.fs/web", Bound: &naming.StepBound{ID: "/#/io.l5d.fs/web", Path: "/", Addr: c.addr}}
		if got := note(s); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Without a cluster each command that needs one says so, and check has its exit code.
func TestNoCluster(t *testing.T) {
	const nowhere = "http://127.0.0.1:1"
	run(t, "", "check", "--server", nowhere).expect(t, 2, "fail  API server http://127.0.0.1:1 cannot be asked: ", "connection refused", "hint: name a cluster with --kubeconfig")
	run(t, "", "check", "--admin", nowhere).expect(t, 2, "is this its admin port?")
	const hint = "\nhint: name a cluster with --kubeconfig, --context or --server, or one proxy with --admin; "
	run(t, "", "proxies", "--server", nowhere).expect(t, 1, "connection refused", hint)
	run(t, "", "proxies", "--kubeconfig", "/does/not/exist").expect(t, 1, "kubeconfig: ", "no such file", hint)
	run(t, "", "version", "--server", nowhere).expect(t, 0, "client:  test\nproxies: not known: API server "+nowhere, "connection refused")
	run(t, "", "version", "--server", nowhere, "-o", "json").expect(t, 0, `"client": "test"`, `"error": "API server `)
	if r := run(t, "", "version", "--client"); r.code != 0 || r.out != "client:  test\n" {
		t.Errorf("%s", r)
	}
	run(t, "", "dtab", "lint", "--server", nowhere).expect(t, 1, "connection refused", hint)
	run(t, "", "dtab", "lint", "-f", sampleDtab, "--server", nowhere).expect(t, 1, "the files have no Mesh, and the live one cannot be had", hint)
	run(t, "", "dtab", "delegate", "/svc/web", "--admin", "127.0.0.1:1").expect(t, 1, "connection refused")
}

// A command that is not there is a mistake, at every level; a group alone shows what it has.
func TestUnknownCommand(t *testing.T) {
	run(t, "", "none").expect(t, 1, `unknown command "none" for "fairlead"`)
	run(t, "", "dtab", "none").expect(t, 1, `unknown command "none" for "fairlead dtab"`)
	run(t, "", "dtab", "delgate").expect(t, 1, `for "fairlead dtab", did you mean "delegate"?`)
	run(t, "", "dtab", "delegate", "/svc/web", "--dtab", "").expect(t, 0, "does not exist")
	run(t, "", "dtab", "lint", "--dtab", "").expect(t, 0, "0 errors")
	run(t, "", "completion", "none").expect(t, 1, `unknown command "none" for "fairlead completion"`)
	run(t, "", "dtab").expect(t, 0, "delegate ", "parse ")
	run(t, "", "completion").expect(t, 0, "bash ")
}

// The values of flags that have few are completed.
func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"dtab", "lint", "-o", ""}, "json\n:4\n"},
		{[]string{"check", "--output", "j"}, "json\n:4\n"},
		{[]string{"dtab", "lint", "--fail-on", ""}, "error\nwarning\n:4\n"},
		{[]string{"dtab", "lint", "--ignore", "unreachable"}, "unreachable\nunreachable:mesh\nunreachable-branch\n:6\n"},
		{[]string{"dtab", "lint", "--ignore", "loop,s"}, "loop,self-reference\nloop,shadowed\n:6\n"},
	} {
		if r := run(t, "", append([]string{"__complete"}, c.args...)...); r.code != 0 || r.out != c.want {
			t.Errorf("%v: want\n%s\n%s", c.args, c.want, r)
		}
	}
}

// As a process of the name kubectl looks for, it is a plugin; completion works.
func TestPlugin(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plugin := filepath.Join(t.TempDir(), "kubectl-fairlead")
	if err := os.Symlink(own, plugin); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--help"}, "kubectl fairlead [command]"},
		{[]string{"__complete", "dtab", ""}, "delegate\tShow where"},
		{[]string{"completion", "bash"}, "bash completion"},
		{[]string{"--version"}, "version test"},
		{[]string{"check", "--help"}, "--kubeconfig"},
	} {
		command := exec.CommandContext(t.Context(), plugin, c.args...)
		command.Env = append(os.Environ(), asCommand+"=1")
		out, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %v, want %q in\n%s", c.args, err, c.want, out)
		}
	}
	command := exec.CommandContext(t.Context(), plugin, "dtab", "parse")
	command.Env, command.Stdin = append(os.Environ(), asCommand+"=1"), strings.NewReader("/a")
	if out, err := command.CombinedOutput(); err == nil || !strings.Contains(string(out), "fairlead: standard input:1:3: ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A host alone has the port that a Mesh gives the admin pages; a URL is what it says.
func TestAdminAddress(t *testing.T) {
	for base, want := range map[string]string{
		"localhost": "localhost:9990", "[::1]": "[::1]:9990", "10.0.0.1:80": "10.0.0.1:80", "http://front": "front", "https://front:1/x": "front:1",
	} {
		if got, err := direct(base); err != nil || got.base.Host != want {
			t.Errorf("%s: %v, %v, want %s", base, got, err, want)
		}
	}
}
