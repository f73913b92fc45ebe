//go:build scale

package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

const (
	outgoingPort, adminPort = 4140, 9990
	// answerLimit bounds one request.
	answerLimit = 10 * time.Second
)

// proxy is one process in cluster mode, on a node of its own.
type proxy struct {
	*process.Process
	node    node
	admin   *http.Client
	started time.Duration // from start to ready
}

// startProxy starts one and waits until it says that it is ready.
func startProxy(t *testing.T, c *cluster, n node, name, config string) *proxy {
	t.Helper()
	dir := t.TempDir()
	snapshot := filepath.Join(dir, "snapshot")
	if err := os.Mkdir(snapshot, 0o755); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	env := c.pod(t, name, n, kubeconfig)
	begin := time.Now()
	p, err := process.Start(dir, name, process.AnyCore, env, "ip", "netns", "exec", n.namespace, binary(t, "proxy"),
		"--config="+config, "--mesh="+namespace+"/"+meshName, "--mesh-uid="+string(c.mesh.UID), "--snapshot-dir="+snapshot,
		"--kubeconfig="+kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	out := &proxy{Process: p, node: n, admin: &http.Client{Timeout: answerLimit, Transport: &http.Transport{}}}
	t.Cleanup(out.admin.CloseIdleConnections)
	if err := p.Answers(t.Context(), time.Millisecond, func() error { return ready(t.Context(), out.admin, out.adminAddr()) }); err != nil {
		t.Fatal(err)
	}
	out.started = time.Since(begin)
	return out
}

func (p *proxy) adminAddr() string { return netip.AddrPortFrom(p.node.address, adminPort).String() }

// binary is the path of a built command.
func binary(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("BIN")
	if folder == "" {
		folder = "../../bin"
	}
	path, err := filepath.Abs(filepath.Join(folder, name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("make build first: %v", err)
	}
	return path
}

// ready returns nil when the proxy at addr says that it is.
func ready(ctx context.Context, c *http.Client, addr string) error {
	_, err := get(ctx, c, "http://"+addr+"/admin/ready")
	return err
}

func get(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", url, response.Status, body)
	}
	return body, err
}

// gauge returns a number of /metrics.json.
func (p *proxy) gauge(ctx context.Context, name string) (float64, error) {
	body, err := get(ctx, p.admin, "http://"+p.adminAddr()+"/metrics.json")
	if err != nil {
		return 0, err
	}
	var all map[string]any
	if err := json.Unmarshal(body, &all); err != nil {
		return 0, err
	}
	value, ok := all[name].(float64)
	if !ok {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return value, nil
}

// asker asks one proxy for a name, Service web unless told otherwise, over one connection.
type asker struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
}

func newAsker(t *testing.T, p *proxy) *asker {
	t.Helper()
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(p.node.address, outgoingPort).String(), answerLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &asker{conn: conn, in: bufio.NewReader(conn), request: []byte("GET / HTTP/1.1\r\nHost: web\r\n\r\n")}
}

// ask returns which version answers. Anything but a good answer is an error.
func (a *asker) ask() (version string, err error) {
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
