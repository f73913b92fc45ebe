package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// firstFile is the number of the first descriptor that is handed over: those before are the standard ones.
const firstFile = 3

// Options of Start.
type Options struct {
	// Path is the program, Args its arguments with its name as the first, Env its environment without Variable.
	Path      string
	Args, Env []string
	// Sockets are those that listen, by address. They stay open here.
	Sockets            map[string]syscall.Conn
	Upgrades, Failures int
	// Timeout is how long the new process may take until it is ready, Grace how long one that is not may take to end after SIGTERM before
	// it is killed.
	Timeout, Grace time.Duration
}

// Executable returns where the program that runs is found; later that may be another version. It is the path it was started by, which may
// be a link that is changed for an upgrade, or, if that leads elsewhere, the one the kernel knows. Call it at the start.
func Executable() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return os.Executable()
	}
	started, err := os.Stat(path)
	if err != nil {
		return os.Executable()
	}
	if running, err := os.Stat("/proc/self/exe"); err != nil || !os.SameFile(started, running) {
		return os.Executable()
	}
	return path, nil
}

// Start starts a process and gives it the sockets. It returns the process's number once that says that it is ready. On an error, and when
// ctx ends first, there is no such process any more.
func Start(ctx context.Context, o Options) (pid int, err error) {
	reader, files, sockets, err := o.open()
	if err != nil {
		return 0, err
	}
	defer reader.Close() //nolint:errcheck // only read
	process, err := o.fork(files, sockets)
	for _, fd := range files[firstFile:] {
		_ = unix.Close(int(fd)) // the process has its own
	}
	if err != nil {
		return 0, err
	}
	ended := make(chan string, 1)
	go func() { ended <- outcome(process.Wait()) }()
	if err := await(ctx, reader, o.Timeout, ended); err != nil {
		return 0, fmt.Errorf("%s, process %d: %w", o.Path, process.Pid, errors.Join(err, o.end(process, ended)))
	}
	return process.Pid, nil
}

// open makes the pipe and duplicates the sockets. files are what the process gets, from 0 on, and sockets the numbers it has them by. They
// are plain numbers throughout: an os.File would make the sockets block for whoever has them, that is for accept.
func (o *Options) open() (reader *os.File, files []uintptr, sockets map[string]int, err error) {
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		return nil, nil, nil, fmt.Errorf("pipe: %w", err)
	}
	files, sockets = []uintptr{0, 1, 2, uintptr(pipe[1])}, make(map[string]int, len(o.Sockets))
	err = unix.SetNonblock(pipe[0], true) // so that reading has a deadline
	for _, addr := range slices.Sorted(maps.Keys(o.Sockets)) {
		if err != nil {
			break
		}
		var fd int
		if fd, err = duplicate(o.Sockets[addr]); err == nil {
			sockets[addr] = len(files)
			files = append(files, uintptr(fd))
		}
	}
	if err != nil {
		_ = unix.Close(pipe[0])
		for _, fd := range files[firstFile:] {
			_ = unix.Close(int(fd))
		}
		return nil, nil, nil, fmt.Errorf("descriptors to hand over: %w", err)
	}
	return os.NewFile(uintptr(pipe[0]), "ready"), files, sockets, nil
}

func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlErr, err)
}

func (o *Options) fork(files []uintptr, sockets map[string]int) (*os.Process, error) {
	text, err := json.Marshal(message{Sockets: sockets, Ready: firstFile, Upgrades: o.Upgrades, Failures: o.Failures})
	if err != nil {
		return nil, err
	}
	// Those that this process opened close by themselves; not so those it was given at its start.
	if err := unix.CloseRange(firstFile, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("close_range: %w", err)
	}
	env := slices.DeleteFunc(slices.Clone(o.Env), func(v string) bool { return strings.HasPrefix(v, Variable+"=") })
	env = append(env, Variable+"="+string(text))
	pid, _, err := syscall.StartProcess(o.Path, o.Args, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Path, err)
	}
	return os.FindProcess(pid) // it is a child that nobody waited for, so the number is its own
}

// outcome says in words how a process ended.
func outcome(state *os.ProcessState, err error) string {
	if err != nil {
		return err.Error()
	}
	return state.String()
}

// await returns nil when the process has said that it is ready. What ended gives is put back.
func await(ctx context.Context, reader *os.File, timeout time.Duration, ended chan string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready within %s", timeout))
	defer cancel()
	got := make(chan error, 1)
	go func() {
		text := make([]byte, len(word))
		_, err := io.ReadFull(reader, text)
		if err == nil && string(text) != word {
			err = fmt.Errorf("said %q in place of %q", text, word)
		}
		got <- err
	}()
	select {
	case err := <-got:
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("ended, or closed the pipe, before it was ready")
		}
		return err
	case how := <-ended:
		ended <- how
		_ = reader.SetReadDeadline(time.Now()) // a pipe has deadlines
		if said := <-got; said == nil {
			return errors.New("ended as soon as it was ready")
		}
		return errors.New("ended before it was ready")
	case <-ctx.Done():
	}
	_ = reader.SetReadDeadline(time.Now())
	if said := <-got; said == nil {
		return nil // at the last moment
	}
	return context.Cause(ctx)
}

// end sees to it that the process ends, and returns how it did.
func (o *Options) end(process *os.Process, ended <-chan string) error {
	_ = process.Signal(syscall.SIGTERM) // it may have ended
	t := time.NewTimer(o.Grace)
	defer t.Stop()
	select {
	case how := <-ended:
		return errors.New(how)
	case <-t.C:
	}
	_ = process.Kill()
	return errors.New(<-ended)
}
