package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

const (
	// answerLimit bounds one request.
	answerLimit = 10 * time.Second
	// maxDentries is what a mesh takes; perDtab what a Dtab does.
	maxDentries, perDtab = 250_000, 2000
)

// backend answers every request with its name and knows when the last one came.
type backend struct {
	name, addr string
	last       atomic.Int64 // Unix nanoseconds
	server     *http.Server
}

func newBackend(name string) (*backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{name: name, addr: l.Addr().String()}
	b.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.last.Store(time.Now().UnixNano())
		_, _ = io.WriteString(w, name)
	})}
	go b.server.Serve(l) //nolint:errcheck // it ends by Close
	return b, nil
}

// line is the endpoint in a file of the namer io.l5d.fs.
func (b *backend) line() string { return strings.Replace(b.addr, ":", " ", 1) + "\n" }

// rig is a proxy with a file, names in a folder, and backends.
type rig struct {
	*process.Process
	dir, addr, admin string
}

func newRig(dir string) (*rig, error) {
	addrs, err := process.Addresses(2)
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, addr: addrs[0], admin: addrs[1]}
	return r, os.Mkdir(filepath.Join(dir, "disco"), 0o755)
}

// put replaces a file at once.
func (r *rig) put(name, text string) error {
	file := filepath.Join(r.dir, name)
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// mesh is the file of the proxy, without Dtabs.
func (r *rig) mesh() string {
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	return fmt.Sprintf(`apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: live}
spec:
  admin: {port: %s}
  namers:
  - {kind: io.l5d.fs, rootDir: %s}
  routers:
  - name: outgoing
    servers: [{port: %s}]
    dtab:
    - {prefix: /svc, dst: /#/io.l5d.fs}
`, port(r.admin), filepath.Join(r.dir, "disco"), port(r.addr))
}

// start runs the proxy and waits until the name answers.
func (r *rig) start(ctx context.Context, binary, name string) (err error) {
	if r.Process, err = process.Start(r.dir, "proxy", process.AnyCore, nil, binary, "--config", filepath.Join(r.dir, "mesh.yaml")); err != nil {
		return err
	}
	return r.Answers(ctx, 20*time.Millisecond, func() error {
		a, err := ask(r.addr, name)
		if err == nil {
			_, err = a.ask()
			a.close()
		}
		return err
	})
}

// asker asks for one name over one connection.
type asker struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
}

func ask(addr, name string) (*asker, error) {
	conn, err := net.DialTimeout("tcp", addr, answerLimit)
	if err != nil {
		return nil, err
	}
	return &asker{conn, bufio.NewReader(conn), []byte("GET / HTTP/1.1\r\nHost: " + name + "\r\n\r\n")}, nil
}

// ask returns which backend answers. Anything but a good answer is an error.
func (a *asker) ask() (string, error) {
	if err := a.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return "", err
	}
	if _, err := a.conn.Write(a.request); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %.200s", response.Status, body)
	}
	return string(body), nil
}

func (a *asker) close() { _ = a.conn.Close() }
