package http1

import (
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
)

// lines are what was logged.
type lines struct {
	mu  sync.Mutex // guards all
	all []string
}

// logTo makes a server log up to a level.
func logTo(s *Server, verbosity int) *lines {
	l := &lines{}
	s.SetLog(funcr.New(func(_, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, args)
	}, funcr.Options{Verbosity: verbosity}))
	return l
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// Mistakes of clients are for debugging, also those whose status is above 500.
func TestMistakesOfClientsAreForDebugging(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]string{
		"400": "GET a HTTP/1.1\r\nHost: web\r\n\r\n",
		"501": "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: gzip\r\n\r\n",
		"505": "GET / HTTP/2.0\r\nHost: web\r\n\r\n",
	} {
		for verbosity := range 2 {
			r := newRig(t, rigOptions{obs: newSeen()})
			log := logTo(r.s, verbosity)
			c := r.dial()
			c.send(send)
			if h := c.head(); !strings.Contains(h, " "+name+" ") {
				t.Fatalf("%s: got %q", name, h)
			}
			_ = c.c.CloseWrite()
			r.s.observer.(*seen).next(t)
			if got := log.String(); (got != "") != (verbosity == 1) {
				t.Errorf("%s, verbosity %d: logged %q", name, verbosity, got)
			}
		}
	}
}

// A response that is cut has been answered: with its own status, by an endpoint that has a name.
func TestLogOfACutResponse(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		c.tryHead()
		c.reply("HTTP/1.1 203 Fine\r\nContent-Length: 9\r\n\r\nabc")
	})
	r := newRig(t, rigOptions{}, e.addr)
	r.target.service, r.target.client = "/svc/web", "/#/io.l5d.fs/web"
	log := logTo(r.s, 0)
	c := r.dial()
	c.send(get)
	c.expect("HTTP/1.1 203 Fine\r\nVia: 1.1 fairlead\r\nContent-Length: 9\r\n\r\nabc")
	c.expectEOF()
	if o := r.target.outcome(t, 0); o.Status != 203 || o.Reason != ReasonUpstreamTruncated {
		t.Errorf("got %+v", o)
	}
	for _, want := range []string{`"status"=203`, `"reason"="upstream-truncated"`, "service /svc/web", "client /#/io.l5d.fs/web", "endpoint " + e.addr.String()} {
		if got := log.String(); !strings.Contains(got, want) {
			t.Errorf("logged %s, want %s", got, want)
		}
	}
}

// What a listener moved is all bytes of its connections: heads, framing and what is refused.
func TestOutcomeCountsAllBytes(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, func(_ int, c *client) {
		for {
			if _, ok2 := c.tryHead(); !ok2 {
				return
			}
			c.reply(ok)
		}
	})
	seen := newSeen()
	r := newRig(t, rigOptions{obs: seen}, e.addr)
	c := r.dial()
	for _, x := range []struct{ send, want string }{
		{get, cliOK},
		{"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc", cliOK},
	} {
		c.send(x.send)
		c.expect(x.want)
		if o := seen.next(t); o.Received != int64(len(x.send)) || o.Sent != int64(len(x.want)) {
			t.Errorf("received %d, sent %d, want %d and %d", o.Received, o.Sent, len(x.send), len(x.want))
		}
	}
	bad := "GET a HTTP/1.1\r\nHost: web\r\n\r\n"
	c.send(bad)
	h := c.head()
	_ = c.c.CloseWrite()
	if o := seen.next(t); o.Received != int64(len(bad)) || o.Sent <= int64(len(h)) {
		t.Errorf("received %d, sent %d of a refusal", o.Received, o.Sent)
	}
}
