package verify

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFileLines     = 500
	maxFunctionLines = 70
)

// tracked returns the files of the repository that match a pattern of git's, as they are in the work tree.
func tracked(t *testing.T, pattern ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"ls-files", "-co", "--exclude-standard", "--"}, pattern...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var files []string
	for file := range strings.Lines(string(out)) {
		file = filepath.Join("../..", strings.TrimSpace(file))
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	return files
}

func isGenerated(file string) bool {
	return strings.Contains(file, "zz_generated") || strings.Contains(file, "/applyconfiguration/")
}

func TestSizes(t *testing.T) {
	for _, file := range tracked(t, "*.go") {
		if isGenerated(file) || strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(text, []byte("\n")); lines > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", file, lines, maxFileLines)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", file, f.Name.Name, lines, maxFunctionLines)
			}
			if f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s: init(): nothing registers itself here", file)
			}
		}
	}
}

// TestHonesty: what a reader would ask about is not there. Skipped tests are no tests, unfinished work stands in an issue, and a
// sleep is no synchronisation: in a test it says on its line what it is (the clock of a bubble, the step of a poll), and elsewhere
// package pace alone sleeps.
func TestHonesty(t *testing.T) {
	words := []string{"TO" + "DO", "FIX" + "ME", "not impl" + "emented", "t.Sk" + "ip"}
	sleep := "time.Sl" + "eep("
	for _, file := range tracked(t, "*.go") {
		if isGenerated(file) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(text), "\n") {
			for _, word := range words {
				if strings.Contains(line, word) {
					t.Errorf("%s:%d: %s", file, number+1, strings.TrimSpace(line))
				}
			}
			mayRest := strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "proxy/pace/pace.go")
			if _, after, ok := strings.Cut(line, sleep); ok && !(mayRest && strings.Contains(after, "// ")) {
				t.Errorf("%s:%d: a sleep that does not say why: %s", file, number+1, strings.TrimSpace(line))
			}
		}
	}
}

func TestFormat(t *testing.T) {
	var files []string
	for _, file := range tracked(t, "*.go") {
		if !isGenerated(file) {
			files = append(files, file)
		}
	}
	out, err := exec.CommandContext(t.Context(), "gofmt", append([]string{"-l"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("gofmt wants changes: %v\n%s", err, out)
	}
}
