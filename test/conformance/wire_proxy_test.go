package conformance

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wireLimit is how long a case waits for what should come at once.
const wireLimit = 5 * time.Second

// wireRouters are the routers of the proxy that runs the cases, with what each does with a request that is well.
var wireRouters = map[string]struct{ server, router, dst, probe string }{
	"":      {dst: "/#/io.l5d.fs/web"},
	"edge":  {server: ", clearContext: true", dst: "/#/io.l5d.fs/web"},
	"depth": {router: "    maxCallDepth: 3\n", dst: "/#/io.l5d.fs/web"},
	"small": {router: "    maxHeadersKB: 1\n    maxInitialLineKB: 1\n", dst: "/#/io.l5d.fs/web"},
	"neg":   {dst: "~", probe: "HTTP/1.1 502 Bad Gateway\r\n"},
	"dead":  {dst: "/#/io.l5d.fs/dead", probe: "HTTP/1.1 502 Bad Gateway\r\n"},
	"404":   {dst: "/$/io.buoyant.http.status/404", probe: "HTTP/1.1 404 Not Found\r\n"},
	"204":   {dst: "/$/io.buoyant.http.status/204", probe: "HTTP/1.1 204 No Content\r\n"},
}

// wireProxy is a running bin/proxy and the listener of the one upstream that its routers lead to.
type wireProxy struct {
	ip       netip.Addr
	admin    int
	ports    map[string]int
	accepted chan *wirePeer
}

// ownAddress returns a loopback address of this process alone, so that a port which is free stays so while others test.
func ownAddress() netip.Addr {
	pid := os.Getpid()
	return netip.AddrFrom4([4]byte{127, 1 + byte(pid>>16)&0x7f, byte(pid >> 8), byte(pid)})
}

// startProxy builds the proxy and starts it with one router for each of wireRouters. It ends with the test.
func startProxy(t *testing.T) *wireProxy {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin/proxy")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../cmd/proxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := &wireProxy{ip: ownAddress(), ports: make(map[string]int), accepted: make(chan *wirePeer, 16)}
	l := p.listen(t)
	t.Cleanup(func() { _ = l.Close() })
	go p.accept(l)
	names := filepath.Join(dir, "names")
	if err := os.Mkdir(names, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, port := range map[string]int{"web": l.Addr().(*net.TCPAddr).Port, "dead": p.deadPort(t)} {
		if err := os.WriteFile(filepath.Join(names, name), fmt.Appendf(nil, "%s %d\n", p.ip, port), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "mesh.yaml")
	if err := os.WriteFile(config, []byte(p.mesh(t, names)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start(t, bin, config)
	return p
}

func (p *wireProxy) listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", p.ip.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// deadPort returns a port that refuses: its socket is bound and does not listen.
func (p *wireProxy) deadPort(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: p.ip.As4()}); err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return addr.(*unix.SockaddrInet4).Port
}

// mesh returns the configuration, and sets the ports. All are held until all are known.
func (p *wireProxy) mesh(t *testing.T, names string) string {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	free := func() int {
		held = append(held, p.listen(t))
		return held[len(held)-1].Addr().(*net.TCPAddr).Port
	}
	p.admin = free()
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: wire}\nspec:\n  admin: {ip: %s, port: %d}\n"+
		"  namers: [{kind: io.l5d.fs, rootDir: %q}]\n  routers:\n", p.ip, p.admin, names)
	for name, r := range wireRouters {
		p.ports[name] = free()
		fmt.Fprintf(&b, "  - name: r%s\n    servers: [{ip: %s, port: %d%s}]\n    identifiers: [{kind: io.l5d.static, path: /web}]\n%s"+
			"    dtab: [{prefix: /svc/web, dst: %q}]\n", name, p.ip, p.ports[name], r.server, r.router, r.dst)
	}
	return b.String()
}

func (p *wireProxy) start(t *testing.T, bin, config string) {
	t.Helper()
	var log syncBuffer
	cmd := exec.Command(bin, "--config", config, "--drain", "1s")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy did not end well: %v\n%s", err, log.String())
		}
		if t.Failed() {
			t.Logf("the proxy's log:\n%s", log.String())
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: wireLimit}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * wireLimit); ; <-tick.C {
		resp, err := client.Get(fmt.Sprintf("http://%s:%d/admin/ready", p.ip, p.admin))
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the proxy is not ready: %v\n%s", err, log.String())
		}
	}
}

// accept passes on the connections that the proxy makes.
func (p *wireProxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.accepted <- newWirePeer(c)
	}
}

func (p *wireProxy) dial(t *testing.T, router string) *wirePeer {
	t.Helper()
	c, err := net.Dial("tcp", netip.AddrPortFrom(p.ip, uint16(p.ports[router])).String())
	if err != nil {
		t.Fatal(err)
	}
	w := newWirePeer(c)
	t.Cleanup(func() { _ = c.Close() })
	return w
}

// syncBuffer is a buffer that a process writes to while it is read.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
