//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// sizes are the numbers that make a run short or full.
type sizes struct {
	cutovers, edits, rollouts, rolls, orders int
	apiServerAway                            time.Duration
}

// chosen reads FAIRLEAD_E2E: full has the numbers that the project promises, quick those that fit a check of every change.
func chosen(t *testing.T) sizes {
	t.Helper()
	switch mode := os.Getenv("FAIRLEAD_E2E"); mode {
	case "full":
		return sizes{cutovers: 10, edits: 200, rollouts: 10, rolls: 5, orders: 6, apiServerAway: time.Minute}
	case "", "quick":
		return sizes{cutovers: 2, edits: 20, rollouts: 3, orders: 2, apiServerAway: 20 * time.Second}
	default:
		t.Fatalf("FAIRLEAD_E2E=%q: quick or full expected", mode)
		return sizes{}
	}
}

// TestEndToEnd runs the steps in order on one installation. Each leaves it as it found it, but the last ones, which remove it.
func TestEndToEnd(t *testing.T) {
	e := newEnvironment(t, chosen(t))
	t.Cleanup(func() { t.Log("\n" + e.table()) })
	e.step(t, "install", testInstall)
	if t.Failed() {
		return // nothing that follows would tell more
	}
	e.step(t, "apply a mesh", testApply)
	e.step(t, "route by host", testHosts)
	e.step(t, "node to node", testHops)
	e.step(t, "split by weight", testSplit)
	e.step(t, "command line", testCLI)
	e.step(t, "no old rule after programmed", testCutover)
	e.step(t, "edits under traffic", testEdits)
	e.step(t, "rollouts of a backend", testRollouts)
	if e.sizes.rolls > 0 { // a rate that takes both processors: of the full run alone
		e.step(t, "rolling endpoints", testRolling)
	}
	e.step(t, "operator restarted", testOperatorRestart)
	e.step(t, "api server away, proxy killed", testOutage)
	e.step(t, "bad input", testBadInput) // right after the outage: kubelets may still mount what was accepted before it
	e.step(t, "frozen proxy", testFrozen)
	e.step(t, "endpoints column", testEndpoints)
	if e.sizes.rolls > 0 {
		e.step(t, "dropped packets", testDropped)
	}
	e.step(t, "columns", testColumns)
	e.step(t, "report of another pod", testForeignReport)
	e.step(t, "delete the mesh", testDeleteMesh)
	e.step(t, "delete in every order", testDeleteOrders)
	e.step(t, "clean up", testCleanUp)
}

// outcome is a line of the table that a run ends with.
type outcome struct {
	name, result string
	took         time.Duration
	notes        []string
}

// step runs a subtest and notes what became of it.
func (e *environment) step(t *testing.T, name string, run func(*testing.T, *environment)) {
	begin := time.Now()
	e.outcomes = append(e.outcomes, outcome{name: name})
	ran := false
	ok := t.Run(name, func(t *testing.T) {
		ran = true
		run(t, e)
	})
	last := &e.outcomes[len(e.outcomes)-1]
	last.took = time.Since(begin)
	switch {
	case !ran:
		last.result = "-"
	case ok:
		last.result = "ok"
	default:
		last.result = "FAIL"
	}
}

// note adds a measured number to the current step.
func (e *environment) note(format string, args ...any) {
	last := &e.outcomes[len(e.outcomes)-1]
	last.notes = append(last.notes, fmt.Sprintf(format, args...))
}

func (e *environment) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-32s %-6s %8s  %s\n", "STEP", "RESULT", "SECONDS", "MEASURED")
	for _, o := range e.outcomes {
		notes := append([]string{""}, o.notes...)
		if len(o.notes) > 0 {
			notes = o.notes
		}
		fmt.Fprintf(&b, "%-32s %-6s %8.1f  %s\n", o.name, o.result, o.took.Seconds(), notes[0])
		for _, n := range notes[1:] {
			fmt.Fprintf(&b, "%-48s  %s\n", "", n)
		}
	}
	return b.String()
}
