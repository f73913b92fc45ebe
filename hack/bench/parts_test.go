package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
	"github.com/fairlead/fairlead/proxy/config"
)

// backendAddr is where a backend serves until the test's process ends.
func backendAddr(t *testing.T) string {
	t.Helper()
	addrs, err := process.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = serveBackend(addrs) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", addrs[0])
		if err == nil {
			_ = c.Close()
			return addrs[0]
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestBackend: it answers each path over one connection, and a POST only after its last byte.
func TestBackend(t *testing.T) {
	addr := backendAddr(t)
	if err := get(t.Context(), addr, 0); err != nil {
		t.Error(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]int{"/": 0, "/10k": 10 << 10, "/1m": 1 << 20} {
		response, err := client.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if _ = response.Body.Close(); err != nil || len(got) != want || response.ContentLength != int64(want) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := "POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n" + strings.Repeat("x", 100_000)
	if _, err := io.WriteString(c, text[:len(text)-1]); err != nil {
		t.Fatal(err)
	}
	early := make([]byte, 1)
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(early); err == nil {
		t.Errorf("%d bytes of an answer before the end of the body", n)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "xGET /hello HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	want := string(answers()["/"]) + string(answers()[helloPath])
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPaceCountsFromTheIntendedTime: a server that stalls once pays for all requests that could not be sent meanwhile, which a closed loop
// would not see.
func TestPaceCountsFromTheIntendedTime(t *testing.T) {
	const stall = 200 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := make([]byte, maxHead)
		for first := true; ; first = false {
			if _, err := c.Read(in); err != nil {
				return
			}
			if first {
				<-time.After(stall)
			}
			if _, err := c.Write(answers()["/"]); err != nil {
				return
			}
		}
	}()
	s, err := pace(l.Addr().String(), 500, 1, 400*time.Millisecond, request("/"))
	if err != nil {
		t.Fatal(err)
	}
	// Of 200 requests over one connection, the first 100 were meant to be sent during the stall: the median waited for a part of it at most,
	// and the slowest for all of it.
	if s.Requests != 200 || s.P99 < stall*9/10 || s.P50 > s.P99 || s.Seconds < 0.39 {
		t.Errorf("%+v", s)
	}
}

// TestPaceFails: an answer other than 200 is an error, as with wrk.
func TestPaceFails(t *testing.T) {
	s := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	if _, err := pace(l.Addr().String(), 500, 2, 200*time.Millisecond, request("/")); err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
}

// TestIsOpen: a connection that the peer has closed, or on which it spoke, is not idle.
func TestIsOpen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, change := range map[string]func(net.Conn) error{
		"closed": net.Conn.Close, "spoken": func(c net.Conn) error { _, err := io.WriteString(c, "x"); return err },
	} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		if open, err := isOpen(c); !open || err != nil {
			t.Errorf("idle: %v, %v", open, err)
		}
		if err := change(peer); err != nil {
			t.Fatal(err)
		}
		open := true
		for deadline := time.Now().Add(10 * time.Second); open && time.Now().Before(deadline); {
			if open, err = isOpen(c); err != nil {
				t.Fatal(err)
			}
		}
		if open {
			t.Errorf("%s, and taken for idle", name)
		}
	}
}

// TestReleaseWantsAllOpen: a holder that lost a connection fails the case.
func TestReleaseWantsAllOpen(t *testing.T) {
	for closed, good := range map[int]bool{0: true, 1: false} {
		script := fmt.Sprintf(`sleep 60 & trap "kill $!; echo closed %d; exit" TERM; echo holding; wait`, closed)
		h, err := process.Start(t.TempDir(), "hold", process.AnyCore, nil, "sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Answers(t.Context(), time.Millisecond, func() error {
			if h.Output() != holding {
				return io.ErrNoProgress
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		b := &bench{holders: []*process.Process{h}}
		if err := b.release(); (err == nil) != good {
			t.Errorf("%d closed: %v", closed, err)
		}
	}
}

// TestNodeMesh: the Mesh of the hops is one that a cluster takes.
func TestNodeMesh(t *testing.T) {
	text := nodeMesh(node{"a", "127.0.0.1:1001", "127.0.0.1:1002", "127.0.0.1:1003"})
	cfg, problem := config.DecodeConfig("mesh.yaml", []byte(text), config.Cluster)
	if problem != nil {
		t.Fatal(problem)
	}
	if len(cfg.Routers) != 2 || cfg.Mesh.Spec.Admin.Port != 1003 {
		t.Errorf("%+v", cfg.Mesh.Spec)
	}
}

// TestAvailable: a peer that is not installed is named and left out.
func TestAvailable(t *testing.T) {
	b := &bench{options: &options{peers: []string{"haproxy", "reverseproxy"}, commands: t.TempDir()}}
	if err := b.available(); err == nil {
		t.Error("no wrk, and no error")
	}
	if err := os.WriteFile(filepath.Join(b.options.commands, "wrk"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.available(); err != nil {
		t.Fatal(err)
	}
	if len(b.options.peers) != 1 || b.options.peers[0] != "reverseproxy" || len(b.missing) != 1 || b.missing[0] != "haproxy" {
		t.Errorf("%v, missing %v", b.options.peers, b.missing)
	}
	r := &report{Missing: b.missing}
	var out bytes.Buffer
	r.markdown(&out, nil)
	if !strings.Contains(out.String(), "Left out, since they are not installed: haproxy.") {
		t.Error(out.String())
	}
}
