package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// raw sends bytes on a connection of their own and returns the first response.
func raw(t *testing.T, port int, head string) (resp *http.Response, body string) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, head+"Connection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(head, " ")
	resp, err = http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

// identifiedBy is a document whose router has the given identifiers and sends every name to one place.
func identifiedBy(port int, dst, identifiers string) string {
	text := mesh(port, "/svc => "+dst)
	return strings.Replace(text, "bindingTimeoutMs", "identifiers: ["+identifiers+"]\n    bindingTimeoutMs", 1)
}

// TestIdentifiers: the name that each kind gives to a request is what its endpoint is told, and the target is what was not consumed.
func TestIdentifiers(t *testing.T) {
	web := backend(t, "web")
	port := freeport.Get(t)
	a := start(t, Options{})
	const (
		consume = "{kind: io.l5d.path, segments: 2, consume: true}"
		get     = "GET /a/b/c/?x=/y HTTP/1.1\r\nHost: WEB:80\r\n"
	)
	for _, c := range []struct {
		identifiers, head, name, target string
	}{
		{"{kind: io.l5d.header.token}", get, "/svc/WEB:80", "/a/b/c/?x=/y"},
		{"{kind: io.l5d.header.token, normalize: KubernetesHost}", get, "/svc/web", "/a/b/c/?x=/y"},
		{"{kind: io.l5d.header.token, header: X-Name}", get + "x-name: a/b\r\n", `/svc/\x61\x2f\x62`, "/a/b/c/?x=/y"},
		{"{kind: io.l5d.header}", get + "L5D-Name: /x/y\r\n", "/svc/x/y", "/a/b/c/?x=/y"},
		{"{kind: io.l5d.header, header: X-Name}", get + "x-name: /x/y\r\n", "/svc/x/y", "/a/b/c/?x=/y"},
		{"{kind: io.l5d.path}", get, "/svc/a", "/a/b/c/?x=/y"},
		{"{kind: io.l5d.path, segments: 3}", get, "/svc/a/b/c", "/a/b/c/?x=/y"},
		{consume, get, "/svc/a/b", "/c/?x=/y"},
		{consume, "GET /a/b?x=1 HTTP/1.1\r\nHost: web\r\n", "/svc/a/b", "/?x=1"},
		{consume, "GET /a/b HTTP/1.1\r\nHost: web\r\n", "/svc/a/b", "/"},
		{consume, "GET /a/b/ HTTP/1.1\r\nHost: web\r\n", "/svc/a/b", "/"},
		{consume, "GET http://web/a/b?x HTTP/1.1\r\nHost: other\r\n", "/svc/a/b", "/?x"},
		{consume, "GET /a/b//c%2F HTTP/1.1\r\nHost: web\r\n", "/svc/a/b", "//c%2F"},
		{"{kind: io.l5d.methodAndHost}", get, "/svc/1.1/GET/web:80", "/a/b/c/?x=/y"},
		{"{kind: io.l5d.methodAndHost}", "DELETE /a HTTP/1.0\r\n", "/svc/1.0/DELETE", "/a"},
		{"{kind: io.l5d.methodAndHost, httpUriInDst: true}", "PUT /a/b?x HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n", "/svc/1.1/PUT/web/a/b", "/a/b?x"},
		{"{kind: io.l5d.static, path: /x/y}", "GET / HTTP/1.0\r\n", "/svc/x/y", "/"},
		{"{kind: io.l5d.header}, " + consume + ", {kind: io.l5d.static, path: /rest}", get, "/svc/a/b", "/c/?x=/y"},
		{"{kind: io.l5d.header}, " + consume + ", {kind: io.l5d.static, path: /rest}", "GET /a HTTP/1.0\r\n", "/svc/rest", "/a"},
		// Refused, by the reason and what it says.
		{"{kind: io.l5d.header.token}", "GET / HTTP/1.0\r\n", "unidentified: unknown destination: header Host is absent or empty", ""},
		{"{kind: io.l5d.header.token}", "GET / HTTP/1.1\r\nHost:\r\n", "unidentified: unknown destination: header Host is absent or empty", ""},
		{"{kind: io.l5d.header}, {kind: io.l5d.header.token}", get + "l5d-name: x\r\n", "unidentified: header l5d-name:1:1: expected '/', found 'x'", ""},
		{"{kind: io.l5d.path, segments: 2}", "GET /a/?b HTTP/1.1\r\nHost: web\r\n",
			"unidentified: unknown destination: the path has fewer segments than 2", ""},
		{"{kind: io.l5d.path, segments: 2}, {kind: io.l5d.static, path: /x}", "GET /a//b HTTP/1.1\r\nHost: web\r\n", "unidentified: the path: segment 2 is empty", ""},
		{"{kind: io.l5d.header.token, header: X-Name}", get + "x-name: " + strings.Repeat("x", 4097) + "\r\n",
			"name-too-long: the name of the request is longer than 4096 bytes", ""},
	} {
		if err := a.Apply(t.Context(), decode(t, identifiedBy(port, inet(web), c.identifiers))); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time from the cache
			resp, body := raw(t, port, c.head)
			if c.target == "" {
				if resp.StatusCode != 400 || body != c.name+"\n" {
					t.Errorf("%s: %q: %d %q, want 400 %q", c.identifiers, c.head, resp.StatusCode, body, c.name)
				}
				continue
			}
			if name, target := resp.Header.Get("X-Name"), resp.Header.Get("X-Target"); name != c.name || target != c.target {
				t.Errorf("%s: %q: name %s, target %s; want %s, %s (%s)", c.identifiers, c.head, name, target, c.name, c.target, body)
			}
		}
	}
}

