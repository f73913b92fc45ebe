package config_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

const meshHead = "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: demo}\n"

const dtabHead = "---\napiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: web}\n" +
	"spec:\n  meshRef: {name: demo}\n  router: outgoing\n"

// refusedFile is a file that the standalone path refuses with exactly this text. A blank at the end of the text stands for more.
type refusedFile struct{ name, file, want string }

func (c refusedFile) check(t *testing.T) {
	t.Helper()
	cfg, err := config.DecodeConfig("f", []byte(c.file), config.Standalone)
	if err == nil || cfg != nil {
		t.Errorf("%s: accepted", c.name)
		return
	}
	got := err.Error()
	if prefix, cut := strings.CutSuffix(c.want, " "); got != c.want && !(cut && strings.HasPrefix(got, prefix)) {
		t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
	}
}

func TestDecodeConfigRefusesForm(t *testing.T) {
	for _, c := range []refusedFile{
		{"empty", "", "f: expected one Mesh, found none"},
		{"comments", "# a\n---\n# b\n", "f: expected one Mesh, found none"},
		{"two meshes", meshHead + "---\n" + meshHead, "f:6:7: kind: expected one Mesh, found another"},
		{"not an object", "- a\n", "f:1:1: expected an object with apiVersion, kind, metadata and spec, found a list"},
		{"no kind", "apiVersion: fairlead.dev/v1alpha1\n", "f:1:1: kind: required: Mesh or Dtab"},
		{"a configuration of Linkerd", "admin: {port: 9990}\nrouters:\n- protocol: http\n",
			"f:1:1: apiVersion: required: fairlead.dev/v1alpha1; a configuration of Linkerd goes below spec of a Mesh: docs/linkerd1.md says what differs"},
		{"other kind", "apiVersion: fairlead.dev/v1alpha1\nkind: Dtb\n",
			`f:2:7: kind: expected Mesh or Dtab, found the string "Dtb", did you mean "Dtab"?`},
		{"other version", "apiVersion: v1\nkind: Mesh\n",
			`f:1:13: apiVersion: expected fairlead.dev/v1alpha1, found the string "v1"`},
		{"unknown key", meshHead + "spec:\n  routers:\n  - name: a\n    servers:\n    - prot: 80\n",
			`f:8:7: spec.routers[0].servers[0]: unknown key "prot", did you mean "port"?`},
		{"no blank after a colon", meshHead + "spec:\n  admin: {ip:, port: 9990}\n",
			`f:5:11: spec.admin: unknown key "ip:": write a blank after the colon of "ip", which is part of the key otherwise`},
		{"no blank between key and value", meshHead + "spec:\n  admin: {ip:1.2.3.4, port: 9990}\n",
			`f:5:11: spec.admin: unknown key "ip:1.2.3.4": write a blank after the colon of "ip", which is part of the key otherwise`},
		{"unknown key far from all", meshHead + "spec:\n  admin: {color: red}\n",
			`f:5:11: spec.admin: unknown key "color", expected ip or port`},
		{"wrong case", meshHead + "spec:\n  Admin: {}\n", `f:5:3: spec: unknown key "Admin", did you mean "admin"?`},
		{"duplicate key", meshHead + "spec:\n  admin: {port: 1}\n  namers: []\n  admin: {port: 2}\n",
			`f:7:3: spec: duplicate key "admin", first given on line 5`},
		{"duplicate key in a map", meshHead + "spec:\n  proxy: {labels: {a: b, a: c}}\n",
			`f:5:26: spec.proxy.labels: duplicate key "a", first given on line 5`},
		{"syntax", meshHead + "spec: {\n", "f:4: YAML: did not find expected node content"},
		{"syntax in the second document", meshHead + "---\na: b\n c: d\n", "f:6: YAML: mapping values are not allowed in this context"},
		{"text behind the document", "{a: 1}\nb: 2\n", "f:1: YAML: did not find expected <document start>"},
		{"anchor", meshHead + "spec: &a {}\n", "f:4:7: anchors are not supported"},
		{"alias", meshHead + "spec: {admin: {ip: &a x}, proxy: *a}\n", "f:4:20: anchors are not supported"},
		{"merge key", meshHead + "spec: {<<: {admin: {port: 1}}}\n", "f:4:8: merge keys are not supported"},
		{"tag", meshHead + "spec: !!map {}\n", "f:4:7: tags are not supported"},
		{"depth", meshHead + "spec: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "f:4:39: expected at most 32 levels"},
		{"not UTF-8", "a: ü\nb: \xff\n", "f:2:4: expected UTF-8"},
	} {
		c.check(t)
	}
}

func TestDecodeConfigRefusesTypes(t *testing.T) {
	for _, c := range []refusedFile{
		{"quoted port", meshHead + "spec:\n  admin: {port: \"4140\"}\n",
			`f:5:17: spec.admin.port: expected a decimal integer, found the string "4140"`},
		{"octal", meshHead + "spec:\n  admin: {port: 010}\n", `f:5:17: spec.admin.port: expected a decimal integer, found the number 010`},
		{"too large", meshHead + "spec:\n  admin: {port: 5000000000}\n",
			`f:5:17: spec.admin.port: expected a decimal integer, found the number 5000000000`},
		{"fraction", meshHead + "spec:\n  admin: {port: 80.5}\n", `f:5:17: spec.admin.port: expected a decimal integer, found the number 80.5`},
		{"out of range", meshHead + "spec:\n  admin: {port: 70000}\n",
			`f:5:17: spec.admin.port: expected an integer from 1 to 65535, found 70000`},
		{"explicit zero", meshHead + "spec:\n  admin: {port: 0}\n", `f:5:17: spec.admin.port: expected an integer from 1 to 65535, found 0`},
		{"number for a string", dtabHead[4:] + "  dentries:\n  - {prefix: /a, dst: 1}\n",
			"f:8:23: spec.dentries[0].dst: expected a string in quotes, found the number 1"},
		{"yes is no boolean", meshHead + "spec:\n  proxy: {hostNetwork: yes}\n",
			`f:5:24: spec.proxy.hostNetwork: expected true or false, found the string "yes"`},
		{"null in a list", meshHead + "spec:\n  routers: [null]\n", "f:5:13: spec.routers[0]: expected an object, found null"},
		{"list for an object", meshHead + "spec: []\n", "f:4:7: spec: expected an object, found a list"},
		{"quantity", meshHead + "spec:\n  proxy: {resources: {limits: {cpu: much}}}\n",
			`f:5:37: spec.proxy.resources.limits.cpu: expected a quantity, found the string "much"`},
	} {
		c.check(t)
	}
}

func TestDecodeConfigRefusesMeaning(t *testing.T) {
	for _, c := range []refusedFile{
		{"missing", meshHead + "spec:\n  routers:\n  - servers: [{port: 80}]\n", "f:6:5: spec.routers[0].name: required"},
		{"dtab twice", meshHead + dtabHead + dtabHead, "f:14:18: metadata.name: the Dtab default/web is in this file already"},
		{"router of a dtab", meshHead + strings.Replace(dtabHead, "outgoing", "out", 1),
			`f:10:11: spec.router: expected a router of the mesh default/demo (outgoing, incoming), found "out"`},
		{"dst plain", meshHead + dtabHead + "  dentries:\n  - prefix: /svc\n    dst: /a | | /b\n",
			"f:13:15: spec.dentries[0].dst: expected a path, '~', '!', '$' or '(', found '|'"},
		{"dst in a flow", meshHead + dtabHead + "  dentries: [{prefix: /svc, dst: /a | | /b}]\n",
			"f:11:39: spec.dentries[0].dst: expected a path, '~', '!', '$' or '(', found '|'"},
		{"dst quoted", meshHead + dtabHead + "  dentries:\n  - prefix: /svc\n    dst: \"/a | | /b\"\n",
			"f:13:16: spec.dentries[0].dst: expected a path, '~', '!', '$' or '(', found '|'"},
		{"dst with escapes", meshHead + dtabHead + "  dentries:\n  - prefix: /svc\n    dst: \"/\\u0061 | | /b\"\n",
			"f:13:10: spec.dentries[0].dst: expected a path, '~', '!', '$' or '(', found '|'"},
		{"dst in a block", meshHead + dtabHead + "  dentries:\n  - prefix: /svc\n    dst: |\n      /a |\n      | /b\n",
			"f:15:7: spec.dentries[0].dst: expected a path, '~', '!', '$' or '(', found '|'"},
		{"all mistakes", meshHead + "spec: {admn: {}}\n" + dtabHead + "  dentris: []\n",
			"f:4:8: spec: unknown key \"admn\", did you mean \"admin\"?\nf:12:3: spec: unknown key \"dentris\", did you mean \"dentries\"?"},
		{"all mistakes of meaning", meshHead + dtabHead + "  dentries: [{prefix: a, dst: /b}]\n" +
			strings.Replace(dtabHead, "web", "web2", 1) + "  dentries: [{prefix: b, dst: /b}]\n",
			"f:11:23: spec.dentries[0].prefix: expected '/', found 'a'\nf:19:23: spec.dentries[0].prefix: expected '/', found 'b'"},
	} {
		c.check(t)
	}
}

// Both sides of a rule are read, and mistakes are told in the order of the file, whatever is looked at first.
func TestProblemsInOrder(t *testing.T) {
	const text = "kind: Mesh\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: demo}\nspec:\n  routers:\n  - name: outgoing\n    servers: [{port: 4140}]\n" +
		"---\nkind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: web}\nspec:\n  dentries:\n  - {prefix: svc, dst: /a |}\n" +
		"  - prefix: /svc\n    dst: ''\n  priority: 2000000\n  router: outgoing\n  meshRef: {name: demo}\n"
	want := []string{
		"mesh.yaml:14:14: spec.dentries[0].prefix: ", "mesh.yaml:14:28: spec.dentries[0].dst: ", "mesh.yaml:16:10: spec.dentries[1].dst: required",
		"mesh.yaml:17:13: spec.priority: ",
	}
	check := func(what string, err *config.Error, want []string) {
		t.Helper()
		if err == nil || len(err.Problems) != len(want) {
			t.Fatalf("%s: %v, want %q", what, err, want)
		}
		for i, p := range err.Problems {
			if !strings.HasPrefix(p.String(), want[i]) {
				t.Errorf("%s: %d: %s, want %s", what, i, p, want[i])
			}
		}
	}
	docs, err := config.Decode("mesh.yaml", []byte(text), config.Standalone)
	if err != nil {
		t.Fatal(err)
	}
	mesh, err := docs.AcceptMesh(docs.Meshes[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = docs.AcceptDtab(mesh, docs.Dtabs[0])
	check("one object", err, want)
	// Mistakes of form are found first, also where they stand behind.
	_, err = config.DecodeConfig("mesh.yaml", []byte(text+"---\nkind: Dtab\napiVersion: fairlead.dev/v1alpha1\nmetadata: {name: api}\nspc: {}\n"), config.Standalone)
	check("all of a file", err, append(want, "mesh.yaml:24:1: unknown key"))
}

func TestDecodeConfig(t *testing.T) {
	file := "\ufeff# the mesh\n%s--- # the rules\n" + dtabHead[4:] + "  dentries:\n  - {prefix: /svc/web, dst: /$/inet/127.1/8080}\n...\n"
	text := fmt.Sprintf(file, meshHead)
	cfg, err := config.DecodeConfig("f", []byte(text), config.Standalone)
	if err != nil {
		t.Fatal(err)
	}
	d := cfg.Dtabs[0]
	if cfg.Mesh.Namespace != "default" || d.Namespace != "default" || d.Generation != 1 || len(d.UID) != 64 || len(cfg.Mesh.UID) != 64 {
		t.Errorf("identity: %+v %+v", cfg.Mesh, d)
	}
	if got := cfg.Routers[0].Effective().String(); !strings.HasSuffix(got, ";/svc/web=>/$/inet/127.1/8080") {
		t.Errorf("rules: %s", got)
	}
	moved, err := config.DecodeConfig("f", []byte("# moved\n\n"+strings.TrimPrefix(text, "\ufeff")), config.Standalone)
	if err != nil || moved.Revision != cfg.Revision {
		t.Errorf("a document that only moved changed the revision: %v", err)
	}
	edited, err := config.DecodeConfig("f", []byte(strings.Replace(text, "8080", "8081", 1)), config.Standalone)
	if err != nil || edited.Revision == cfg.Revision {
		t.Errorf("an edit kept the revision: %v", err)
	}
}

// One bad document leaves the others.
func TestDecodeKeepsGoodDocuments(t *testing.T) {
	file := meshHead + dtabHead + "  dentris: []\n" + strings.Replace(dtabHead, "web", "good", 1)
	docs, err := config.Decode("f", []byte(file), config.Cluster)
	if err == nil || len(docs.Meshes) != 1 || len(docs.Dtabs) != 1 || docs.Dtabs[0].Name != "good" {
		t.Errorf("%v, %+v", err, docs)
	}
}

// What kubectl get prints can be fed back.
func TestDecodePrintedObject(t *testing.T) {
	file := `{
  "apiVersion": "fairlead.dev/v1alpha1", "kind": "Mesh",
  "metadata": {"name": "demo", "creationTimestamp": "2026-01-02T03:04:05Z", "resourceVersion": "12", "labels": {"a": "b"},
    "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {".": {}}}, "time": null}]},
	"spec": {"proxy": {"resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}},
  "status": {"conditions": [{"type": "Ready"}], "fromTheFuture": true}
}`
	docs, err := config.Decode("f", []byte(file), config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	if got := docs.Meshes[0].Spec.Proxy.Resources.Limits.Cpu().String(); got != "2" {
		t.Errorf("cpu %s", got)
	}
}

func TestDecodeLimits(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"documents": {strings.Repeat("---\na\n", config.MaxDocuments+1), "f:40002: expected at most 20000 documents, found 20001"},
		"document":  {"a: " + strings.Repeat("x", config.MaxDocumentBytes), "f:1: expected at most 1048576 bytes in a document, found 1048579"},
	} {
		if _, err := config.Decode("f", []byte(c.file), config.Cluster); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Files made to be slow or large are refused soon.
func TestDecodeHostileFiles(t *testing.T) {
	laughs := "a: &a [x]\n"
	for c := 'b'; c < 'z'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	for name, file := range map[string]string{
		"billion laughs": laughs,
		"deep flow":      strings.Repeat("[", config.MaxDocumentBytes-1),
		"deep block":     strings.Repeat("- ", config.MaxDocumentBytes/2-1),
		"wide":           meshHead + "spec: [" + strings.Repeat("1,", config.MaxDocumentBytes/2-100) + "]\n",
		"unknown keys":   meshHead + "spec: {" + strings.Repeat("prot: 1, ", config.MaxDocumentBytes/10) + "}\n",
	} {
		start := time.Now()
		if _, err := config.Decode("f", []byte(file), config.Cluster); err == nil {
			t.Errorf("%s: accepted", name)
		} else if len(err.Problems) > config.MaxProblems {
			t.Errorf("%s: %d problems", name, len(err.Problems))
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: took %v", name, took)
		} else {
			t.Logf("%s: %v", name, took)
		}
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	docs := testdataDocuments(t)
	mesh, web := docs.Meshes[0], docs.Dtabs[0]
	other := web.DeepCopy()
	other.Name, other.UID = "api", "0f20"
	other.Spec.Dentries = rules("/svc/api", "/a & /b | \"<é>\u2028\" # ---")
	first := roundTrip(t, mesh, []*v1alpha1.Dtab{web, other})
	if second := roundTrip(t, mesh, []*v1alpha1.Dtab{other, web}); string(first) != string(second) {
		t.Error("the order given shows")
	}
	if !strings.Contains(string(first), `"dst":"9 * /#/disco/web-v1 & 1 * /#/disco/web-v2"`) {
		t.Errorf("rules are hard to read:\n%s", first)
	}
	labelled := web.DeepCopy()
	labelled.Labels, labelled.ResourceVersion = map[string]string{"a": "b"}, "77"
	labelled.Status.ObservedGeneration = 4
	if got := roundTrip(t, mesh, []*v1alpha1.Dtab{labelled, other}); string(got) != string(first) {
		t.Error("more than name, namespace, uid, generation and spec shows")
	}
}

// What is wrong in an encoded document is found there as elsewhere.
func TestEncodedDocumentIsCheckedToo(t *testing.T) {
	data, err := config.Encode(testdataDocuments(t).Meshes[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"port":9990`, `"prot":9990`, `unknown key "prot", did you mean "port"?`},
		{`"port":9990`, `"port":9990,"port":9991`, `duplicate key "port", first given on line 2`},
		{`"port":9990`, `"Port":9990`, `unknown key "Port", did you mean "port"?`},
		{`"port":9990`, `"port":0`, `expected an integer from 1 to 65535, found 0`},
		{`"spec"`, `"sepc"`, `unknown key "sepc", did you mean "spec"?`},
	} {
		_, err := config.Decode("f", []byte(strings.Replace(string(data), c.from, c.to, 1)), config.Cluster)
		if err == nil || !strings.Contains(err.Error(), c.want) || err.Problems[0].Line != 2 {
			t.Errorf("%s: %v", c.to, err)
		}
	}
}

func testdataDocuments(t testing.TB) *config.Documents {
	t.Helper()
	var stream []byte
	for _, name := range []string{"mesh", "dtab"} {
		data, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		stream = append(append(stream, "---\n"...), data...)
	}
	docs, problem := config.Decode("f", stream, config.Cluster)
	if problem != nil {
		t.Fatal(problem)
	}
	return docs
}

// roundTrip encodes, decodes, compares and returns the encoded form.
func roundTrip(t testing.TB, mesh *v1alpha1.Mesh, dtabs []*v1alpha1.Dtab) []byte {
	t.Helper()
	data, err := config.Encode(mesh, dtabs)
	if err != nil {
		t.Fatal(err)
	}
	docs, problem := config.Decode("f", data, config.Cluster)
	if problem != nil {
		t.Fatalf("%v in\n%s", problem, data)
	}
	if len(docs.Dtabs) != len(dtabs) {
		t.Fatalf("%d of %d Dtabs came back", len(docs.Dtabs), len(dtabs))
	}
	if mesh != nil && (len(docs.Meshes) != 1 || !apiequality.Semantic.DeepEqual(docs.Meshes[0].Spec, mesh.Spec) ||
		docs.Meshes[0].UID != mesh.UID || docs.Meshes[0].Generation != mesh.Generation) {
		t.Fatalf("the mesh came back as %+v", docs.Meshes)
	}
	byName := map[string]*v1alpha1.Dtab{}
	for _, d := range dtabs {
		byName[d.Namespace+"/"+d.Name] = d
	}
	for _, got := range docs.Dtabs {
		want := byName[got.Namespace+"/"+got.Name]
		if want == nil || !apiequality.Semantic.DeepEqual(got.Spec, want.Spec) || got.UID != want.UID || got.Generation != want.Generation {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	again, err := config.Encode(mesh, docs.Dtabs)
	if err != nil || string(again) != string(data) {
		t.Fatalf("encoded again: %v\n%s", err, again)
	}
	return data
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"mesh", "dtab"} {
		data, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	docs := testdataDocuments(f)
	encoded, err := config.Encode(docs.Meshes[0], docs.Dtabs)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add([]byte(meshHead + dtabHead + "  dentries:\n  - prefix: /svc\n    dst: |\n      /a |\n      | /b\n"))
	f.Add([]byte("--- {a: &a [*a]}\n...\n--- |\n x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, problem := config.Decode("f", data, config.Standalone)
		if problem != nil && problem.Error() == "" {
			t.Error("an error without text")
		}
		names := map[string]bool{}
		var unique []*v1alpha1.Dtab
		for _, d := range docs.Dtabs {
			if key := d.Namespace + "/" + d.Name; !names[key] {
				names[key] = true
				unique = append(unique, d)
			}
		}
		var mesh *v1alpha1.Mesh
		if len(docs.Meshes) > 0 {
			mesh = docs.Meshes[0]
		}
		roundTrip(t, mesh, unique)
		cfg, problem := config.DecodeConfig("f", data, config.Standalone)
		if (cfg == nil) == (problem == nil) {
			t.Errorf("got %v and %v", cfg, problem)
		}
	})
}

// BenchmarkDecodeEncoded reads what a ConfigMap or snapshot of 200,000 rules holds.
func BenchmarkDecodeEncoded(b *testing.B) {
	web := testdataDocuments(b).Dtabs[0]
	var dtabs []*v1alpha1.Dtab
	for i := range 100 {
		d := web.DeepCopy()
		d.Name = fmt.Sprintf("d%d", i)
		for len(d.Spec.Dentries) < 2000 {
			d.Spec.Dentries = append(d.Spec.Dentries, d.Spec.Dentries[0])
		}
		dtabs = append(dtabs, d)
	}
	data, err := config.Encode(nil, dtabs)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		docs, problem := config.Decode("f", data, config.Cluster)
		if problem != nil || len(docs.Dtabs) != len(dtabs) {
			b.Fatal(problem)
		}
	}
}
