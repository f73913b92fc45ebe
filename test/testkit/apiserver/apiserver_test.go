package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// asParent makes the test binary a process that starts a server and waits to be killed.
const asParent = "FAIRLEAD_APISERVER_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		if _, err := Start("../../..", nil); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("started")
		select {}
	}
	os.Exit(m.Run())
}

func TestServes(t *testing.T) {
	s, err := Start("../../..", nil)
	if err != nil {
		t.Fatal(err)
	}
	var list v1alpha1.MeshList
	if err := s.Client.List(t.Context(), &list); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if left := below(t, s.folder); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A process that is killed takes its kube-apiserver and etcd with it.
func TestEndsWithItsParent(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	parent := exec.CommandContext(t.Context(), own)
	parent.Env = append(os.Environ(), asParent+"=1", "TMPDIR="+folder)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	running := below(t, folder)
	if err != nil || line != "started\n" || len(running) != 2 {
		t.Errorf("%q, %v; running: %v", line, err, running)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for left := below(t, folder); len(left) > 0; left = below(t, folder) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Errorf("still running: %v", left)
			for pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return
		}
	}
}

// below returns the API servers and etcds that have a folder below dir in their command lines, by pid.
func below(t *testing.T, dir string) map[int]string {
	t.Helper()
	out := make(map[int]string)
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, _ := os.ReadFile(f) // it may have ended
		args := strings.Split(string(data), "\x00")
		isServer := strings.HasSuffix(args[0], "/etcd") || strings.HasSuffix(args[0], "/kube-apiserver")
		if isServer && slices.ContainsFunc(args[1:], func(a string) bool { return strings.Contains(a, dir) }) {
			pid, err := strconv.Atoi(strings.Split(f, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			out[pid] = args[0]
		}
	}
	return out
}