// TestClearContext: the key closes the edge both ways, live and for the listener alone that has it.
func TestClearContext(t *testing.T) {
	web := backend(t, "web")
	edge, inner := freeport.Get(t), freeport.Get(t)
	a := start(t, Options{})
	text := mesh(edge, "/svc/web => "+inet(web))
	c := client(t)
	for _, clear := range []bool{true, false, true} {
		servers := fmt.Sprintf("servers: [{port: %d, clearContext: %v}, {port: %d}]", edge, clear, inner)
		edited := strings.Replace(text, fmt.Sprintf("servers: [{port: %d}]", edge), servers, 1)
		if err := a.Apply(t.Context(), decode(t, edited)); err != nil {
			t.Fatal(err)
		}
		for port, cleared := range map[int]bool{edge: clear, inner: false} {
			_, _, header := get(t, c, port, "web", "L5D-Dtab", "/a => /b")
			if want := map[bool]string{true: "", false: "/a=>/b"}[cleared]; header.Get("X-Dtab") != want || header.Get("X-Name") != "/svc/web" {
				t.Errorf("clear %v: the endpoint got the rules %q and the name %q", cleared, header.Get("X-Dtab"), header.Get("X-Name"))
			}
			status, body, header := get(t, c, port, "web", "l5d-dtab", "bad")
			if cleared && (status != 200 || body != "web") {
				t.Errorf("cleared: %d %q", status, body)
			}
			if !cleared && (status != 400 || header.Get("l5d-err") == "") {
				t.Errorf("not cleared: %d, l5d-err %q", status, header.Get("l5d-err"))
			}
			status, body, header = get(t, c, port, "nobody")
			if silent := body == "" && header.Get("l5d-err") == ""; status != 502 || silent != cleared {
				t.Errorf("clear %v: %d %q, l5d-err %q", cleared, status, body, header.Get("l5d-err"))
			}
		}
	}
}

// TestClearContextBeforeAnotherProxy: an error that another proxy made is as silent at the edge as one made there.
func TestClearContextBeforeAnotherProxy(t *testing.T) {
	edge, inner := freeport.Get(t), freeport.Get(t)
	second := start(t, Options{})
	if err := second.Apply(t.Context(), decode(t, mesh(inner, "/svc/web => !"))); err != nil {
		t.Fatal(err)
	}
	first := start(t, Options{})
	text := strings.Replace(mesh(edge, fmt.Sprintf("/svc => /$/inet/127.0.0.1/%d", inner)), "servers: [{", "servers: [{clearContext: true, ", 1)
	if err := first.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	if status, body, _ := get(t, c, inner, "web"); status != 502 || !strings.HasPrefix(body, "binding-failed") {
		t.Fatalf("the second proxy says %d %q", status, body)
	}
	for range 2 {
		status, body, header := get(t, c, edge, "web")
		if status != 502 || body != "" || header.Get("l5d-err") != "" || header.Get("Via") == "" {
			t.Errorf("%d %q %v", status, body, header)
		}
	}
}
