package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// poll is how often a process that starts is tried.
const poll = 20 * time.Millisecond

// group is the sides that run at the same time, each before backends of its own.
type group struct {
	o       *options
	table   string
	seed    uint64
	self    string
	running []*process.Process
}

// side is one of them.
type side struct {
	name, addr, control string
}

// runGroup runs some sides at the same time. busy is the share of the machine's processors that all of it took.
func runGroup(ctx context.Context, o *options, dir, table string, names []string, seed uint64) (results map[string]result, busy float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, 0, err
	}
	g := &group{o: o, table: table, seed: seed, self: self}
	defer func() {
		for _, p := range g.running {
			p.Kill()
		}
	}()
	var sides []side
	for _, name := range names {
		if table == tableOff && balancers[name] == "" {
			if _, err := exec.LookPath((&setup{o: o}).tool(name[:bytes.IndexByte([]byte(name), '-')])); err != nil {
				fmt.Fprintf(os.Stderr, "experiment: %s is left out: %v\n", name, err)
				continue
			}
		}
		s, err := g.start(ctx, filepath.Join(dir, name), name)
		if err != nil {
			return nil, 0, err
		}
		sides = append(sides, s)
	}
	before, err := processorTime()
	if err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	results, err = g.load(ctx, sides)
	after, err2 := processorTime()
	return results, (after - before).Seconds() / time.Since(begin).Seconds() / float64(runtime.NumCPU()), errors.Join(err, err2)
}

// start brings up the backends and the proxy of one side.
func (g *group) start(ctx context.Context, dir, name string) (side, error) {
	addrs, err := process.Addresses(endpoints + 3)
	if err != nil {
		return side{}, err
	}
	s := side{name: name, addr: addrs[0], control: addrs[1]}
	set := setup{dir: dir, addr: s.addr, admin: addrs[2], backends: addrs[3:], o: g.o, table: g.table}
	args, err := set.command(name)
	if err != nil {
		return s, err
	}
	backends, err := process.Start(dir, "backends", process.AnyCore, nil,
		append([]string{g.self, backendArg, strconv.FormatUint(g.seed, 10), s.control}, set.backends...)...)
	if err != nil {
		return s, err
	}
	g.running = append(g.running, backends)
	if err := backends.Answers(ctx, poll, func() error { _, err := ask(s.control, "counts"); return err }); err != nil {
		return s, err
	}
	proxy, err := process.Start(dir, "proxy", process.AnyCore, nil, args...)
	if err != nil {
		return s, err
	}
	g.running = append(g.running, proxy)
	return s, proxy.Answers(ctx, poll, func() error {
		if reason := (&pool{addr: s.addr}).once(time.Now().Add(time.Second)); reason != "" {
			return errors.New(reason)
		}
		return nil
	})
}

// load sends to all sides, and makes one backend of each slow at the same time.
func (g *group) load(ctx context.Context, sides []side) (map[string]result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(map[string]result)
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed error
	for _, s := range sides {
		all.Go(func() {
			r, err := g.loadOne(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			results[s.name] = r
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
				cancel()
			}
		})
	}
	for _, step := range []struct {
		wait  time.Duration
		delay time.Duration
	}{{g.o.phases.before, g.o.phases.delay}, {g.o.phases.slow, 0}} {
		t := time.NewTimer(step.wait)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		for _, s := range sides {
			if out, err := ask(s.control, fmt.Sprintf("slow 0 %v", step.delay)); err != nil || out != "ok\n" {
				cancel()
				all.Wait()
				return nil, errors.Join(failed, fmt.Errorf("%s: backends: %q, %w", s.name, out, err))
			}
		}
	}
	all.Wait()
	for name, r := range results {
		for _, s := range sides {
			if s.name != name {
				continue
			}
			_, slow, err := counts(s.control)
			if err != nil {
				return nil, err
			}
			r.Slow = slow[0]
			results[name] = r
		}
	}
	return results, failed
}

// loadOne runs the load of one side in a process of its own.
func (g *group) loadOne(ctx context.Context, s side) (r result, err error) {
	cmd := exec.CommandContext(ctx, g.self, loadArg, s.addr, strconv.Itoa(g.o.rate), g.o.phases.total().String(), g.o.timeout.String(), //nolint:gosec // this program
		strconv.FormatUint(g.seed, 10))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("load: %w: %s", err, errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("load: %w: %s", err, out.String())
	}
	return r, nil
}

// processorTime is what all processors of the machine have done since it started, idle and waiting not counted.
func processorTime() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, wait, irq, softirq int64
	if _, err := fmt.Sscanf(string(data), "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq); err != nil {
		return 0, fmt.Errorf("/proc/stat: %w", err)
	}
	return time.Duration(user+nice+system+irq+softirq) * 10 * time.Millisecond, nil
}
