package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// proxy is one of those compared.
type proxy struct {
	name, version string
	addr          string
	// processes are all that a request passes; the first is the one that is asked.
	processes []*process.Process
	// hops is how many of Fairlead's proxies a request passes in a case of hops, and 0 otherwise.
	hops int
}

// usage is CPU time of all its processes.
func (p *proxy) usage() (process.Usage, error) {
	var sum process.Usage
	for _, one := range p.processes {
		u, err := one.Usage()
		if err != nil {
			return sum, err
		}
		sum.CPU += u.CPU
		sum.User += u.User
	}
	return sum, nil
}

// memory is that of all its processes, in bytes.
func (p *proxy) memory() (int64, error) {
	var sum int64
	for _, one := range p.processes {
		m, err := one.Memory()
		if err != nil {
			return 0, err
		}
		sum += m
	}
	return sum, nil
}

// output is what its processes printed last.
func (p *proxy) output() string {
	var all []string
	for _, one := range p.processes {
		all = append(all, one.Output())
	}
	return strings.Join(all, "\n")
}

// bench is everything that runs while the figures are taken.
type bench struct {
	options             *options
	dir                 string
	proxyCore, loadCore int
	backend             *process.Process
	backends            []string
	missing             []string // peers that are not installed
	proxies             []*proxy
	holders             []*process.Process
}

func newBench(o *options, dir string) (*bench, error) {
	b := &bench{options: o, dir: dir, proxyCore: process.AnyCore, loadCore: process.AnyCore}
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("cores of this process: %w", err)
	}
	if allowed.Count() < 2 {
		fmt.Fprintln(os.Stderr, "bench: one core: the proxies share it with the backends and the load")
		return b, nil
	}
	for core := 0; b.loadCore < 0; core++ {
		if !allowed.IsSet(core) {
			continue
		}
		if b.proxyCore < 0 {
			b.proxyCore = core
		} else {
			b.loadCore = core
		}
	}
	return b, nil
}

func (b *bench) command(name string) string {
	if b.options.commands == "" {
		return name
	}
	return filepath.Join(b.options.commands, name)
}

// instance is one process of Fairlead's proxy.
type instance struct {
	name, binary string
	dentries     int
}

// start brings up the backends and every proxy that a case is about, and sees each answer as it should.
func (b *bench) start(ctx context.Context) error {
	if err := b.available(); err != nil {
		return err
	}
	if err := b.startBackend(ctx); err != nil {
		return err
	}
	for _, hops := range []bool{false, true} {
		if !slices.ContainsFunc(b.options.cases, func(c work) bool { return c.hops == hops }) {
			continue
		}
		start := b.startSides
		if hops {
			start = b.startHops
		}
		if err := start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// available drops the peers that are not installed, and names them. Without wrk nothing can be measured.
func (b *bench) available() error {
	if _, err := exec.LookPath(b.command("wrk")); err != nil {
		return fmt.Errorf("the load is wrk's: %w", err)
	}
	b.options.peers = slices.DeleteFunc(b.options.peers, func(name string) bool {
		if name == "reverseproxy" {
			return false
		}
		_, err := exec.LookPath(b.command(name))
		if err != nil {
			b.missing = append(b.missing, name)
			fmt.Fprintf(os.Stderr, "bench: %s is not installed: left out\n", name)
		}
		return err != nil
	})
	return nil
}

// connections is what a proxy must take at least.
func (b *bench) connections() int {
	most := maxConns
	for _, c := range b.options.cases {
		most = max(most, c.idle+maxConns)
	}
	return most
}

// compared are the proxies that a case is about.
func (b *bench) compared(c work) []*proxy {
	var all []*proxy
	for _, p := range b.proxies {
		if p.hops > 0 == c.hops {
			all = append(all, p)
		}
	}
	return all
}

// startSides starts Fairlead's proxy and its peers.
func (b *bench) startSides(ctx context.Context) error {
	ours := []instance{{fairlead, b.options.proxy, 10}, {fairleadAgain, b.options.other, 10}}
	if b.options.dentries > 0 {
		ours = append(ours, instance{fairleadMany, b.options.proxy, b.options.dentries})
	}
	addrs, err := process.Addresses(2*len(ours) + len(b.options.peers))
	if err != nil {
		return err
	}
	for _, f := range ours {
		if err := b.startFairlead(ctx, f, addrs[0], addrs[1]); err != nil {
			return err
		}
		addrs = addrs[2:]
	}
	for i, name := range b.options.peers {
		var args []string
		var err error
		switch name {
		case "haproxy":
			args, err = b.haproxy(addrs[i])
		case "nginx":
			args, err = b.nginx(addrs[i])
		case "reverseproxy":
			args, err = b.reverseProxy(addrs[i])
		}
		if err != nil {
			return err
		}
		if err := b.startProxy(ctx, name, addrs[i], args...); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) stop() {
	for _, h := range b.holders {
		h.Stop()
	}
	for _, p := range b.proxies {
		for _, one := range p.processes {
			one.Stop()
		}
	}
	if b.backend != nil {
		b.backend.Stop()
	}
}

func (b *bench) startProxy(ctx context.Context, name, addr string, args ...string) error {
	p := &proxy{name: name, addr: addr}
	b.proxies = append(b.proxies, p)
	if err := b.run(p, name, nil, args...); err != nil {
		return err
	}
	return b.answers(ctx, p)
}

// run starts a process of a proxy.
func (b *bench) run(p *proxy, name string, env []string, args ...string) error {
	p.version = b.version(p.name, args[0])
	started, err := process.Start(b.dir, name, b.proxyCore, append(env, "GOMAXPROCS=1"), args...)
	if err != nil {
		return err
	}
	p.processes = append(p.processes, started)
	return nil
}

// answers waits until a proxy does.
func (b *bench) answers(ctx context.Context, p *proxy) error {
	return p.processes[0].Answers(ctx, poll, func() error { return get(ctx, p.addr, p.hops) })
}

// get makes one request as wrk does, and wants the backend's answer, by way of so many of Fairlead's proxies; 0: however many.
func get(ctx context.Context, addr string, hops int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+helloPath, nil)
	if err != nil {
		return err
	}
	request.Host, request.Close = service, true
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	got, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err == nil && (response.StatusCode != http.StatusOK || string(got) != body) {
		err = fmt.Errorf("%s: %.200q", response.Status, got)
	}
	if passed := len(response.Header.Values("Via")); err == nil && hops > 0 && passed != hops {
		err = fmt.Errorf("the answer came by way of %d proxies, not %d", passed, hops)
	}
	return err
}
