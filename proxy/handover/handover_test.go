package handover

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// shell is a new process that does what the script says. Descriptor 3 is the pipe, 4 the socket.
func shell(l *net.TCPListener, script string) Options {
	return Options{
		Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ(), Sockets: map[string]syscall.Conn{l.Addr().String(): l},
		Timeout: 10 * time.Second, Grace: 10 * time.Second,
	}
}

// The process that fails is gone, whatever it does, and so are the descriptors that were made for it.
func TestStartFails(t *testing.T) {
	for name, c := range map[string]struct {
		script         string
		timeout, grace time.Duration
		want           []string
	}{
		"ends":             {script: "exit 3", want: []string{"before it was ready", "exit status 3"}},
		"closes the pipe":  {script: "exec sleep 60 3>&-", want: []string{"closed the pipe", "signal: terminated"}},
		"says other words": {script: "echo steady >&3; exec sleep 60", want: []string{"in place of", "signal: terminated"}},
		"hangs":            {script: "exec sleep 60", timeout: 50 * time.Millisecond, want: []string{"not ready within 50ms", "signal: terminated"}},
		"will not end": {
			script: `trap "" TERM; while :; do :; done`, timeout: 500 * time.Millisecond, grace: 50 * time.Millisecond,
			want: []string{"not ready within 500ms", "signal: killed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			before := descriptors(t)
			o := shell(l, c.script)
			if c.timeout > 0 {
				o.Timeout = c.timeout
			}
			if c.grace > 0 {
				o.Grace = c.grace
			}
			_, err := Start(t.Context(), o)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors, %d before", after, before)
			}
		})
	}
}

func TestStartNoProgram(t *testing.T) {
	o := shell(listen(t), "")
	o.Path = t.TempDir() + "/proxy"
	before := descriptors(t)
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// The socket that both have does not block: an accept that did could not be ended by closing it.
func TestStart(t *testing.T) {
	l := listen(t)
	o := shell(l, "echo ready >&3; exec sleep 60")
	pid, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may be gone; Start's goroutine waits for it
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %x, %v: the socket blocks", flags, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	const want = 5 // the standard ones, the pipe, the socket
	count := 0
	for deadline := time.Now().Add(10 * time.Second); count != want && time.Now().Before(deadline); { // the shell's own go when sleep begins
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		count = len(entries)
	}
	if count != want {
		t.Errorf("the process has %d descriptors", count)
	}
}

func TestTake(t *testing.T) {
	if i, err := Take(); i != nil || err != nil {
		t.Errorf("without the variable: %v, %v", i, err)
	}
	var none *Inherited
	if none.Listener("127.0.0.1:80") != nil || none.Ready() != nil {
		t.Error("what does not exist has something")
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	number := int(file.Fd()) // Take closes it
	for text, want := range map[string]string{
		"3":                                 "cannot unmarshal",
		`{"sockets":{"127.0.0.1:80":1}}`:    "not a listening TCP socket",
		`{"sockets":{"127.0.0.1:80":9999}}`: "bad file descriptor",
		fmt.Sprintf(`{"sockets":{"127.0.0.1:80":%d}}`, number): "socket operation on non-socket",
		`{"sockets":{},"ready":9999}`:                          "not that of a pipe",
	} {
		t.Setenv(Variable, text)
		if i, err := Take(); i != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
		if _, ok := os.LookupEnv(Variable); ok {
			t.Error("the variable is still there")
		}
	}
}

// What was asked for is served on, what was not is closed once this process is ready.
func TestTakeOver(t *testing.T) {
	kept, dropped := listen(t), listen(t)
	o := Options{Sockets: map[string]syscall.Conn{"kept": kept, "dropped": dropped}}
	reader, files, _, err := o.open()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	t.Setenv(Variable, fmt.Sprintf(`{"sockets":{"dropped":%d,"kept":%d},"ready":%d,"upgrades":2,"failures":1,"later":true}`, files[4], files[5], files[3]))
	i, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	if i.Upgrades != 2 || i.Failures != 1 {
		t.Errorf("got %d, %d", i.Upgrades, i.Failures)
	}
	l := i.Listener("kept")
	if l == nil || i.Listener("kept") != nil || i.Listener("other") != nil {
		t.Fatal("the socket is to be had once, under its address")
	}
	defer l.Close()
	_ = kept.Close()
	_ = dropped.Close()
	for range 2 {
		if err := i.Ready(); err != nil {
			t.Fatal(err)
		}
	}
	text := make([]byte, 16)
	if n, _ := reader.Read(text); string(text[:n]) != word {
		t.Errorf("said %q", text[:n])
	}
	for l, open := range map[*net.TCPListener]bool{kept: true, dropped: false} {
		c, err := net.Dial("tcp", l.Addr().String())
		if (err == nil) != open {
			t.Errorf("dial: %v, want open %t", err, open)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Error(err)
	}
	path := t.TempDir() + "/notify"
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 64)
	if n, err := c.Read(text); err != nil || string(text[:n]) != "READY=1" {
		t.Errorf("got %q, %v", text[:n], err)
	}
}
