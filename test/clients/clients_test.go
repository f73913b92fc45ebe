package clients

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/websocket"
)

func TestPython(t *testing.T) {
	t.Parallel()
	python := program(t, "python3")
	p := start(t, map[string]string{"python": serverScript(t, python, "testdata/server.py")})
	script(t, python, "testdata/client.py", "127.0.0.1", fmt.Sprint(p.port), "python")
}

func TestNode(t *testing.T) {
	t.Parallel()
	node := program(t, "node")
	p := start(t, map[string]string{"node": serverScript(t, node, "testdata/server.js")})
	script(t, node, "testdata/client.js", "127.0.0.1", fmt.Sprint(p.port), "node")
}

// told is a backend that says what came: the method, the target, the version, how the body was framed, and its SHA-256.
func told(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		connect(w)
		return
	}
	digest := sha256.New()
	n, err := io.Copy(digest, r.Body)
	w.Header().Set("X-Body", fmt.Sprint(n, err))
	fmt.Fprintf(w, "%s %s %s %d %s %x\n", r.Method, r.RequestURI, r.Proto, r.ContentLength, strings.Join(r.TransferEncoding, ","), digest.Sum(nil))
}

// connect answers in the tunnel as a server of its own.
func connect(w http.ResponseWriter) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // all was said
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
	if _, err := http.ReadRequest(rw.Reader); err == nil {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntunnelled")
	}
}

// timedOut is curl's exit code when --max-time is over.
const timedOut = 28

// TestCurl makes the versions of a request that curl can make.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl := program(t, "curl")
	s := httptest.NewServer(http.HandlerFunc(told))
	defer s.Close()
	addr := s.Listener.Addr().String()
	p := start(t, map[string]string{"web": addr, "web:80": addr})
	upload := strings.Repeat("0123456789abcdef", 1<<16)
	empty, digest := fmt.Sprintf("%x", sha256.Sum256(nil)), fmt.Sprintf("%x", sha256.Sum256([]byte(upload)))
	for name, c := range map[string]struct {
		args        []string
		input, want string
	}{
		"HTTP/1.1":          {[]string{"/a?b=c"}, "", "GET /a?b=c HTTP/1.1 0  " + empty},
		"HTTP/1.0":          {[]string{"--http1.0", "/a"}, "", "GET /a HTTP/1.1 0  " + empty},
		"HEAD":              {[]string{"-I", "/a"}, "", "HTTP/1.1 200 OK\r\n"},
		"h2c upgrade":       {[]string{"--http2", "/a"}, "", "GET /a HTTP/1.1 0  " + empty},
		"form":              {[]string{"-d", "a=b", "/a"}, "", "POST /a HTTP/1.1 3  " + fmt.Sprintf("%x", sha256.Sum256([]byte("a=b")))},
		"multipart":         {[]string{"-F", "a=b", "-w", "%{http_code}", "-o", "/dev/null", "/a"}, "", "200"},
		"PUT":               {[]string{"-X", "PUT", "--data-binary", "@-", "-H", "Expect:", "/a"}, upload, "PUT /a HTTP/1.1 1048576  " + digest},
		"PUT of 1.0":        {[]string{"--http1.0", "-X", "PUT", "--data-binary", "@-", "/a"}, upload, "PUT /a HTTP/1.1 1048576  " + digest},
		"continue":          {[]string{"--expect100-timeout", "60", "--data-binary", "@-", "-H", "Expect: 100-continue", "/a"}, upload, "POST /a HTTP/1.1 1048576  " + digest},
		"chunked":           {[]string{"-T", "-", "-H", "Expect:", "/a"}, upload, "PUT /a HTTP/1.1 -1 chunked " + digest},
		"chunked, continue": {[]string{"--expect100-timeout", "60", "-T", "-", "-H", "Expect: 100-continue", "/a"}, upload, "PUT /a HTTP/1.1 -1 chunked " + digest},
		"absolute form":     {[]string{"-x", p.url(), "http://web/a"}, "", "GET /a HTTP/1.1 0  " + empty},
		"CONNECT":           {[]string{"-p", "-x", p.url(), "http://web:80/a"}, "", "tunnelled"},
		"OPTIONS":           {[]string{"-X", "OPTIONS", "/a"}, "", "OPTIONS /a HTTP/1.1 0  " + empty},
		"dots":              {[]string{"--path-as-is", "/a/../b"}, "", "GET /a/../b HTTP/1.1 0  " + empty},
		"two on one":        {[]string{"/a", p.url() + "/b", "-w", "%{num_connects}"}, "", "GET /a HTTP/1.1 0  " + empty + "\n1GET /b HTTP/1.1 0  " + empty + "\n0"},
		"none there":        {[]string{"-H", "Host: nobody", "-w", "%{http_code}", "-o", "/dev/null", "/"}, "", "502"},
		"HTTP/2 at once":    {[]string{"--http2-prior-knowledge", "/a"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"-s", "-S", "--max-time", "20"} // less than --expect100-timeout: who is never told to continue fails
			if name != "none there" {
				args = append(args, "-H", "Host: web")
			}
			for _, arg := range c.args {
				if strings.HasPrefix(arg, "/") && arg != "/dev/null" {
					arg = p.url() + arg
				}
				args = append(args, arg)
			}
			cmd := exec.CommandContext(t.Context(), curl, args...)
			cmd.Stdin = strings.NewReader(c.input)
			out, err := cmd.CombinedOutput()
			switch {
			case name == "HTTP/2 at once":
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() == timedOut {
					t.Errorf("HTTP/2 was spoken, or not refused: %v %q", err, out)
				}
			case err != nil || !strings.HasPrefix(string(out), c.want):
				t.Errorf("curl %v: %v\n%q, want\n%q", args, err, out, c.want)
			}
		})
	}
}

// TestWebSockets has 1,000 connections open at once, each of which gets back what it says; nothing is left of them.
func TestWebSockets(t *testing.T) {
	t.Parallel()
	const conns, messages = 1000, 3
	s := httptest.NewServer(websocket.Handler(echo))
	defer s.Close()
	p := start(t, map[string]string{"echo": s.Listener.Addr().String()})
	before := p.descriptors(t)
	var open, ended sync.WaitGroup
	open.Add(conns)
	all := make(chan struct{})
	for i := range conns {
		ended.Go(func() {
			c, err := socket(p)
			open.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close() //nolint:errcheck // the test is over
			<-all
			for k := range messages {
				said, heard := fmt.Sprintf("%d of %d %s", k, i, strings.Repeat("x", k*20_000)), ""
				if err := websocket.Message.Send(c, said); err != nil {
					t.Error(err)
				}
				if err := websocket.Message.Receive(c, &heard); err != nil || heard != said {
					t.Errorf("%d bytes came back of %d: %v", len(heard), len(said), err)
				}
			}
		})
	}
	open.Wait()
	if n := p.descriptors(t); n < 2*conns {
		t.Errorf("%d descriptors with %d connections open", n, conns)
	}
	close(all)
	ended.Wait()
	eventually(t, "the descriptors are closed", func() bool { return p.descriptors(t) <= before+2 })
}

// echo sends every message back until the client ends.
func echo(c *websocket.Conn) {
	for {
		var message string
		if websocket.Message.Receive(c, &message) != nil || websocket.Message.Send(c, message) != nil {
			return
		}
	}
}

func socket(p *proxy) (*websocket.Conn, error) {
	config, err := websocket.NewConfig("ws://echo/", "http://echo/")
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", p.addr())
	if err != nil {
		return nil, err
	}
	return websocket.NewClient(config, conn)
}
