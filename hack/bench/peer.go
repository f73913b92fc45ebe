package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// poll is how often a process that starts is tried.
	poll = 20 * time.Millisecond

	fairlead      = "fairlead"
	fairleadAgain = "fairlead (again)"
	fairleadMany  = "fairlead (many rules)"

	// maxFiles is what one process may have open on the machines this is for.
	maxFiles = 20_000
	// maxDentries is what a mesh takes; perDtab what a Dtab does.
	maxDentries, perDtab = 250_000, 2000
)

var peerNames = []string{"haproxy", "nginx", "reverseproxy"}

// startFairlead runs the proxy with what a user would have on: files of endpoints that are watched, a dtab, balancing by load, circuits,
// retries, timeouts and the deadlines that they make, metrics.
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
    servers: [{port: %s, maxConnections: %d}]
    services: [{prefix: /svc, totalTimeoutMs: 60000, responseClassifier: {kind: io.l5d.http.retryableIdempotent5XX}}]
    clients: [{prefix: /, failFast: true, requestAttemptTimeoutMs: 30000}]
    dtab:
    - {prefix: /svc, dst: /#/io.l5d.fs}
`, port(admin), disco, port(addr), b.connections())
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

// haproxy splices what is longer than its buffer: told to, since splice-auto of 2.6 never does under this load. It also keeps connections
// to the backends while most descriptors are taken by idle clients, which it does not by default.
func (b *bench) haproxy(addr string) ([]string, error) {
	text := fmt.Sprintf("global\n  nbthread 1\n  no strict-limits\n  maxconn %d\n", b.connections()) +
		"  tune.pool-low-fd-ratio 95\n  tune.pool-high-fd-ratio 98\n" +
		"defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n" +
		"  option http-keep-alive\n  option splice-request\n  option splice-response\n" +
		"frontend in\n  bind " + addr + " backlog 4096\n  default_backend out\n" +
		"backend out\n  balance roundrobin\n  http-reuse always\n"
	for i, backend := range b.backends {
		text += fmt.Sprintf("  server s%d %s\n", i, backend)
	}
	file := filepath.Join(b.dir, "haproxy.cfg")
	return []string{b.command("haproxy"), "-db", "-f", file}, os.WriteFile(file, []byte(text), 0o644)
}

// nginx is set to stream what is long, as the others do, and not to write it to files.
func (b *bench) nginx(addr string) ([]string, error) {
	prefix := filepath.Join(b.dir, "nginx")
	text := fmt.Sprintf("daemon off;\nworker_processes 1;\nworker_rlimit_nofile %d;\npid pid;\nerror_log stderr warn;\n", maxFiles)
	if os.Geteuid() == 0 {
		text += "user root;\n"
	}
	text += fmt.Sprintf("events { worker_connections %d; }\nhttp {\naccess_log off;\n", 2*maxConns+b.connections())
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += kind + "_temp_path " + kind + ";\n"
	}
	text += "upstream out {\n"
	for _, backend := range b.backends {
		text += "server " + backend + ";\n"
	}
	text += "keepalive 1024;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1h;\n}\nserver {\nlisten " + addr +
		" backlog=4096;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1h;\n" +
		"client_max_body_size 0;\nproxy_request_buffering off;\nproxy_buffers 8 32k;\nproxy_max_temp_file_size 0;\n" +
		"location / {\nproxy_pass http://out;\nproxy_http_version 1.1;\n" +
		"proxy_set_header Connection \"\";\nproxy_set_header Host $host;\n}\n}\n}\n"
	err := errors.Join(os.MkdirAll(prefix, 0o755), os.WriteFile(filepath.Join(prefix, "conf"), []byte(text), 0o644))
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
