// Command soak sends traffic of many kinds through bin/proxy for a long time while it edits the rules every second, asks for names that do
// not exist and goes away in the middle of responses. It watches that no request fails, that every edit is served, that memory and
// descriptors stay level, and that nothing is left under way at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	listen = 24140
	admin  = 29990
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

func soak(duration time.Duration, binary string, clients int) (err error) {
	dir, err := os.MkdirTemp("", "fairlead-soak")
	if err != nil {
		return err
	}
	log := filepath.Join(dir, "proxy.log")
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
			return
		}
		fmt.Fprintln(os.Stderr, "soak: the proxy's log is", log)
	}()
	m := mesh{file: filepath.Join(dir, "mesh.yaml")}
	for i := range m.ports {
		s := httptest.NewServer(answer(i))
		defer s.Close()
		_, m.ports[i], _ = net.SplitHostPort(s.Listener.Addr().String())
	}
	if err := m.write(0); err != nil {
		return err
	}
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // the proxy writes it
	cmd := exec.Command(binary, "--config", m.file)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	c, samples, err := run(duration, cmd.Process.Pid, clients, &m)
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
	if err != nil {
		return err
	}
	return errors.Join(judge(c, samples), judgeLog(log))
}

// run sends traffic for so long, and returns what became of it.
func run(duration time.Duration, pid, clients int, m *mesh) (*counts, []sample, error) {
	if err := ready(); err != nil {
		return nil, nil, err
	}
	begin, err := measure(pid)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	c := &counts{begin: time.Now(), duration: duration}
	var wait sync.WaitGroup
	for i := range clients {
		wait.Go(func() { send(ctx, c, i) })
	}
	wait.Go(func() { edit(ctx, c, m) })
	samples, err := watch(ctx, pid, duration)
	cancel()
	wait.Wait()
	return c, samples, errors.Join(err, settled(pid, begin))
}
