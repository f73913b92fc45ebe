package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMain is also the processes that an experiment starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == backendArg || os.Args[1] == loadArg) {
		main()
	}
	os.Exit(m.Run())
}

// TestSlowBackend is the experiment in six seconds: round robin sends the slow backend its share, and all of that fails; peak EWMA sends it
// a small part, with nothing else on. What is counted is requests, not time: the machine may be as slow as it likes.
func TestSlowBackend(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "proxy")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/proxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	o := &options{
		rounds: 1, rate: 200, atOnce: 2, proxy: binary, timeout: time.Second,
		phases: phases{before: time.Second, slow: 4 * time.Second, after: time.Second, delay: 2 * time.Second},
	}
	results, busy, err := runGroup(t.Context(), o, t.TempDir(), tableOff, []string{"roundRobin", "ewma"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + report(o, tableOff, []string{"roundRobin", "ewma"}, map[string][]result{"roundRobin": {results["roundRobin"]}, "ewma": {results["ewma"]}}, busy))
	even, best := results["roundRobin"], results["ewma"]
	share := o.rate * int(o.phases.slow/time.Second) / endpoints
	if even.Slow < share*3/4 || even.Slow > share*5/4 {
		t.Errorf("round robin sent %d requests to the slow backend, its share is %d", even.Slow, share)
	}
	if even.Failures < even.Slow*3/4 {
		t.Errorf("%d requests failed of the %d that round robin sent to the slow backend", even.Failures, even.Slow)
	}
	if best.Slow > even.Slow/4 {
		t.Errorf("peak EWMA sent %d requests to the slow backend, round robin %d", best.Slow, even.Slow)
	}
}

// TestExpected: round robin must come to what arithmetic says, or the experiment is wrong.
func TestExpected(t *testing.T) {
	p := phases{before: 25 * time.Second, slow: 60 * time.Second, after: 25 * time.Second}
	if got := fmt.Sprintf("%.2f", p.expected()); got != "95.04" {
		t.Errorf("%s %%", got)
	}
}
