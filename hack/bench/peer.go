package main

import (
	"context"
	"errors"
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

const (
	// service is the Host of every request, body the answer to it.
	service = "web"
	body    = "hello from the backend, this is a small body of some eighty bytes, 0123456789\n"
	// backends is the number of endpoints that every proxy balances over.
	backends = 3
	// poll is how often a process that starts is tried.
	poll = 20 * time.Millisecond

	fairlead      = "fairlead"
	fairleadAgain = "fairlead (again)"
	fairleadMany  = "fairlead (many rules)"

	// maxDentries is what a mesh takes; perDtab what a Dtab does.
	maxDentries, perDtab = 250_000, 2000
)

var peerNames = []string{"haproxy", "nginx", "reverseproxy"}

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
	proxies             []*proxy
}

func newBench(o *options, dir string) (*bench, error) {
	b := &bench{options: o, dir: dir, proxyCore: process.AnyCore, loadCore: process.AnyCore}
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("cores of this process: %w", err)
	}
	if allowed.Count() < 2 {
		fmt.Fprintln(os.Stderr, "bench: one core: the proxies share it with the backends and wrk")
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
	var err error
	if b.backends, err = process.Addresses(backends); err != nil {
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
			args, err = b.nginx(name, b.nginxProxy(addrs[i]))
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
	for _, p := range b.proxies {
		for _, one := range p.processes {
			one.Stop()
		}
	}
	if b.backend != nil {
		b.backend.Stop()
	}
}

func (b *bench) startBackend(ctx context.Context) error {
	servers := ""
	for _, addr := range b.backends {
		servers += "listen " + addr + " backlog=4096;\n"
	}
	args, err := b.nginx("backend", "server {\n"+servers+"keepalive_requests 1000000000;\nkeepalive_timeout 1h;\n"+
		`location / { default_type text/plain; return 200 "`+strings.TrimSuffix(body, "\n")+`\n"; }`+"\n}\n")
	if err != nil {
		return err
	}
	b.backend, err = process.Start(b.dir, "backend", b.loadCore, nil, args...)
	if err != nil {
		return err
	}
	return b.backend.Answers(ctx, poll, func() error {
		for _, addr := range b.backends {
			if err := get(ctx, addr, 0); err != nil {
				return err
			}
		}
		return nil
	})
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

// startFairlead runs the proxy with everything on that is on by default: files of endpoints that are watched, a dtab, balancing
// by load, metrics.
func (b *bench) startFairlead(ctx context.Context, f instance, addr, admin string) error {
	disco := filepath.Join(b.dir, "disco")
	if err := os.MkdirAll(disco, 0o755); err != nil {
		return err
	}
	endpoints := ""
	for _, backend := range b.backends {
		endpoints += strings.ReplaceAll(backend, ":", " ") + "\n"
	}
	if err := os.WriteFile(filepath.Join(disco, service), []byte(endpoints), 0o644); err != nil {
		return err
	}
	file := filepath.Join(b.dir, f.name+".yaml")
	text := fmt.Sprintf(`apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: bench}
spec:
  admin: {port: %s}
  namers:
  - {kind: io.l5d.fs, rootDir: %s}
  routers:
  - name: outgoing
    servers: [{port: %s}]
    dtab:
    - {prefix: /svc, dst: /#/io.l5d.fs}
`, port(admin), disco, port(addr))
	text += dtabs(f.dentries - 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	path, err := filepath.Abs(f.binary)
	if err != nil {
		return err
	}
	return b.startProxy(ctx, f.name, addr, path, "--config", file)
}

// dtabs are n rules of names that nobody asks for, in as many Dtabs as they need.
func dtabs(n int) string {
	var text strings.Builder
	for i := range n {
		if i%perDtab == 0 {
			fmt.Fprintf(&text, "---\napiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: many-%d}\n"+
				"spec:\n  meshRef: {name: bench}\n  router: outgoing\n  dentries:\n", i/perDtab)
		}
		fmt.Fprintf(&text, "  - {prefix: /svc/team-%d/name-%d, dst: 9 * /#/io.l5d.fs/name-%d & 1 * /#/io.l5d.fs/canary}\n", i%100, i, i)
	}
	return text.String()
}

func (b *bench) haproxy(addr string) ([]string, error) {
	text := "global\n  nbthread 1\n  maxconn 4000\n" +
		"defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n" +
		"  option http-keep-alive\n  option splice-auto\n" +
		"frontend in\n  bind " + addr + " backlog 4096\n  default_backend out\n" +
		"backend out\n  balance roundrobin\n  http-reuse always\n"
	for i, backend := range b.backends {
		text += fmt.Sprintf("  server s%d %s\n", i, backend)
	}
	file := filepath.Join(b.dir, "haproxy.cfg")
	return []string{b.command("haproxy"), "-db", "-f", file}, os.WriteFile(file, []byte(text), 0o644)
}

func (b *bench) nginxProxy(addr string) string {
	text := "upstream out {\n"
	for _, backend := range b.backends {
		text += "server " + backend + ";\n"
	}
	return text + "keepalive 1024;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1h;\n}\nserver {\nlisten " + addr +
		" backlog=4096;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1h;\n" +
		"location / {\nproxy_pass http://out;\nproxy_http_version 1.1;\n" +
		"proxy_set_header Connection \"\";\nproxy_set_header Host $host;\n}\n}\n"
}

// nginx returns how to run one with the given servers.
func (b *bench) nginx(name, http string) ([]string, error) {
	prefix := filepath.Join(b.dir, name)
	text := "daemon off;\nworker_processes 1;\npid pid;\nerror_log stderr warn;\n"
	if os.Geteuid() == 0 {
		text += "user root;\n"
	}
	text += "events { worker_connections 8192; }\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += kind + "_temp_path " + kind + ";\n"
	}
	err := errors.Join(os.MkdirAll(prefix, 0o755), os.WriteFile(filepath.Join(prefix, "conf"), []byte(text+http+"}\n"), 0o644))
	return []string{b.command("nginx"), "-e", "stderr", "-p", prefix, "-c", "conf"}, err
}

func (b *bench) reverseProxy(addr string) ([]string, error) {
	self, err := os.Executable()
	return append([]string{self, reverseProxyArg, addr}, b.backends...), err
}

// version is what a proxy says of itself, or "" for what says nothing.
func (b *bench) version(name, path string) string {
	flag := "--version"
	switch name {
	case "haproxy", "nginx":
		flag = "-v"
	case "reverseproxy":
		return ""
	}
	out, _ := exec.Command(path, flag).CombinedOutput() //nolint:gosec // one of the proxies; without a version it is not named
	line, _, _ := strings.Cut(string(out), "\n")
	line = strings.TrimPrefix(line, "nginx version: nginx/")
	if f := strings.Fields(line); name == "haproxy" && len(f) > 2 {
		return f[2]
	}
	return line
}

// get makes one request as wrk does, and wants the backend's answer, by way of so many of Fairlead's proxies; 0: however many.
func get(ctx context.Context, addr string, hops int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
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
