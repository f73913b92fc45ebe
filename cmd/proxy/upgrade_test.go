package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// upgradable is a proxy with a program and a file of its own, which may be replaced.
type upgradable struct {
	program, file, log string
	port, admin        int
	address            string
	// pid is that of the process that serves.
	pid int
}

// newUpgradable starts one. The processes that replace the first become children of the test, which sees how they end.
func newUpgradable(t *testing.T, address string) *upgradable {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	u := &upgradable{
		program: filepath.Join(dir, "proxy"), file: filepath.Join(dir, "mesh.yaml"), log: filepath.Join(dir, "log"),
		port: freeport.Get(t), admin: freeport.Get(t), address: address,
	}
	u.install(t)
	u.configure(t)
	log, err := os.Create(u.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := exec.Command(u.program, "--config", u.file, "--drain", "5s") //nolint:gosec,noctx // this program; it is told to end
	p.Env = append(os.Environ(), limitVariable+"=4096")
	p.Stderr, p.ExtraFiles = log, slices.Repeat([]*os.File{log}, 10) // more than what is handed over takes the place of
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	u.pid = p.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(u.pid, syscall.SIGTERM)
		u.ended(t, u.pid)
		if t.Failed() {
			t.Log(u.logged(t))
		}
	})
	eventually(t, "the proxy is ready", func() bool { return ready(t.Context(), u.admin) == nil })
	return u
}

// install puts this program where the proxy's is, as a new file.
func (u *upgradable) install(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	u.replace(t, data)
}

func (u *upgradable) replace(t *testing.T, program []byte) {
	t.Helper()
	err := os.WriteFile(u.program+".new", program, 0o700) //nolint:gosec // a program
	if err = errors.Join(err, os.Rename(u.program+".new", u.program)); err != nil {
		t.Fatal(err)
	}
}

func (u *upgradable) configure(t *testing.T) {
	t.Helper()
	host, at, _ := strings.Cut(u.address, ":")
	text := fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n  admin: {ip: 127.0.0.1, port: %d}\n"+
		"  routers:\n  - name: outgoing\n    servers: [{port: %d}]\n    dtab: [{prefix: /svc, dst: /$/inet/%s/%s}]\n", u.admin, u.port, host, at)
	err := os.WriteFile(u.file+".new", []byte(text), 0o600)
	if err = errors.Join(err, os.Rename(u.file+".new", u.file)); err != nil {
		t.Fatal(err)
	}
}

func (u *upgradable) logged(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(u.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (u *upgradable) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(u.pid, s); err != nil {
		t.Fatal(err)
	}
}

// ended waits for a process.
func (u *upgradable) ended(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d ended", pid), func() bool {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if err == nil && got == pid && status != 0 {
			t.Errorf("process %d ended with status %x", pid, status)
		}
		return err != nil && !errors.Is(err, syscall.EINTR) || got == pid
	})
}

var takenOver = regexp.MustCompile(`another process has taken over.*"pid":(\d+)`)

// upgrade waits until another process serves, and this one has ended.
func (u *upgradable) upgrade(t *testing.T) {
	t.Helper()
	before := len(takenOver.FindAllString(u.logged(t), -1))
	u.signal(t, syscall.SIGUSR2)
	var found [][]string
	eventually(t, "another process takes over", func() bool {
		found = takenOver.FindAllStringSubmatch(u.logged(t), -1)
		return len(found) > before
	})
	old := u.pid
	u.pid, _ = strconv.Atoi(found[before][1])
	if u.pid == old || u.pid == 0 {
		t.Errorf("process %d is replaced by %d", old, u.pid)
	}
	u.ended(t, old)
}

// descriptors says what those of the process lead to.
func (u *upgradable) descriptors(t *testing.T) (all []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", u.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // it was not closed since
			all = append(all, e.Name()+" "+to)
		}
	}
	return all
}

func (u *upgradable) metric(t *testing.T, name string) float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/metrics.json", u.admin), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var values map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&values); err != nil {
		t.Fatal(err)
	}
	v, _ := values[name].(float64)
	return v
}

// post asks once: neither it nor the HTTP client sends a request again that may have arrived.
func (u *upgradable) post(ctx context.Context, c *http.Client, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d%s", u.port, path), strings.NewReader("question"))
	if err != nil {
		return err
	}
	req.GetBody = nil
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(body) != "question" {
		return fmt.Errorf("%s, %q, %w", resp.Status, body, err)
	}
	return nil
}

