package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

const meshDocument = `apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: demo}
spec:
  routers:
  - {name: outgoing, servers: [{port: 4140}]}
`

func dtabDocument(dst string) string {
	return meshDocument + fmt.Sprintf(`---
apiVersion: fairlead.dev/v1alpha1
kind: Dtab
metadata: {name: web}
spec:
  meshRef: {name: demo}
  router: outgoing
  dentries:
  - {prefix: /svc/web, dst: %s}
`, dst)
}

// watched is a File that runs, with what it served and logged.
type watched struct {
	*app
	*File
	path string
	logs chan string
	tree *telemetry.Tree
}

func watchFile(t *testing.T, path string) *watched {
	t.Helper()
	w := &watched{app: newApp(), path: path, logs: make(chan string, 1000), tree: telemetry.New()}
	w.File = NewFile(FileOptions{
		Path: path, Env: config.Standalone, Apply: w.apply, Scope: w.tree, Interval: 10 * time.Millisecond,
		Log: funcr.New(func(_, args string) { w.logs <- args }, funcr.Options{}),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestFileAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":   {strings.Replace(meshDocument, "servers", "server", 1), path + ":6:22: "},
		"syntax":        {"apiVersion: [\n", path + ":"},
		"bad dtab":      {dtabDocument(`"/a & "`), path + ":15:"},
		"duplicate key": {meshDocument + "spec: {}\n", path + ":7:1: "},
		"empty":         {"", path},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, path, c.text)
			a := newApp()
			f := NewFile(FileOptions{Path: path, Env: config.Standalone, Apply: a.apply, Scope: telemetry.New()})
			err := f.Run(t.Context())
			var bad *config.Error
			if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s...", err, c.want)
			}
			if got, _ := a.rules(); got != "nothing" || f.Ready() == nil {
				t.Errorf("serves %s", got)
			}
		})
	}
	f := NewFile(FileOptions{Path: path + ".missing", Apply: newApp().apply, Scope: telemetry.New()})
	if err := f.Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, path, dtabDocument("/a"))
	w := watchFile(t, path)
	w.await(t, "web:/svc/web=>/a ")
	write(t, path, dtabDocument("/b")) // in place, same size
	w.await(t, "web:/svc/web=>/b ")
	replace(t, path, dtabDocument("/c"))
	w.await(t, "web:/svc/web=>/c ")

	// A bad file: the old rules stay, one log line, and the gauge says so. Then it goes away, and comes back good.
	replace(t, path, dtabDocument(`"/c & "`))
	eventually(t, "the refusal", 10*time.Second, func() error {
		if err := w.LastError(); err == nil || !strings.HasPrefix(err.Error(), path+":15:") {
			return fmt.Errorf("last error: %w", errors.Join(errors.New("other"), err))
		}
		return nil
	})
	if w.tree.Gauge("config_refused").Value() != 1 {
		t.Error("config_refused is not 1")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss", 10*time.Second, func() error {
		if err := w.LastError(); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("last error %w", err)
		}
		return nil
	})
	if got, _ := w.rules(); got != "web:/svc/web=>/c " {
		t.Errorf("serves %s", got)
	}
	replace(t, path, dtabDocument("/d"))
	w.await(t, "web:/svc/web=>/d ")
	eventually(t, "the gauge", 10*time.Second, func() error {
		if w.tree.Gauge("config_refused").Value() != 0 || w.LastError() != nil {
			return fmt.Errorf("last error %w", w.LastError())
		}
		return nil
	})
	refusals := 0
	for len(w.logs) > 0 {
		if line := <-w.logs; strings.Contains(line, "refused") {
			refusals++
			if strings.Contains(line, `"level"=`) || !strings.Contains(line, `"error"="`) {
				t.Errorf("a refusal is no error: %s", line)
			}
		}
	}
	if refusals != 2 {
		t.Errorf("%d lines for a bad file and a missing file", refusals)
	}
}

