// Command mutate breaks the code in known ways, one at a time, and demands that a named test notices.
//
//	go run ./hack/mutate [-run REGEXP] [-v]
//
// Each mutation works on a copy of the tree, never on the tree itself. It fails when a mutation survives, when a text to be
// replaced is not in its file exactly once (the code moved on, and the list has to follow), when the broken code does not
// compile, and when a test fails without any mutation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// testTimeout ends a test that a mutation made hang: that is noticed too.
const testTimeout = "90s"

// mutation replaces one text of one file; run, a regular expression, names the tests of the package that must fail then.
type mutation struct {
	name, file, search, replace string
	pkg, run                    string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	only := flag.String("run", "", "only mutations whose name matches this regular expression")
	verbose := flag.Bool("v", false, "print what the failing tests said")
	flag.Parse()
	if err := run(ctx, os.Stdout, *only, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, only string, verbose bool) error {
	chosen, err := choose(mutations(), only)
	if err != nil {
		return err
	}
	if err := check(".", chosen); err != nil {
		return err
	}
	if err := findAssets(ctx); err != nil {
		return err
	}
	tree, err := os.MkdirTemp("", "mutate-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree) //nolint:errcheck // what is left of it harms nobody
	if err := copyTree(ctx, tree); err != nil {
		return fmt.Errorf("copy of the tree: %w", err)
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) } // a lost line is no failure
	if err := baseline(ctx, say, tree, chosen); err != nil {
		return err
	}
	survivors := 0
	for i, m := range chosen {
		begin := time.Now()
		result, text, err := try(ctx, tree, &m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		say("%2d/%d  %-9s %5.1f s  %s", i+1, len(chosen), result, time.Since(begin).Seconds(), m.name)
		if result != killed {
			survivors++
			say("       %s: go test -run '%s' %s", m.file, m.run, m.pkg)
		}
		if result == broken || verbose {
			say("%s", text)
		}
	}
	if survivors > 0 {
		return fmt.Errorf("%d of %d mutations were not noticed", survivors, len(chosen))
	}
	say("all %d mutations were noticed", len(chosen))
	return nil
}

func choose(all []mutation, only string) ([]mutation, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var chosen []mutation
	for _, m := range all {
		if pattern.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no mutation has such a name")
	}
	return chosen, nil
}

// check reports every mutation whose text is not in its file exactly once.
func check(root string, all []mutation) error {
	var problems []error
	for _, m := range all {
		text, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", m.name, err))
			continue
		}
		if n := strings.Count(string(text), m.search); n != 1 {
			problems = append(problems, fmt.Errorf("%s: %s holds %d times, not once: %q", m.name, m.file, n, m.search))
		}
	}
	return errors.Join(problems...)
}

// findAssets sets KUBEBUILDER_ASSETS for the tests that run an API server, unless it is set.
func findAssets(ctx context.Context) error {
	const name = "KUBEBUILDER_ASSETS"
	if os.Getenv(name) != "" {
		return nil
	}
	build := exec.CommandContext(ctx, "hack/cluster/build", "envtest")
	build.Stderr = os.Stderr
	folder, err := build.Output()
	if err != nil {
		return fmt.Errorf("hack/cluster/build envtest: %w", err)
	}
	return os.Setenv(name, strings.TrimSpace(string(folder)))
}

// copyTree copies what git knows or would add.
func copyTree(ctx context.Context, to string) error {
	list, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(list), "\x00"), "\x00") {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, text, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// baseline runs every named test on the code as it is: one that fails anyway notices nothing.
func baseline(ctx context.Context, say func(string, ...any), tree string, all []mutation) error {
	seen := map[[2]string]bool{}
	for _, m := range all {
		key := [2]string{m.pkg, m.run}
		if seen[key] {
			continue
		}
		seen[key] = true
		text, err := test(ctx, tree, &m)
		if err != nil {
			return fmt.Errorf("without any mutation, go test -run '%s' %s: %w\n%s", m.run, m.pkg, err, text)
		}
		if strings.Contains(text, "no tests to run") {
			return fmt.Errorf("%s: no test of %s matches '%s'", m.name, m.pkg, m.run)
		}
	}
	say("%d sets of tests pass without any mutation", len(seen))
	return nil
}

// What became of a mutation.
const (
	killed   = "noticed"
	survived = "SURVIVED"
	broken   = "NO BUILD"
)

// try applies a mutation, runs its tests and takes it back.
func try(ctx context.Context, tree string, m *mutation) (result, text string, err error) {
	path := filepath.Join(tree, m.file)
	original, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	mutated := strings.Replace(string(original), m.search, m.replace, 1)
	if err := os.WriteFile(path, []byte(mutated), 0o644); err != nil {
		return "", "", err
	}
	text, failed := test(ctx, tree, m)
	if err := errors.Join(ctx.Err(), os.WriteFile(path, original, 0o644)); err != nil {
		return "", "", err
	}
	switch {
	case failed == nil:
		return survived, text, nil
	case strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]"):
		return broken, text, nil
	}
	return killed, text, nil
}

func test(ctx context.Context, tree string, m *mutation) (string, error) {
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-timeout", testTimeout, "-run", m.run, m.pkg)
	command.Dir = tree
	text, err := command.CombinedOutput()
	return string(text), err
}