// echo answers with what it got, below /slow after a while.
func echo(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/slow" {
			time.Sleep(300 * time.Millisecond) // the time that the answer takes
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// traffic asks without a pause until stop is called, which returns how many requests there were. None may fail.
func (u *upgradable) traffic(t *testing.T) (stop func() int64) {
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	var asked, failed atomic.Int64
	client := func(oneShot bool, ask func(c *http.Client) error) {
		wait.Go(func() {
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: oneShot}}
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				if err := ask(c); err != nil && failed.Add(1) <= 10 {
					t.Errorf("a request failed: %v", err)
				}
				asked.Add(1)
			}
		})
	}
	for i := range 4 {
		client(i < 2, func(c *http.Client) error { return u.post(t.Context(), c, "/") })
		client(i < 2, func(c *http.Client) error { return u.post(t.Context(), c, "/slow") })
	}
	client(true, func(*http.Client) error {
		status, err := ask(t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, fmt.Sprintf("http://127.0.0.1:%d/admin/ready", u.admin))
		if err == nil && !strings.HasPrefix(status, "200") {
			err = errors.New("not ready: " + status)
		}
		return err
	})
	return func() int64 {
		cancel()
		wait.Wait()
		return asked.Load()
	}
}

// One process replaces the other and no request fails, on kept and on fresh connections, nor is the admin port ever not ready; each old
// process ends well, and none has more descriptors than the one before.
func TestUpgradesUnderTraffic(t *testing.T) {
	const upgrades = 5
	u := newUpgradable(t, echo(t))
	u.upgrade(t)
	first := u.descriptors(t)
	if n := strings.Count(strings.Join(first, " "), u.log); n != 1 {
		t.Errorf("%v: a descriptor beyond the standard ones was passed on", first)
	}
	stop := u.traffic(t)
	for range upgrades {
		u.install(t)
		u.upgrade(t)
	}
	if n := stop(); n < 100 {
		t.Errorf("only %d requests", n)
	}
	eventually(t, fmt.Sprintf("no more descriptors than %v", first), func() bool { return len(u.descriptors(t)) <= len(first) })
	if done, failed := u.metric(t, "control/upgrades"), u.metric(t, "control/upgrade_failures"); done != upgrades+1 || failed != 0 {
		t.Errorf("%v upgrades, %v failures", done, failed)
	}
}

// A new program that does not start changes nothing but a line in the log and a counter.
func TestUpgradeFails(t *testing.T) {
	u := newUpgradable(t, echo(t))
	stop := u.traffic(t)
	for i, program := range []string{"no program", "#!/bin/sh\nexit 3\n"} {
		u.replace(t, []byte(program))
		u.signal(t, syscall.SIGUSR2)
		eventually(t, "the failure is logged", func() bool { return strings.Count(u.logged(t), "Upgrade failed, this process serves on") == i+1 })
		if n := u.metric(t, "control/upgrade_failures"); n != float64(i+1) {
			t.Errorf("%v failures counted, want %d", n, i+1)
		}
	}
	u.install(t)
	u.upgrade(t)
	stop()
	if done, failed := u.metric(t, "control/upgrades"), u.metric(t, "control/upgrade_failures"); done != 1 || failed != 2 {
		t.Errorf("%v upgrades, %v failures", done, failed)
	}
}

// While one upgrade is under way another is refused; the end of the process is not, and takes the new one along.
func TestUpgradeUnderWay(t *testing.T) {
	u := newUpgradable(t, echo(t))
	u.replace(t, []byte("#!/bin/sh\necho started as $$ >&2\nexec sleep 60\n"))
	u.signal(t, syscall.SIGUSR2)
	started := regexp.MustCompile(`started as (\d+)`)
	eventually(t, "the new program runs", func() bool { return started.MatchString(u.logged(t)) })
	u.signal(t, syscall.SIGUSR2)
	eventually(t, "the second signal is refused", func() bool { return strings.Contains(u.logged(t), "an upgrade is under way") })
	if err := u.post(t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "/"); err != nil {
		t.Error(err)
	}
	u.signal(t, syscall.SIGTERM)
	u.ended(t, u.pid)
	pid, _ := strconv.Atoi(started.FindStringSubmatch(u.logged(t))[1])
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the new process is still there: %v", err)
	}
}

// The new process reads the file: it opens the addresses that are new, and does not keep those that are gone.
func TestUpgradeWithAnotherConfiguration(t *testing.T) {
	u := newUpgradable(t, echo(t))
	gone, goneAdmin := u.port, u.admin
	u.port, u.admin = freeport.Get(t), freeport.Get(t)
	u.configure(t)
	u.upgrade(t)
	if err := u.post(t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "/"); err != nil {
		t.Error(err)
	}
	if err := ready(t.Context(), u.admin); err != nil {
		t.Error(err)
	}
	for _, port := range []int{gone, goneAdmin} {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = c.Close()
			t.Errorf("port %d is still open", port)
		}
	}
}
