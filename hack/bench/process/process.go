// Package process runs programs that are measured: it starts and stops them, and tells what CPU time and memory they and their
// children take. It knows nothing of what they are.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// startLimit is how long a process may take to answer, stopLimit to end when told to.
	startLimit = 30 * time.Second
	stopLimit  = 10 * time.Second
)

// AnyCore is the core of a process that is not pinned to one.
const AnyCore = -1

// Process is a program that runs until it is stopped.
type Process struct {
	name   string
	cmd    *exec.Cmd
	log    *os.File
	exited chan struct{}
	err    error // how it exited; to be read after exited is closed
}

// Start runs args on one core, or on AnyCore, with env added to the environment. Its output goes to a file in dir.
func Start(dir, name string, core int, env []string, args ...string) (*Process, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, cmd: Pinned(core, args), log: log, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	// A process group of its own keeps the terminal's Ctrl-C from it: it is ours to stop, in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), log.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Pinned returns the command that runs args on one core: taskset, which becomes what it runs.
func Pinned(core int, args []string) *exec.Cmd {
	if core >= 0 {
		args = append([]string{"taskset", "-c", strconv.Itoa(core)}, args...)
	}
	return exec.Command(args[0], args[1:]...) //nolint:gosec // running programs is what this package is for
}

// Answers polls ready every interval until it returns nil. A process that ends, or has no good answer after 30 s, is an error with
// what it printed.
func (p *Process) Answers(ctx context.Context, interval time.Duration, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s: ended (%w): %s", p.name, p.err, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("%s: no good answer in time: %w: %s", p.name, err, p.Output())
		case <-tick.C:
		}
	}
}

// Output is the end of what it printed.
func (p *Process) Output() string {
	data, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(data[max(0, len(data)-2000):]))
}

// Stop ends it, within 10 s. It may be called again.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	kill := time.AfterFunc(stopLimit, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	<-p.exited
	_ = p.log.Close()
}

// Kill ends it at once, without a chance to drain. It may be called again.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	p.Stop()
}

// Usage is what a process and its children have taken so far.
type Usage struct {
	CPU time.Duration // user and system, exact
	// User is the part that is not the kernel's, as far as the kernel's clock ticks tell.
	User time.Duration
}

// Usage of it and its children.
func (p *Process) Usage() (Usage, error) {
	var u Usage
	for _, pid := range p.Tree() {
		var t unix.Timespec
		// The CPU clock of another process (clock_getcpuclockid(3)): nanoseconds, where /proc has hundredths of a second.
		if err := unix.ClockGettime(int32(^pid)<<3|2, &t); err != nil {
			return u, fmt.Errorf("%s: CPU clock of %d: %w", p.name, pid, err)
		}
		u.CPU += time.Duration(t.Nano())
		f, err := stat(pid)
		if err != nil {
			return u, err
		}
		ticks, err := strconv.ParseInt(f[11], 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		u.User += time.Duration(ticks) * time.Second / 100
	}
	return u, nil
}

// Memory is RssAnon + RssFile of it and its children, in bytes.
func (p *Process) Memory() (int64, error) {
	var sum int64
	for _, pid := range p.Tree() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(data)) {
			var kb int64
			if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kb); err != nil {
				if _, err := fmt.Sscanf(line, "RssFile: %d kB", &kb); err != nil {
					continue
				}
			}
			sum += kb << 10
		}
	}
	return sum, nil
}

// Catches reports whether a process has a handler for a signal.
func Catches(pid int, signal syscall.Signal) (bool, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(data)) {
		var caught uint64
		if _, err := fmt.Sscanf(line, "SigCgt: %x", &caught); err == nil {
			return caught>>(signal-1)&1 == 1, nil
		}
	}
	return false, nil // it has ended
}

// Tree is the pid of it and of all its descendants.
func (p *Process) Tree() []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc") // it can be read wherever this program runs
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f, err := stat(pid); err == nil {
			if parent, err := strconv.Atoi(f[1]); err == nil {
				children[parent] = append(children[parent], pid)
			}
		}
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// stat returns the fields of /proc/PID/stat after the command's name, which may hold spaces: state, ppid, ...
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(f) < 22 {
		return nil, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f))
	}
	return f, nil
}

// Addresses are n of the loopback interface that nobody uses, for processes to listen on.
func Addresses(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() //nolint:errcheck // kept until all are known, so that they differ
		all = append(all, l.Addr().String())
	}
	return all, nil
}
