package conformance

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is asked after a case, to see what became of the connections, and how the upstream gets and answers it.
const (
	probe     = "GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"
	probeSeen = "GET /probe HTTP/1.1\r\nHost: probe\r\nVia: 1.1 fairlead\r\n" +
		"l5d-dst-service: /svc/web\r\nl5d-dst-client: /#/io.l5d.fs/web\r\n\r\n"
	probeAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nprobe"
	probeGot    = "HTTP/1.1 200 OK\r\nVia: 1.1 fairlead\r\nContent-Length: 5\r\n\r\nprobe"
)

// wireRun is one run of one case.
type wireRun struct {
	t      *testing.T
	p      *wireProxy
	c      *wireCase
	slow   bool // in pieces
	client *wirePeer
	ups    []*wirePeer // the connections of the upstream in the order in which they came
}

// run takes the steps of a case and looks at what is left. It leaves no connection to the upstream, so that the next case begins as this
// one.
func (p *wireProxy) run(t *testing.T, c *wireCase, slow bool) {
	r := &wireRun{t: t, p: p, c: c, slow: slow, client: p.dial(t, c.Router)}
	defer r.drop()
	for i := range c.Steps {
		if err := r.step(&c.Steps[i]); err != nil {
			t.Fatalf("step %d (in pieces: %t): %v", i+1, slow, err)
		}
	}
	if err := r.after(); err != nil {
		t.Fatalf("after the steps (in pieces: %t): %v", slow, err)
	}
}

// drop forgets what a failed case may have left.
func (r *wireRun) drop() {
	r.client.close()
	for _, up := range r.ups {
		up.close()
	}
	for {
		select {
		case up := <-r.p.accepted:
			up.close()
		default:
			return
		}
	}
}

func (r *wireRun) step(s *wireStep) error {
	switch {
	case s.Send != nil:
		r.client.write(s.Send, r.slow)
		return nil
	case s.Gets != nil:
		return r.client.expect(s.Gets)
	case s.Refused != nil:
		return r.refused(s.Refused)
	case s.Client != "":
		r.client.end(s.Client)
		return nil
	case s.Ends == "client":
		return r.client.expectEnd()
	}
	up, err := r.up(max(s.On, 1))
	if err != nil {
		return err
	}
	switch {
	case s.Sees != nil:
		return up.expect(s.Sees)
	case s.Answer != nil:
		up.write(s.Answer, r.slow)
	case s.Upstream != "":
		up.end(s.Upstream)
	default:
		if err := up.expectEnd(); !errors.Is(err, syscall.ECONNRESET) {
			return err
		}
	}
	return nil
}

// up returns the n-th connection of the upstream, which it waits for.
func (r *wireRun) up(n int) (*wirePeer, error) {
	for len(r.ups) < n {
		select {
		case up := <-r.p.accepted:
			r.ups = append(r.ups, up)
		case <-time.After(wireLimit):
			if got := r.client.pending(); got != "" {
				return nil, fmt.Errorf("connection %d to the upstream did not come; the client got %q", n, got)
			}
			return nil, fmt.Errorf("connection %d to the upstream did not come", n)
		}
	}
	return r.ups[n-1], nil
}

var refusedHead = regexp.MustCompile(`^HTTP/1\.1 ([0-9]{3}) [A-Z][A-Za-z -]+\r\nl5d-err: ([0-9A-Za-z.*_%+-]+)\r\n` +
	`(l5d-retryable: true\r\n)?Content-Type: text/plain; charset=utf-8\r\nContent-Length: ([0-9]+)\r\n` +
	`(?:Connection: (close|keep-alive)\r\n)?\r\n$`)

