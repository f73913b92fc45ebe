package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// startLimit is how long wrk may take to begin, stopLimit to end.
const startLimit, stopLimit = 20 * time.Second, 10 * time.Second

// sample is one proxy under load in one round.
type sample struct {
	Round    int           `json:"round"`
	Case     string        `json:"case"`
	Proxy    string        `json:"proxy"`
	Requests int64         `json:"requests"`
	Seconds  float64       `json:"seconds"`
	CPU      time.Duration `json:"cpuNanoseconds"`
	User     time.Duration `json:"userNanoseconds"`
	P50      time.Duration `json:"p50Nanoseconds"`
	P99      time.Duration `json:"p99Nanoseconds"`
	Memory   int64         `json:"memoryBytes"` // of the proxy, resident, afterwards
}

// cost is CPU time per request in microseconds.
func (s sample) cost() float64 { return float64(s.CPU) / float64(s.Requests) / 1000 }

// errNone: on a machine with much other work, a short time may pass without a single answer.
var errNone = errors.New("no request was answered")

// measure loads one proxy for a while, and for longer if that brought nothing.
func (b *bench) measure(ctx context.Context, p *proxy, c work, d time.Duration) (sample, error) {
	s, err := b.measureOnce(ctx, p, c, d)
	for longer := 4 * d; errors.Is(err, errNone) && longer <= 64*d; longer *= 4 {
		s, err = b.measureOnce(ctx, p, c, longer)
	}
	return s, err
}

func (b *bench) measureOnce(ctx context.Context, p *proxy, c work, d time.Duration) (sample, error) {
	before, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	load := b.wrk
	if c.rate > 0 {
		load = b.openLoop
	}
	s, err := load(ctx, p.addr, c, d)
	if err != nil {
		return sample{}, fmt.Errorf("%s under load: %w: %s", p.name, err, p.output())
	}
	after, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	s.CPU, s.User = after.CPU-before.CPU, after.User-before.User
	s.Memory, err = p.memory()
	return s, err
}

// wrk runs wrk. It knows whole seconds alone, so it is told to run longer and interrupted: then it prints the same as at its end.
func (b *bench) wrk(ctx context.Context, addr string, c work, d time.Duration) (sample, error) {
	var out bytes.Buffer
	args := []string{
		b.command("wrk"), "--threads", "1", "--connections", fmt.Sprint(c.conns), "--duration", "10m", "--latency",
		"--header", "Host: " + service, "--header", "User-Agent: bench/1", "--header", "Accept: */*",
	}
	if c.post > 0 {
		script := filepath.Join(b.dir, c.name+".lua")
		text := fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", %d)\n", c.post)
		if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
			return sample{}, err
		}
		args = append(args, "--script", script)
	}
	cmd := process.Pinned(b.loadCore, append(args, "http://"+addr+c.path))
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	started := underWay(ctx, cmd.Process.Pid)
	if started == nil {
		pause(ctx, d)
	}
	signaled := cmd.Process.Signal(os.Interrupt)
	stuck := time.AfterFunc(stopLimit, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	if err := errors.Join(started, signaled, cmd.Wait(), ctx.Err()); err != nil {
		return sample{}, fmt.Errorf("wrk: %w: %s", err, out.String())
	}
	return parseWrk(out.String())
}

// underWay waits until wrk catches the signal that ends it early, which is the last thing it does before it begins to count. On a
// busy machine that takes a while.
func underWay(ctx context.Context, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for ctx.Err() == nil {
		if caught, err := process.Catches(pid, syscall.SIGINT); caught || err != nil {
			return err
		}
		pause(ctx, 2*time.Millisecond)
	}
	return ctx.Err()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// parseWrk reads what wrk prints. Any failed request is an error: a proxy that answers with errors is not compared.
func parseWrk(out string) (sample, error) {
	var s sample
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		var of, read string
		switch {
		case strings.HasPrefix(line, "Socket errors:"), strings.HasPrefix(line, "Non-2xx"):
			return s, errors.New(line)
		case strings.HasPrefix(line, "50% "):
			s.P50, _ = time.ParseDuration(strings.TrimSpace(line[len("50%"):]))
		case strings.HasPrefix(line, "99% "):
			s.P99, _ = time.ParseDuration(strings.TrimSpace(line[len("99%"):]))
		case strings.Contains(line, " requests in "):
			if _, err := fmt.Sscanf(line, "%d requests in %s %s read", &s.Requests, &of, &read); err == nil {
				d, _ := time.ParseDuration(strings.TrimSuffix(of, ","))
				s.Seconds = d.Seconds()
			}
		}
	}
	if s.Seconds != 0 && s.Requests == 0 {
		return s, errNone
	}
	if s.Requests == 0 || s.Seconds == 0 || s.P50 == 0 || s.P99 == 0 {
		return s, fmt.Errorf("wrk printed no figures: %s", out)
	}
	return s, nil
}
