package verify

import (
	"os"
	"os/exec"
	"testing"
)

// That no cluster is up is an answer of make cluster-status, and no error of make; the script has an exit code for it.
func TestClusterStatusWithoutCluster(t *testing.T) {
	const want = "The cluster is not up: make cluster-up (hack/cluster/up) brings it up.\n"
	for _, c := range []struct {
		command []string
		code    int
	}{{[]string{"make", "--no-print-directory", "cluster-status"}, 0}, {[]string{"hack/cluster/status"}, 4}} {
		cmd := exec.CommandContext(t.Context(), c.command[0], c.command[1:]...)
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "FAIRLEAD_CLUSTER="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); string(out) != want || code != c.code {
			t.Errorf("%v: exit code %d, %v, want %d\n%s", c.command, code, err, c.code, out)
		}
	}
}
