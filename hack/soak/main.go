// Command soak sends traffic of many kinds through bin/proxy for a long time while it edits the rules every second, asks for names that do
// not exist and goes away in the middle of responses, and watches that no request fails and that memory stays level.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	listen = 24140
	admin  = 29990
	// growth is how much more memory the last quarter may take than the second, and slack what is allowed beside it.
	growth     = 1.25
	slackBytes = 16 << 20
)

func main() {
	duration := flag.Duration("duration", 30*time.Minute, "how long")
	proxy := flag.String("proxy", "bin/proxy", "the binary")
	clients := flag.Int("clients", 16, "connections")
	flag.Parse()
	if err := soak(*duration, *proxy, *clients); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// counts of what happened.
type counts struct {
	requests        [len(kinds)]atomic.Int64
	failures, edits atomic.Int64

	mu    sync.Mutex
	first error
}

// fail counts a failure, of which the first is kept.
func (c *counts) fail(err error) {
	c.failures.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = cmp.Or(c.first, err)
}

func soak(duration time.Duration, binary string, clients int) error {
	dir, err := os.MkdirTemp("", "fairlead-soak")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	var ports [2]string
	for i := range ports {
		s := httptest.NewServer(http.HandlerFunc(answer))
		defer s.Close()
		_, ports[i], _ = net.SplitHostPort(s.Listener.Addr().String())
	}
	file := filepath.Join(dir, "mesh.yaml")
	if err := write(file, ports, 0); err != nil {
		return err
	}
	cmd := exec.Command(binary, "--config", file)
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	var c counts
	if err := ready(ctx); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	var wait sync.WaitGroup
	for i := range clients {
		wait.Go(func() { send(ctx, &c, i) })
	}
	wait.Go(func() { edit(ctx, &c, file, ports) })
	samples, err := watch(ctx, cmd.Process.Pid, duration)
	wait.Wait()
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
	return errors.Join(err, judge(&c, samples))
}

func write(file string, ports [2]string, n int) error {
	text := fmt.Sprintf(`apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: soak}
spec:
  admin: {port: %d}
  routers:
  - name: outgoing
    servers: [{port: %d}]
    dtab: [{prefix: /svc/web, dst: "%d * /$/inet/127.0.0.1/%s & %d * /$/inet/127.0.0.1/%s"}]
`, admin, listen, 1+n%9, ports[0], 9-n%9, ports[1])
	next := file + ".next"
	return errors.Join(os.WriteFile(next, []byte(text), 0o600), os.Rename(next, file))
}

func ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/admin/ready", admin)); err == nil {
			_ = resp.Body.Close()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the proxy did not become ready")
		}
	}
}

func edit(ctx context.Context, c *counts, file string, ports [2]string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := write(file, ports, int(c.edits.Add(1))); err != nil {
				c.fail(err)
			}
		}
	}
}

type sample struct {
	bytes       int64
	names       float64
	descriptors int
}

func watch(ctx context.Context, pid int, duration time.Duration) ([]sample, error) {
	tick := time.NewTicker(max(duration/100, 100*time.Millisecond))
	defer tick.Stop()
	var out []sample
	for {
		select {
		case <-ctx.Done():
			return out, nil
		case <-tick.C:
			s, err := measure(pid)
			if err != nil {
				return out, err
			}
			out = append(out, s)
		}
	}
}

func measure(pid int) (s sample, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		if strings.HasPrefix(line, "RssAnon:") || strings.HasPrefix(line, "RssFile:") {
			if _, err := fmt.Sscan(line[len("RssAnon:"):], &kb); err == nil {
				s.bytes += kb << 10
			}
		}
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, err
	}
	s.descriptors = len(open)
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics.json?q=rt/outgoing/bindcache/path/size", admin))
	if err != nil {
		return s, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	var metrics map[string]float64
	if err := json.NewDecoder(resp.Body).Decode(&metrics); err != nil {
		return s, err
	}
	for _, v := range metrics {
		s.names = v
	}
	return s, nil
}

// judge compares the last quarter with the second: the first fills caches.
func judge(c *counts, samples []sample) error {
	n := len(samples)
	if n < 8 {
		return errors.New("too short to tell anything")
	}
	average := func(part []sample) (bytes float64) {
		for _, s := range part {
			bytes += float64(s.bytes) / float64(len(part))
		}
		return bytes
	}
	before, after := average(samples[n/4:n/2]), average(samples[3*n/4:])
	fmt.Printf("| requests | number |\n| --- | --- |\n")
	for i, k := range kinds {
		fmt.Printf("| %s | %d |\n", k.name, c.requests[i].Load())
	}
	fmt.Printf("\n%d edits, %d failures; memory %.1f -> %.1f MB; descriptors %d -> %d; names kept %.0f\n",
		c.edits.Load(), c.failures.Load(), before/1e6, after/1e6, samples[n/4].descriptors, samples[n-1].descriptors, samples[n-1].names)
	if c.failures.Load() > 0 {
		return fmt.Errorf("%d failures, the first: %w", c.failures.Load(), c.first)
	}
	if after > before*growth+slackBytes {
		return fmt.Errorf("memory grew from %.0f to %.0f bytes", before, after)
	}
	return nil
}