// refused reads a response that the proxy made, and holds all of it to what such a response is.
func (r *wireRun) refused(want *refusal) error {
	head, err := r.client.head()
	if err != nil {
		return err
	}
	m := refusedHead.FindStringSubmatch(head)
	if m == nil || len(m[2]) > 1<<10 {
		return fmt.Errorf("got %q, want a response that the proxy made", head)
	}
	text, err := url.QueryUnescape(m[2])
	if err != nil {
		return fmt.Errorf("l5d-err %q: %w", m[2], err)
	}
	if !want.Head {
		if err := r.client.expect(wireBytes(text + "\n")); err != nil {
			return err
		}
	}
	reason, message, _ := strings.Cut(text, ": ")
	connection := map[bool]string{true: "close"}[want.Closing]
	if want.KeepAlive {
		connection = "keep-alive"
	}
	got := fmt.Sprintf("%s %s connection=%s retryable=%t length=%s", m[1], reason, m[5], m[3] != "", m[4])
	is := fmt.Sprintf("%d %s connection=%s retryable=%t length=%d", want.Status, want.Reason, connection, want.Retryable, len(text)+1)
	if got != is {
		return fmt.Errorf("got %s\nwant %s", got, is)
	}
	if message == "" {
		return fmt.Errorf("the reason %s has no message", reason)
	}
	return nil
}

// after holds what is left to the case, and closes all of it.
func (r *wireRun) after() error {
	c := r.client
	switch r.c.After.Client {
	case "closed":
		if err := c.expectEnd(); err != nil {
			return fmt.Errorf("client: %w", err)
		}
	case "reset":
		if err := c.expectReset(); err != nil {
			return fmt.Errorf("client: %w", err)
		}
	}
	if r.c.After.Client != "kept" {
		c.close()
		c = r.p.dial(r.t, r.c.Router)
	}
	if answer := wireRouters[r.c.Router].probe; answer != "" {
		return r.afterNoUpstream(c, answer)
	}
	var last *wirePeer
	if n := len(r.ups); n > 0 {
		last = r.ups[n-1]
	}
	if (r.c.After.Upstream == "none") != (last == nil) {
		return fmt.Errorf("there were %d connections to the upstream, and after.upstream is %s", len(r.ups), r.c.After.Upstream)
	}
	at := len(r.ups) + 1
	if r.c.After.Upstream == "kept" {
		at--
	}
	if err := r.probe(c, at); err != nil {
		return err
	}
	for i, up := range r.ups {
		if err := up.expectEnd(); err != nil && !errors.Is(err, syscall.ECONNRESET) { // what the upstream sent may not have been read
			return fmt.Errorf("connection %d to the upstream: %w", i+1, err)
		}
	}
	return nil
}

// probe sends one more request, which must reach the upstream on its n-th connection, alone.
func (r *wireRun) probe(c *wirePeer, n int) error {
	c.write(wireBytes(probe), false)
	up, err := r.up(n)
	if err != nil {
		return fmt.Errorf("one more request: %w; it got %q", err, c.pending())
	}
	if err := up.expect(wireBytes(probeSeen)); err != nil {
		return fmt.Errorf("one more request: connection %d to the upstream: %w", n, err)
	}
	up.write(wireBytes(probeAnswer), false)
	if err := c.expect(wireBytes(probeGot)); err != nil {
		return fmt.Errorf("one more request: %w", err)
	}
	select {
	case more := <-r.p.accepted:
		more.close()
		return fmt.Errorf("more than %d connections to the upstream were made", n)
	default:
		return nil
	}
}

// afterNoUpstream is the rest of after where the router's rules answer.
func (r *wireRun) afterNoUpstream(c *wirePeer, answer string) error {
	if r.c.After.Upstream != "none" || len(r.ups) > 0 {
		return fmt.Errorf("%d connections to the upstream, after.upstream %s; the router has none", len(r.ups), r.c.After.Upstream)
	}
	c.write(wireBytes(probe), false)
	head, err := c.head()
	if err != nil || !strings.HasPrefix(head, answer) {
		return fmt.Errorf("one more request: got %q, %w, want %q", head, err, answer)
	}
	return nil
}
