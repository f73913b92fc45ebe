package fs

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Without descriptors no file can be read: names keep their endpoints, and all are read at the first poll after there are some again. The
// watches tell nothing then, as no file changes.
func TestOutOfDescriptors(t *testing.T) {
	f := newFolder(t)
	f.write("web", "127.0.0.1 80\n")
	f.write("late", "127.0.0.1 81\n")
	web := f.lookup("web")
	bound := awaitKind(t, web, dtab.Leaf)
	awaitAddrs(t, bound, "127.0.0.1:80")
	restore := noDescriptors(t)
	late := f.lookup("late")
	await(t, late, func(_ naming.Tree, s naming.State, err error) bool {
		return s == naming.Failed && errors.Is(err, syscall.EMFILE)
	})
	f.Namer.mu.Lock()
	e := f.Namer.names[dtab.Path{"late"}.String()]
	f.Namer.mu.Unlock()
	if !e.polled.Load() {
		t.Errorf("a file that could not be read is only read again in %v", SafetyInterval)
	}
	awaitAddrs(t, bound, "127.0.0.1:80")
	restore()
	awaitAddrs(t, awaitKind(t, late, dtab.Leaf), "127.0.0.1:81")
	if e.polled.Load() {
		t.Error("it is still polled")
	}
}

// noDescriptors lets this process open nothing until the returned function is called, or the test ends.
func noDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	restore = func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }
	t.Cleanup(restore)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return restore
}
