// Package clients sends real programs' requests through the real proxy: curl, Python, Node, WebSockets, and bodies of a gigabyte.
package clients

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// binary is bin/proxy, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "clients")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	binary = filepath.Join(dir, "proxy")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/proxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// program returns the path of a program that has to be there: make test leaves this package out where it is not, and says so.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install curl python3 nodejs", name)
	}
	return path
}

// proxy is a running bin/proxy.
type proxy struct {
	port, admin int
	pid         int
}

// start starts the proxy with one name for each backend, by its Host. It ends with the test, and must then have had no failure of its own.
func start(t *testing.T, backends map[string]string) *proxy {
	t.Helper()
	return startWith(t, "", "", backends)
}

// startWith is start with more in the server and in the router of the Mesh.
func startWith(t *testing.T, server, router string, backends map[string]string) *proxy {
	t.Helper()
	ports := freeport.Get(t)
	p := &proxy{port: ports, admin: freeport.Get(t)}
	var text strings.Builder
	fmt.Fprintf(&text, "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: clients}\nspec:\n  admin: {port: %d}\n"+
		"  routers:\n  - name: outgoing\n    servers: [{port: %d%s}]\n%s    dtab:\n", p.admin, p.port, server, router)
	for host, addr := range backends {
		h, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "    - {prefix: %q, dst: /$/inet/%s/%s}\n", "/svc/"+host, h, port)
	}
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config", file, "--drain", "1s")
	var out bytes.Buffer
	cmd.Stderr, cmd.Stdout = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil || t.Failed() {
			t.Errorf("the proxy: %v\n%s", err, out.String())
		}
	})
	eventually(t, "the proxy is ready", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/admin/ready", p.admin))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

func (p *proxy) addr() string { return "127.0.0.1:" + strconv.Itoa(p.port) }

func (p *proxy) url() string { return "http://" + p.addr() }

// memory returns the most resident memory that the proxy ever had, in bytes.
func (p *proxy) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kb int64
	if _, err := fmt.Sscan(after, &kb); err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// descriptors returns how many the proxy has open.
func (p *proxy) descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // between looks at another process
	}
}

// script runs a program of testdata and fails with what it says.
func script(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// serverScript starts a server of testdata, which prints its port, and returns its address.
func serverScript(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	var port int
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}
