package http1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/resilience/classify"
)

// Rules may answer with a status by themselves: a whole response, after which the connection goes on.
func TestStatusAnswers(t *testing.T) {
	t.Parallel()
	length := "Content-Length: 0\r\n"
	for status, head := range map[int]string{
		200: "200 OK\r\n" + length, 204: "204 No Content\r\n", 304: "304 Not Modified\r\n", 404: "404 Not Found\r\n" + length,
		299: "299 \r\n" + length, 503: "503 Service Unavailable\r\n" + length, 599: "599 \r\n" + length,
	} {
		r := newRig(t, rigOptions{})
		r.target.status = status
		want := "HTTP/1.1 " + head + "\r\n"
		c := r.dial()
		c.send("GET / HTTP/1.1\r\n" + hd + "\r\n")
		c.expect(want)
		c.send("HEAD / HTTP/1.1\r\n" + hd + "\r\n" + post("Content-Length: 3\r\n", "abc"))
		c.expect(want + want)
		c.send("GET / HTTP/1.1\r\nConnection: close\r\n" + hd + "\r\n")
		c.expect(strings.TrimSuffix(want, "\r\n") + "Connection: close\r\n\r\n")
		c.expectEOF()
		class := classify.NonRetryable5XX.Response(status, false)
		for i := range 4 {
			if o := r.target.outcome(t, i); o.Status != status || o.Class != class || o.Reason != "" || o.Node != nil || o.HeadNs < o.StartNs {
				t.Errorf("status %d: outcome %+v", status, o)
			}
		}
		if n := r.target.picks.Load(); n != 0 {
			t.Errorf("status %d: %d endpoints were picked", status, n)
		}
	}
}

// A body that did not arrive whole ends the connection; HTTP/1.0 is told that it goes on.
func TestStatusAnswersAndBodies(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.target.status = 404
	const head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"
	c := r.dial()
	c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	c.expect(head + "Connection: keep-alive\r\n\r\n")
	c.send(post("Content-Length: 100000\r\n", "the beginning"))
	c.expect(head + "Connection: close\r\n\r\n")
	c.expectEOF()
	c = r.dial()
	c.send(post("Content-Length: 3\r\nExpect: 100-continue\r\n", ""))
	c.expect(head + "Connection: close\r\n\r\n")
	c.expectEOF()
}

// A 2xx to CONNECT has no framing (RFC 9110, section 9.3.6); the tunnel that its client sees ends at once. Any other status has its own.
func TestStatusAnswersConnect(t *testing.T) {
	t.Parallel()
	for status, head := range map[int]string{200: "200 OK\r\n", 204: "204 No Content\r\n", 403: "403 Forbidden\r\nContent-Length: 0\r\n"} {
		r := newRig(t, rigOptions{})
		r.target.status = status
		c := r.dial()
		c.send("CONNECT web:443 HTTP/1.1\r\n" + hd + "\r\n" + get)
		c.expect("HTTP/1.1 " + head + "Connection: close\r\n\r\n")
		c.expectEOF()
	}
}

// A client would wait for more after a status below 200, so it is told what is wrong with the rules.
func TestStatusBelow200(t *testing.T) {
	t.Parallel()
	for i, status := range []int{100, 101, 199} {
		r := newRig(t, rigOptions{})
		r.target.status = status
		c := r.dial()
		c.send("GET / HTTP/1.1\r\n" + hd + "\r\n")
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") || !strings.Contains(h, "l5d-err: "+ReasonInterimAnswer) {
			t.Errorf("%d: %q", i, h)
		}
		if o := r.target.outcome(t, 0); fmt.Sprintln(o.Status, o.Class, o.Reason) != "502 failure interim-answer\n" {
			t.Errorf("outcome %+v", o)
		}
	}
}
