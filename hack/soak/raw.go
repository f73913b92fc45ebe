package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// What net/http's client does not send: HTTP/1.0, requests in a row before the first answer, and tunnels.

const (
	rawTimeout  = 30 * time.Second
	pipelined   = 8
	tunnelTurns = 16
	tunnelBytes = 8 << 10
)

// raw dials the proxy, sends text and gives the connection to then.
func raw(text string, then func(net.Conn, *bufio.Reader) error) error {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", listen))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it was read to its end, or failed
	if err := conn.SetDeadline(time.Now().Add(rawTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	return then(conn, bufio.NewReader(conn))
}

// oldHTTP sends a request of HTTP/1.0, whose answer ends with its connection.
func oldHTTP(context.Context, *http.Client, int) error {
	return raw("GET / HTTP/1.0\r\nHost: web\r\n\r\n", func(_ net.Conn, r *bufio.Reader) error {
		all, err := io.ReadAll(r)
		if err == nil && (!strings.HasPrefix(string(all), "HTTP/1.1 200 ") || !strings.HasSuffix(string(all), "\r\n\r\n0")) {
			err = fmt.Errorf("got %q", all)
		}
		return err
	})
}

// pipeline sends requests without waiting for answers, which have to come in order.
func pipeline(context.Context, *http.Client, int) error {
	var b strings.Builder
	for i := range pipelined {
		fmt.Fprintf(&b, "GET /?bytes=%d HTTP/1.1\r\nHost: web\r\n\r\n", 100+i)
	}
	return raw(b.String(), func(_ net.Conn, r *bufio.Reader) error {
		for i := range pipelined {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || n != int64(100+i) {
				return fmt.Errorf("answer %d: %s, %d bytes, %w", i, resp.Status, n, err)
			}
		}
		return nil
	})
}

// tunnel upgrades, sends blocks that have to come back, and ends its side: then the other end has to come.
func tunnel(context.Context, *http.Client, int) error {
	const upgrade = "GET /tunnel HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
	return raw(upgrade, func(conn net.Conn, r *bufio.Reader) error {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusSwitchingProtocols {
			return errors.New(resp.Status)
		}
		sent, got := make([]byte, tunnelBytes), make([]byte, tunnelBytes)
		for range tunnelTurns {
			_, _ = rand.Read(sent) // never fails
			if _, err := conn.Write(sent); err != nil {
				return err
			}
			if _, err := io.ReadFull(r, got); err != nil {
				return err
			}
			if string(sent) != string(got) {
				return errors.New("other bytes came back")
			}
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		rest, err := io.ReadAll(r)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%d bytes more came back", len(rest))
		}
		return err
	})
}

// echo is the other end of a tunnel.
func echo(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // whoever reads sees it
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		return
	}
	_, _ = io.Copy(conn, buffered) // whoever reads sees it
}
