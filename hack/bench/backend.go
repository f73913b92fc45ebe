package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// backendArg is the first argument with which this program is the backend and nothing else.
const backendArg = "serve-backend"

const (
	// service is the Host of every request.
	service = "web"
	// helloPath is what is asked of a proxy that starts, body the answer.
	helloPath = "/hello"
	body      = "hello from the backend, this is a small body of some eighty bytes, 0123456789\n"
	// backends is the number of endpoints that every proxy balances over.
	backends = 3
	// maxHead is what the head of a request may have.
	maxHead = 16 << 10
)

// answers are all that a backend has, by path.
func answers() map[string][]byte {
	all := make(map[string][]byte)
	for path, text := range map[string]string{
		"/": "", helloPath: body, "/10k": strings.Repeat("x", 10<<10), "/1m": strings.Repeat("x", 1<<20),
	} {
		all[path] = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
	return all
}

// startBackend starts the one process that is all backends. It is ours, so that it costs little and reads a body to its end before it
// answers: a server that answers early makes some proxies give up the connection, and others not.
func (b *bench) startBackend(ctx context.Context) error {
	var err error
	if b.backends, err = process.Addresses(backends); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.backend, err = process.Start(b.dir, "backend", b.loadCore, []string{"GOMAXPROCS=1"}, append([]string{self, backendArg}, b.backends...)...)
	if err != nil {
		return err
	}
	return b.backend.Answers(ctx, poll, func() error {
		for _, addr := range b.backends {
			if err := get(ctx, addr, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// serveBackend answers at every address until one of them fails.
func serveBackend(addrs []string) error {
	if len(addrs) == 0 {
		return errors.New(backendArg + ": expected at least one address")
	}
	failed := make(chan error)
	all := answers()
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					failed <- err
					return
				}
				go func() {
					defer c.Close() //nolint:errcheck // nothing can be done about it
					_ = serveConn(c, all)
				}()
			}
		}()
	}
	return <-failed
}

// serveConn answers requests one after the other, each after its body.
func serveConn(c net.Conn, all map[string][]byte) error {
	in := make([]byte, maxHead)
	for n := 0; ; {
		end := bytes.Index(in[:n], []byte("\r\n\r\n"))
		if end < 0 {
			if n == len(in) {
				return errors.New("the head is too long")
			}
			m, err := c.Read(in[n:])
			if err != nil {
				return err
			}
			n += m
			continue
		}
		path, length, err := parseRequest(in[:end+2])
		if err != nil {
			return err
		}
		// What was read beyond this request moves to the front, the rest of a body is dropped.
		n = copy(in, in[end+4:n])
		for length > n {
			length -= n
			if n, err = c.Read(in); err != nil {
				return err
			}
		}
		n = copy(in, in[length:n])
		answer, ok := all[path]
		if !ok {
			return fmt.Errorf("no %q", path)
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
}

// parseRequest reads the path and the length of the body from a head whose lines all end in CRLF. The proxies are trusted to send
// well-formed ones.
func parseRequest(head []byte) (path string, length int, err error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	parts := bytes.Split(line, []byte(" "))
	if len(parts) != 3 {
		return "", 0, fmt.Errorf("start line %q", line)
	}
	length, err = contentLength(fields)
	return string(parts[1]), length, err
}

// contentLength finds a length, 0 where there is none. Chunks are an error: nobody here sends any.
func contentLength(fields []byte) (int, error) {
	length := 0
	for field := range bytes.Lines(fields) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		var err error
		switch {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			err = fmt.Errorf("unexpected %q", bytes.TrimSpace(field))
		}
		if err != nil || length < 0 {
			return 0, fmt.Errorf("length: %w", err)
		}
	}
	return length, nil
}
