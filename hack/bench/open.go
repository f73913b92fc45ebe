package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// openLoopArg is the first argument with which this program is the load of an open loop.
const openLoopArg = "open-loop"

// openLoop asks at a fixed rate in a process of its own, on the core of the load, whatever the answers do.
func (b *bench) openLoop(ctx context.Context, addr string, c work, d time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, d+startLimit+stopLimit)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	args := process.Pinned(b.loadCore, []string{self, openLoopArg, addr, strconv.Itoa(c.rate), strconv.Itoa(c.conns), d.String(), c.path}).Args
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // this program
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return sample{}, fmt.Errorf("open loop: %w: %s", err, errs.String())
	}
	var s sample
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return s, fmt.Errorf("open loop: %w: %s", err, out.String())
	}
	return s, nil
}

// runOpenLoop is what the process does: ADDRESS RATE CONNECTIONS DURATION PATH.
func runOpenLoop(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%s: expected ADDRESS RATE CONNECTIONS DURATION PATH", openLoopArg)
	}
	rate, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conns, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	// The pacer sleeps in a system call and keeps its processor, the readers need others, however few cores there are.
	runtime.GOMAXPROCS(4)
	s, err := pace(args[0], rate, conns, d, request(args[4]))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// asked is a connection and when its request was meant to be sent.
type asked struct {
	*client
	at   time.Duration // since boot
	took []time.Duration
}

// pace sends requests at equal distances, each over the connection that is free for the longest time. A request that finds none free waits
// for one; its latency counts from when it was meant to be sent, so that a proxy that stalls pays for all that could not be sent meanwhile.
func pace(addr string, rate, conns int, d time.Duration, text []byte) (sample, error) {
	free, failed := make(chan *asked, conns), make(chan error, conns)
	all := make([]*asked, conns)
	for i := range all {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return sample{}, err
		}
		defer c.Close() //nolint:errcheck // it was used
		all[i] = &asked{client: newClient(c)}
		free <- all[i]
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return sample{}, fmt.Errorf("timer slack: %w", err)
	}
	take := func() (*asked, error) {
		select {
		case c := <-free:
			return c, nil
		case err := <-failed:
			return nil, err
		}
	}
	total := int(d.Seconds() * float64(rate))
	begin := sinceBoot()
	for i := range total {
		at := begin + time.Duration(i)*time.Second/time.Duration(rate)
		sleepUntil(at)
		c, err := take()
		if err != nil {
			return sample{}, err
		}
		c.at = at
		if _, err := c.conn.Write(text); err != nil {
			return sample{}, err
		}
		go func() {
			if err := c.answer(); err != nil {
				failed <- err
				return
			}
			c.took = append(c.took, sinceBoot()-c.at)
			free <- c
		}()
	}
	var took []time.Duration
	for range all {
		c, err := take()
		if err != nil {
			return sample{}, err
		}
		took = append(took, c.took...)
	}
	seconds := (sinceBoot() - begin).Seconds()
	slices.Sort(took)
	return sample{
		Requests: int64(len(took)), Seconds: seconds, P50: took[len(took)/2], P99: took[len(took)*99/100],
	}, nil
}

// sinceBoot is the clock that sleepUntil sleeps by.
func sinceBoot() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // there is no machine without it
	return time.Duration(t.Nano())
}

// sleepUntil is finer than the runtime's timers, which are late by up to a millisecond.
func sleepUntil(at time.Duration) {
	t := unix.NsecToTimespec(int64(at))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil) == unix.EINTR { // a signal: sleep on
	}
}
