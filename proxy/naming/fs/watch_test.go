package fs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// A name in use has watches that end with it, and a folder that is not there yet is polled for.
func TestWatchesEnd(t *testing.T) {
	f := newFolder(t)
	f.write("dir/web", "10.0.0.1 80")
	one, two := f.Lookup(dtab.Path{"dir", "web"}), f.Lookup(dtab.Path{"dir", "none"})
	watches := func() int {
		f.watcher.mu.Lock()
		defer f.watcher.mu.Unlock()
		return len(f.watcher.watched)
	}
	if n := watches(); n != 3 { // the root, the folder, the file
		t.Errorf("%d watches for a file and a missing one in a folder", n)
	}
	one.Close()
	if n := watches(); n != 2 {
		t.Errorf("%d watches for a missing file in a folder", n)
	}
	two.Close()
	if n, due := watches(), len(f.watcher.take(true)); n != 0 || due != 0 {
		t.Errorf("%d watches and %d names are kept that nobody needs", n, due)
	}
	later := New(dtab.Path{"#", "fs"}, filepath.Join(f.root, "later"), f.options)
	t.Cleanup(later.Close)
	live := later.Lookup(dtab.Path{"web"})
	t.Cleanup(live.Close)
	awaitKind(t, live, dtab.Neg)
	f.write("later/web", "10.0.0.1 80")
	awaitAddrs(t, awaitKind(t, live, dtab.Leaf), "10.0.0.1:80")
}

// A name that comes while the last other one of its folder goes has watches that are alive: those the kernel knows.
func TestWatchesUnderChurn(t *testing.T) {
	f := newFolderBy(t, newWatcher(true), time.Hour)
	f.write("dir/web", "10.0.0.1 80")
	f.write("dir/api", "10.0.0.1 80")
	for range 300 {
		var wait sync.WaitGroup
		start := make(chan struct{})
		going := f.Lookup(dtab.Path{"dir", "web"})
		wait.Go(func() {
			<-start
			going.Close()
		})
		var coming naming.Live[naming.Tree]
		wait.Go(func() {
			<-start
			coming = f.Lookup(dtab.Path{"dir", "api"})
		})
		close(start)
		wait.Wait()
		f.watcher.mu.Lock()
		known, alive := slices.Sorted(maps.Keys(f.watcher.watched)), kernelWatches(t, f.watcher.fd)
		f.watcher.mu.Unlock()
		if !slices.Equal(known, alive) {
			t.Fatalf("watches %v, alive %v", known, alive)
		}
		coming.Close()
	}
}

// kernelWatches returns the watches of an inotify descriptor.
func kernelWatches(t *testing.T, fd int) (out []int32) {
	t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		var wd int32
		if _, err := fmt.Sscanf(line, "inotify wd:%x", &wd); err == nil {
			out = append(out, wd)
		}
	}
	slices.Sort(out)
	return out
}

// Events that were lost have everything read again.
func TestLostEvents(t *testing.T) {
	f := newFolderBy(t, newWatcher(true), time.Hour)
	f.write("web", "10.0.0.1 80")
	f.lookup("web")
	f.watcher.happened(-1, unix.IN_Q_OVERFLOW, "")
	if due := f.watcher.take(false); len(due) != 1 {
		t.Errorf("%d names due", len(due))
	}
}
