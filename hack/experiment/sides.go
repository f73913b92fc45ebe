package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// balancers are Fairlead's sides, by the kind of their balancer.
var balancers = map[string]string{"ewma": "ewma", "p2c": "p2c", "aperture": "aperture", "heap": "heap", "roundRobin": "roundRobin"}

func sideNames() []string {
	return []string{"roundRobin", "p2c", "heap", "aperture", "ewma", "haproxy-leastconn", "haproxy-random2", "nginx-leastconn"}
}

// setup is what the configuration of a side is made of.
type setup struct {
	dir, addr, admin string
	backends         []string
	o                *options
	table            string
}

// command returns the program of a side, with its configuration written to its folder.
func (s *setup) command(name string) ([]string, error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	switch name {
	case "haproxy-leastconn":
		return s.haproxy("leastconn")
	case "haproxy-random2":
		return s.haproxy("random(2)")
	case "nginx-leastconn":
		return s.nginx()
	}
	return s.fairlead(balancers[name])
}

// protections are the keys of Fairlead's tables: with nothing on, what is left is the balancer and the time limit that all sides have.
func (s *setup) protections() (client, service string) {
	if s.table == tableOff {
		return "failureAccrual: {kind: none}", ""
	}
	return fmt.Sprintf("requestAttemptTimeoutMs: %d", s.o.timeout.Milliseconds()/3), ", responseClassifier: {kind: io.l5d.http.retryableIdempotent5XX}"
}

func (s *setup) fairlead(kind string) ([]string, error) {
	disco, file := filepath.Join(s.dir, "disco"), filepath.Join(s.dir, "mesh.yaml")
	if err := os.MkdirAll(disco, 0o755); err != nil {
		return nil, err
	}
	endpoints := strings.ReplaceAll(strings.Join(s.backends, "\n"), ":", " ") + "\n"
	client, service := s.protections()
	text := fmt.Sprintf(`apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: experiment}
spec:
  admin: {port: %s}
  namers:
  - {kind: io.l5d.fs, rootDir: %s}
  routers:
  - name: outgoing
    servers: [{port: %s}]
    services: [{prefix: /svc, totalTimeoutMs: %d%s}]
    clients: [{prefix: /, loadBalancer: {kind: %s}, %s}]
    dtab: [{prefix: /svc, dst: /#/io.l5d.fs}]
`, port(s.admin), disco, port(s.addr), s.o.timeout.Milliseconds(), service, kind, client)
	err := errors.Join(os.WriteFile(filepath.Join(disco, "web"), []byte(endpoints), 0o644), os.WriteFile(file, []byte(text), 0o644))
	path, err2 := filepath.Abs(s.o.proxy)
	return []string{path, "--config", file}, errors.Join(err, err2)
}

func (s *setup) haproxy(balance string) ([]string, error) {
	timeout := s.o.timeout.Milliseconds()
	text := fmt.Sprintf("global\n  nbthread 1\n  no strict-limits\n  maxconn 8000\ndefaults\n  mode http\n  timeout connect %dms\n  timeout client 1h\n"+
		"  timeout server %dms\n  timeout queue %dms\n  retries 0\n  option http-keep-alive\nfrontend in\n  bind %s backlog 4096\n  default_backend out\n"+
		"backend out\n  balance %s\n  http-reuse always\n", timeout, timeout, timeout, s.addr, balance)
	for i, b := range s.backends {
		text += fmt.Sprintf("  server s%d %s\n", i, b)
	}
	file := filepath.Join(s.dir, "haproxy.cfg")
	return []string{s.tool("haproxy"), "-db", "-f", file}, os.WriteFile(file, []byte(text), 0o644)
}

func (s *setup) nginx() ([]string, error) {
	timeout := s.o.timeout.Milliseconds()
	text := "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 16000;\npid pid;\nerror_log stderr crit;\n"
	if os.Geteuid() == 0 {
		text += "user root;\n"
	}
	text += "events { worker_connections 8000; }\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += kind + "_temp_path " + kind + ";\n"
	}
	text += "upstream out {\nleast_conn;\n"
	for _, b := range s.backends {
		text += "server " + b + " max_fails=0;\n"
	}
	text += fmt.Sprintf("keepalive 512;\nkeepalive_requests 1000000000;\n}\nserver {\nlisten %s backlog=4096;\nkeepalive_requests 1000000000;\n"+
		"keepalive_timeout 1h;\nlocation / {\nproxy_pass http://out;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n"+
		"proxy_set_header Host $host;\nproxy_next_upstream off;\nproxy_connect_timeout %dms;\nproxy_read_timeout %dms;\n}\n}\n}\n", s.addr, timeout, timeout)
	err := os.WriteFile(filepath.Join(s.dir, "conf"), []byte(text), 0o644)
	return []string{s.tool("nginx"), "-e", "stderr", "-p", s.dir, "-c", "conf"}, err
}

func (s *setup) tool(name string) string {
	if s.o.commands == "" {
		return name
	}
	return filepath.Join(s.o.commands, name)
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}