// A good file that comes back after it was lost, with the content that was served, ends the refusal.
// Who puts the file that is served back in place of a bad one is told that all is well.
func TestFilePutBackIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, path, dtabDocument("/a"))
	w := watchFile(t, path)
	w.await(t, "web:/svc/web=>/a ")
	served := 0
	await := func(what string) {
		t.Helper()
		for line := range w.logs {
			if strings.Contains(line, "Configuration served") {
				served++
			}
			if strings.Contains(line, what) {
				return
			}
		}
	}
	await("Configuration served")
	replace(t, path, dtabDocument(`"/a & "`))
	await("Configuration refused")
	replace(t, path, dtabDocument("/a"))
	await("Configuration served")
	if served != 2 {
		t.Errorf("told %d times that it is served, want 2", served)
	}
}

// TestFileThatCouldNotBeAppliedIsTriedAgain: what was in the way, such as another process on its port, may have gone, and nobody edits a
// good file for that.
func TestFileThatCouldNotBeAppliedIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, path, dtabDocument("/old"))
	var taken atomic.Bool
	var tries atomic.Int32
	logs := make(chan string, 1000)
	f := NewFile(FileOptions{
		Path: path, Env: config.Standalone, Scope: telemetry.New(), Interval: time.Millisecond,
		Apply: func(context.Context, *config.Config) error {
			if tries.Add(1); taken.Load() {
				return errors.New("address already in use")
			}
			return nil
		},
		Log: funcr.New(func(_, args string) { logs <- args }, funcr.Options{}),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) { // the step of a poll
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	await("the first configuration is not served", func() bool { return f.Ready() == nil })
	taken.Store(true)
	replace(t, path, dtabDocument("/new"))
	await("it is not tried again", func() bool { return tries.Load() >= 4 })
	taken.Store(false)
	await("it is not served when the way is free", func() bool { return f.LastError() == nil })
	tried := tries.Load()
	replace(t, path, dtabDocument("/newer"))
	await("the next edit is not served", func() bool { return tries.Load() == tried+1 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	refused := 0
	for range len(logs) {
		if strings.Contains(<-logs, "refused") {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("the same reason was logged %d times", refused)
	}
}

func TestFileComesBackAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, path, dtabDocument("/a"))
	w := watchFile(t, path)
	w.await(t, "web:/svc/web=>/a ")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss", 10*time.Second, func() error {
		if w.LastError() == nil {
			return errors.New("not seen")
		}
		return nil
	})
	write(t, path, dtabDocument("/a"))
	eventually(t, "the return", 10*time.Second, w.LastError)
}

// ConfigMaps are mounted as a link to a link that is swapped.
func TestFileBehindSwappedLinks(t *testing.T) {
	dir := t.TempDir()
	link := func(from, to string) {
		t.Helper()
		tmp := filepath.Join(dir, "tmp")
		if err := os.Symlink(from, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	generation := func(name, dst string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "config.yaml"), dtabDocument(dst))
	}
	generation("..1", "/a")
	link("..1", "..data")
	link(filepath.Join("..data", "config.yaml"), "config.yaml")
	w := watchFile(t, filepath.Join(dir, "config.yaml"))
	w.await(t, "web:/svc/web=>/a ")
	generation("..2", "/b")
	link("..2", "..data")
	w.await(t, "web:/svc/web=>/b ")
}

// An editor that writes in place shows a file that is cut anywhere; only whole ones are served.
func TestFileWrittenInPieces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, path, dtabDocument("/a"))
	w := watchFile(t, path)
	w.await(t, "web:/svc/web=>/a ")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := dtabDocument("/b")
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for i := 0; i < len(text); i += 20 {
		if _, err := f.WriteString(text[i:min(i+20, len(text))]); err != nil {
			t.Fatal(err)
		}
		<-pause.C
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.await(t, "web:/svc/web=>/b ")
	w.app.mu.Lock()
	defer w.app.mu.Unlock()
	if len(w.app.served) != 2 {
		t.Errorf("%d configurations were served, want 2", len(w.app.served))
	}
}
