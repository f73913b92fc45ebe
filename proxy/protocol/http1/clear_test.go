package http1

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// spy routes to a target and keeps what it saw of the context.
type spy struct {
	t    Target
	seen atomic.Pointer[string]
}

func (r *spy) Route(_ uint32, req *Request) (Target, *Failure) {
	seen := string(req.HeaderValue("l5d-dtab")) + string(req.HeaderValue("l5d-name"))
	req.Headers(func(name, _ []byte) bool {
		seen += "|" + string(name)
		return true
	})
	r.seen.Store(&seen)
	return r.t, nil
}

// TestClearContextOfRequests: at the edge neither the router nor an endpoint sees an l5d-* header of a client, but endpoints see ours.
func TestClearContextOfRequests(t *testing.T) {
	t.Parallel()
	heads := make(chan string, 1)
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			h, ok := c.tryHead()
			if !ok {
				return
			}
			heads <- h
			c.reply("HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	s := &spy{}
	r := newRig(t, rigOptions{router: s}, e.addr)
	s.t = r.target
	r.target.headers = "l5d-dst-service: /svc/web\r\nl5d-ctx-dtab: /own\r\n"
	c := r.dial()
	const send = "GET / HTTP/1.1\r\nL5D-Dtab: /a=>/b\r\nHost: web\r\nl5d-ctx-trace: x\r\nl5d-name: /x\r\nA: b\r\nl5dx: kept\r\nl5d-dst-service: x\r\n" +
		"l5d-: x\r\nConnection: l5d-sample\r\nl5d-sample: 1.0\r\n\r\n"
	for _, step := range []struct {
		clear         bool
		seen, request string
	}{
		{true, "|Host|A|l5dx|Connection", "GET / HTTP/1.1\r\nHost: web\r\nA: b\r\nl5dx: kept\r\n"},
		{false, "/a=>/b/x|L5D-Dtab|Host|l5d-ctx-trace|l5d-name|A|l5dx|l5d-dst-service|l5d-|Connection|l5d-sample",
			"GET / HTTP/1.1\r\nHost: web\r\nl5d-ctx-trace: x\r\nl5d-name: /x\r\nA: b\r\nl5dx: kept\r\nl5d-: x\r\nl5d-sample: 1.0\r\n"},
		{true, "|Host|A|l5dx|Connection", "GET / HTTP/1.1\r\nHost: web\r\nA: b\r\nl5dx: kept\r\n"},
	} {
		r.s.SetClearContext(step.clear) // also for connections that are open
		c.send(send)
		if got, want := <-heads, step.request+"Via: 1.1 fairlead\r\n"+r.target.headers+"\r\n"; got != want {
			t.Errorf("clear %v: the endpoint got\n%q, want\n%q", step.clear, got, want)
		}
		if got := *s.seen.Load(); got != step.seen {
			t.Errorf("clear %v: the router saw\n%q, want\n%q", step.clear, got, step.seen)
		}
		c.head()
	}
}

// TestClearContextOfResponses: at the edge no l5d-* header reaches a client, and a response with l5d-err has no body, whatever framing
// it came with. The endpoint's connection is used again only if all of the body was there.
func TestClearContextOfResponses(t *testing.T) {
	t.Parallel()
	const blank = "HTTP/1.1 502 Bad Gateway\r\nVia: 1.1 fairlead\r\nContent-Length: 0\r\n\r\n"
	const bad = "HTTP/1.1 502 Bad Gateway\r\n"
	for _, c := range []struct {
		name, send, reply, want string
		// conns is how many connections to the endpoint two such requests take.
		conns int64
	}{
		{"no error", get, "HTTP/1.1 200 OK\r\nL5d-Success-Class: 1.0\r\nA: b\r\nl5d-x:\r\nContent-Length: 2\r\n\r\nok",
			"HTTP/1.1 200 OK\r\nA: b\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nok", 1},
		{"length", get, bad + "L5D-ERR: no-binding\r\nl5d-retryable: true\r\nContent-Length: 5\r\n\r\nhello", blank, 1},
		{"length, part of it", get, bad + "l5d-err: x\r\nContent-Length: 50000\r\n\r\nhello", blank, 2},
		{"chunks", get, bad + "l5d-err: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nl5d-err: x\r\nA: b\r\n\r\n", blank, 1},
		{"chunks without end", get, bad + "l5d-err: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n5\r\nhello\r\n", blank, 2},
		{"broken chunks", get, bad + "l5d-err: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", blank, 2},
		{"until the end", get, bad + "l5d-err: x\r\n\r\nhello", blank, 2},
		{"more than the body", get, bad + "l5d-err: x\r\nContent-Length: 1\r\n\r\nhello", blank, 2},
		{"no body", get, bad + "l5d-err: x\r\nContent-Length: 0\r\n\r\n", blank, 1},
		{"no content", get, "HTTP/1.1 204 No Content\r\nl5d-err: x\r\n\r\n", "HTTP/1.1 204 No Content\r\nVia: 1.1 fairlead\r\n\r\n", 1},
		{"not modified", get, "HTTP/1.1 304 Not Modified\r\nl5d-err: x\r\nContent-Length: 9\r\n\r\n",
			"HTTP/1.1 304 Not Modified\r\nVia: 1.1 fairlead\r\n\r\n", 1},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: web\r\n\r\n", bad + "l5d-err: x\r\nContent-Length: 5\r\n\r\n", blank, 1},
		{"HEAD of chunks", "HEAD / HTTP/1.1\r\nHost: web\r\n\r\n", bad + "l5d-err: x\r\nTransfer-Encoding: chunked\r\n\r\n", blank, 1},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n\r\n",
			bad + "l5d-err: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			"HTTP/1.1 502 Bad Gateway\r\nVia: 1.1 fairlead\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", 1},
		{"interim", get, "HTTP/1.1 103 Early Hints\r\nl5d-a: b\r\nLink: x\r\n\r\n" + ok,
			"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\n\r\nok", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint(t, func(_ int, up *client) {
				for {
					if _, ok := up.tryHead(); !ok {
						return
					}
					up.reply(c.reply)
					if strings.Contains(c.name, "until") {
						return
					}
				}
			})
			r := newRig(t, rigOptions{}, e.addr)
			r.s.SetClearContext(true)
			cl := r.dial()
			for range 2 {
				cl.send(c.send)
				cl.expect(c.want)
			}
			if n := e.conns.Load(); n != c.conns {
				t.Errorf("%d connections to the endpoint, want %d", n, c.conns)
			}
			if o := r.target.outcome(t, 0); o.Status == 502 && o.ResponseBytes != 0 {
				t.Errorf("%d bytes of body were sent", o.ResponseBytes)
			}
		})
	}
}

