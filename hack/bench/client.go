package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
)

// client asks over one connection that is kept.
type client struct {
	conn net.Conn
	in   []byte
}

func request(path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n", path, service)
}

func newClient(c net.Conn) *client { return &client{conn: c, in: make([]byte, 4096)} }

// answer reads one response with a status of 200 and drops its body.
func (c *client) answer() error {
	for n := 0; ; {
		m, err := c.conn.Read(c.in[n:])
		if err != nil {
			return err
		}
		n += m
		end := bytes.Index(c.in[:n], []byte("\r\n\r\n"))
		if end < 0 {
			if n == len(c.in) {
				return errors.New("the head of the response is too long")
			}
			continue
		}
		line, fields, _ := bytes.Cut(c.in[:end+2], []byte("\r\n"))
		if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answered %q", line)
		}
		length, err := contentLength(fields)
		if err != nil {
			return err
		}
		for rest := length - (n - end - 4); rest != 0; rest -= n {
			if rest < 0 {
				return errors.New("more than a response came")
			}
			if n, err = c.conn.Read(c.in); err != nil {
				return err
			}
		}
		return nil
	}
}
