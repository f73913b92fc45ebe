package main

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// The service manager is told by the first process that it serves, and by each that is replaced which one is the main process now: nothing
// else of the protocol, so that it follows one process after the other.
func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	hear := func(want string) {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 64)
		if n, err := manager.Read(text); err != nil || string(text[:n]) != want {
			t.Errorf("told %q, %v, want %q", text[:n], err, want)
		}
	}
	u := newUpgradable(t, echo(t))
	hear("READY=1")
	for range 2 {
		u.upgrade(t)
		hear(fmt.Sprintf("MAINPID=%d", u.pid))
	}
}