// TestClearContextStopsTheUpload: who answers l5d-err before the end of a body wants no more of it.
func TestClearContextStopsTheUpload(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		if _, ok := c.tryHead(); ok {
			c.reply("HTTP/1.1 200 OK\r\nl5d-err: x\r\nContent-Length: 5\r\n\r\nhello")
			_, _ = io.Copy(io.Discard, c.r)
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	r.s.SetClearContext(true)
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 20000))
	c.expect("HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 0\r\n")
	if rest := c.head(); rest != "\r\n" && rest != "Connection: close\r\n\r\n" {
		t.Errorf("rest of the head: %q", rest)
	}
	c.expectEOF()
}

// TestClearContextOfOwnErrors: errors made here are as silent, and the log and the outcome have the reason.
func TestClearContextOfOwnErrors(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, serveOK)
	r := newRig(t, rigOptions{router: failRouter{&Failure{400, "unidentified", "no"}}}, e.addr)
	r.s.SetClearContext(true)
	c := r.dial()
	for _, send := range []string{get, "HEAD / HTTP/1.1\r\nHost: web\r\n\r\n", "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello"} {
		c.send(send)
		c.expect("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
	}
	c.send("GET / HTTP/9.9\r\n\r\n")
	c.expect("HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	c.expectEOF()

	r = newRig(t, rigOptions{}, deadAddr(t))
	r.s.SetClearContext(true)
	c = r.dial()
	c.send(get)
	c.expect("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
	if o := r.target.outcome(t, 0); o.Reason != ReasonConnectRefused {
		t.Errorf("outcome: reason %q", o.Reason)
	}
}

// TestClearContextInAPipeline: among requests that were sent at once, of any framing both ways, each gets the response that is its own,
// and no byte of a body that was blanked reaches the client as the head of the next.
func TestClearContextInAPipeline(t *testing.T) {
	t.Parallel()
	const hostile = "HTTP/1.1 200 OK\r\nX-Id: forged\r\nContent-Length: 0\r\n\r\n"
	replies := []string{
		"Content-Length: 3\r\n\r\nyes",
		"Content-Length: " + fmt.Sprint(len(hostile)) + "\r\nl5d-err: x\r\n\r\n" + hostile,
		"Transfer-Encoding: chunked\r\n\r\n2\r\nye\r\n1\r\ns\r\n0\r\nl5d-err: x\r\n\r\n",
		"Transfer-Encoding: chunked\r\nl5d-err: x\r\n\r\n" + fmt.Sprintf("%x", len(hostile)) + "\r\n" + hostile + "\r\n0\r\n\r\n",
		"Content-Length: 0\r\nL5D-Err: x\r\n\r\n",
		"Content-Length: 100000\r\nl5d-err: x\r\n\r\n" + hostile,
	}
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			head, ok := c.tryHead()
			if !ok {
				return
			}
			if strings.Contains(head, "Content-Length: 4") {
				_, _ = io.CopyN(io.Discard, c.r, 4)
			}
			if strings.Contains(head, "chunked") {
				for last := ""; last != "0\r\n"; {
					last, _ = c.r.ReadString('\n')
				}
				_, _ = c.r.ReadString('\n')
			}
			var id, kind int
			_, _ = fmt.Sscanf(head[strings.Index(head, "/"):], "/%d/%d", &id, &kind)
			reply := replies[kind]
			if strings.HasPrefix(head, "HEAD") {
				reply, _, _ = strings.Cut(reply, "\r\n\r\n")
				reply += "\r\n\r\n"
			}
			c.reply(fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %d\r\n%s", id, reply))
		}
	})
	r := newRig(t, rigOptions{}, e.addr)
	r.s.SetClearContext(true)
	c := r.dial()
	random := rand.New(rand.NewPCG(1, 2))
	const rounds, pipelined = 30, 20
	for range rounds {
		var send strings.Builder
		var methods []string
		var kinds []int
		for id := range pipelined {
			kind := random.IntN(len(replies))
			method, rest := []string{"GET", "HEAD", "POST", "PUT"}[random.IntN(4)], "\r\n"
			switch method {
			case "POST":
				rest = "Content-Length: 4\r\n\r\nGET "
			case "PUT":
				rest = "Transfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n"
			}
			fmt.Fprintf(&send, "%s /%d/%d HTTP/1.1\r\nHost: web\r\n%s", method, id, kind, rest)
			methods = append(methods, method)
			kinds = append(kinds, kind)
		}
		c.send(send.String())
		for id := range pipelined {
			resp, err := http.ReadResponse(c.r, &http.Request{Method: methods[id]})
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			want := map[bool]string{true: "yes"}[methods[id] != "HEAD" && (kinds[id] == 0 || kinds[id] == 2)]
			if err != nil || string(body) != want || resp.Header.Get("X-Id") != fmt.Sprint(id) ||
				resp.Header.Get("L5d-Err") != "" || resp.Trailer.Get("L5d-Err") != "" {
				t.Fatalf("request %d, %s of kind %d: %v %q, %v; want %q", id, methods[id], kinds[id], resp.Header, body, err, want)
			}
		}
	}
}
