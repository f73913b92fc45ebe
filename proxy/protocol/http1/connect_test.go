package http1

import (
	"io"
	"strings"
	"testing"
)

// TestConnectRefused: the client gets all of an answer that opens no tunnel, also when it sent bytes for the tunnel before it had it: a
// connection that is closed with unread bytes is reset, and an answer on its way is lost.
func TestConnectRefused(t *testing.T) {
	t.Parallel()
	const connect = "CONNECT web:443 HTTP/1.1\r\nHost: web:443\r\n\r\n"
	early := strings.Repeat("x", 100_000)
	t.Run("by the endpoint", func(t *testing.T) {
		t.Parallel()
		sent := make(chan struct{})
		e := newEndpoint(t, func(_ int, c *client) {
			_, _ = c.tryHead()
			<-sent
			c.reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, c.r)
		})
		c := newRig(t, rigOptions{}, e.addr).dial()
		c.send(connect + early)
		close(sent)
		c.expect("HTTP/1.1 403 Forbidden\r\nVia: 1.1 fairlead\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		c.expectEOF()
	})
	t.Run("for want of one", func(t *testing.T) {
		t.Parallel()
		c := newRig(t, rigOptions{}, deadAddr(t)).dial()
		c.send(connect + early)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") {
			t.Errorf("got %q", h)
		}
		if _, err := io.Copy(io.Discard, c.r); err != nil {
			t.Errorf("the connection ended with: %v", err)
		}
	})
}
