package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The list follows the code: a text that moved away is found by every run of the tests, not only when mutations are tried.
func TestMutationsFitTheCode(t *testing.T) {
	all := mutations()
	if err := check("../..", all); err != nil {
		t.Error(err)
	}
	names := map[string]bool{}
	for _, m := range all {
		if names[m.name] || m.search == m.replace || m.pkg == "" || m.run == "" {
			t.Errorf("%q: a name of its own, a change and a test expected", m.name)
		}
		names[m.name] = true
	}
	if len(all) < 12 {
		t.Errorf("%d mutations", len(all))
	}
}

// tree is a module with a function and two tests, of which one looks.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.org/m\n\ngo 1.26\n",
		"m.go":   "package m\n\nfunc One() int { return 1 }\n",
		"m_test.go": "package m\n\nimport \"testing\"\n\nfunc TestLooks(t *testing.T) {\n\tif One() != 1 {\n\t\tt.Error(\"not one\")\n\t}\n}\n\n" +
			"func TestDoesNot(*testing.T) { One() }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTry(t *testing.T) {
	dir := tree(t)
	before, err := os.ReadFile(filepath.Join(dir, "m.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ replace, run, want string }{
		{"return 2", "^TestLooks$", killed}, {"return 2", "^TestDoesNot$", survived}, {"return x", "^TestLooks$", broken},
	} {
		m := &mutation{file: "m.go", search: "return 1", replace: c.replace, pkg: ".", run: c.run}
		got, text, err := try(t.Context(), dir, m)
		if err != nil || got != c.want {
			t.Errorf("%+v: %s, %v\n%s", c, got, err, text)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "m.go")); err != nil || string(after) != string(before) {
			t.Fatalf("%+v: the file stays changed: %q, %v", c, after, err)
		}
	}
}

func TestCheckAndBaseline(t *testing.T) {
	dir := tree(t)
	for search, ok := range map[string]bool{"return 1": true, "return 7": false, "n": false} {
		if err := check(dir, []mutation{{name: "x", file: "m.go", search: search}}); (err == nil) != ok {
			t.Errorf("%q: %v", search, err)
		}
	}
	say := func(string, ...any) {}
	if err := baseline(t.Context(), say, dir, []mutation{{pkg: ".", run: "TestLooks"}}); err != nil {
		t.Error(err)
	}
	if err := baseline(t.Context(), say, dir, []mutation{{pkg: ".", run: "TestNone"}}); err == nil {
		t.Error("a test that does not exist is taken")
	}
	if _, err := choose(mutations(), "no such name"); err == nil {
		t.Error("a name that does not exist is taken")
	}
}
