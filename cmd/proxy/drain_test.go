package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// draining is a proxy with one request under way, which ends if release is called.
type draining struct {
	*exec.Cmd
	out         *log
	port, admin int
	release     func()
	answered    chan error
}

// newDraining starts one. Its endpoint answers /slow when it is released, and all else at once.
func newDraining(t *testing.T, drain string) *draining {
	t.Helper()
	arrived, held := make(chan struct{}), make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(endpoint.Close)
	d := &draining{out: &log{}, port: freeport.Get(t), admin: freeport.Get(t), release: func() { close(held) }, answered: make(chan error, 1)}
	host, at, _ := strings.Cut(endpoint.Listener.Addr().String(), ":")
	file := filepath.Join(t.TempDir(), "mesh.yaml")
	text := fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec:\n  admin: {ip: 127.0.0.1, port: %d}\n"+
		"  routers:\n  - name: outgoing\n    servers: [{port: %d}]\n    dtab: [{prefix: /svc, dst: /$/inet/%s/%s}]\n", d.admin, d.port, host, at)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Cmd = exec.Command(os.Args[0], "--config", file, "--drain", drain) //nolint:gosec,noctx // this program; it is told to end
	d.Env = append(os.Environ(), limitVariable+"=4096")
	d.Stderr = d.out
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.Process.Kill() // it has ended, unless the test failed
		if t.Failed() {
			t.Log(d.out.text.String())
		}
	})
	eventually(t, "the proxy is ready", func() bool { return ready(t.Context(), d.admin) == nil })
	go func() {
		_, err := ask(t.Context(), http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d/slow", d.port))
		d.answered <- err
	}()
	<-arrived
	return d
}

func (d *draining) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := d.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Whoever sends requests learns only by and by that a process ends: what comes meanwhile is served.
func TestAcceptsForAWhileAfterSIGTERM(t *testing.T) {
	d := newDraining(t, "20s")
	d.signal(t, syscall.SIGTERM)
	eventually(t, "it drains", func() bool { return d.out.has("Draining", `"accepting":"1s"`) })
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if status, err := ask(t.Context(), fresh, fmt.Sprintf("http://127.0.0.1:%d/", d.port)); err != nil || !strings.HasPrefix(status, "200") {
		t.Errorf("a new connection got %q, %v", status, err)
	}
	if status, err := ask(t.Context(), fresh, fmt.Sprintf("http://127.0.0.1:%d/admin/ready", d.admin)); err != nil || !strings.HasPrefix(status, "503") {
		t.Errorf("readiness is %q, %v", status, err)
	}
	d.release()
	if err := <-d.answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("it ended: %v", err)
	}
}

// Who presses Ctrl-C waits for what is under way, but for nothing else.
func TestStopsAcceptingAtOnceAfterSIGINT(t *testing.T) {
	d := newDraining(t, "20s")
	d.signal(t, os.Interrupt)
	eventually(t, "it drains", func() bool { return d.out.has("Draining", `"accepting":"0s"`) })
	d.release()
	if err := errors.Join(<-d.answered, d.Wait()); err != nil {
		t.Error(err)
	}
}

func TestDrainSaysWhatItCut(t *testing.T) {
	d := newDraining(t, "100ms")
	d.signal(t, os.Interrupt)
	var exit *exec.ExitError
	if err := d.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended: %v", err)
	}
	if !d.out.has("proxy: 1 request or tunnel was cut: still under way 100ms after draining began; see --drain") {
		t.Error("it does not say what it cut")
	}
	if err := <-d.answered; err == nil {
		t.Error("the request was answered")
	}
	if bytes.Contains(d.out.text.Bytes(), []byte("deadline exceeded")) {
		t.Error("it says what nobody asked for")
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		d := newDraining(t, "1h")
		d.signal(t, syscall.SIGTERM)
		eventually(t, "it drains", func() bool { return d.out.has("Draining") })
		d.signal(t, second)
		err := d.Wait()
		if status, ok := d.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != second {
			t.Errorf("it ended: %v", err)
		}
	}
}
