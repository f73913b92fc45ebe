package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// holdArg is the first argument with which this program holds idle connections.
const holdArg = "hold"

// holding is what such a process prints when it has them all, and perHolder how many it has at most: ports of one address are limited.
const (
	holding   = "holding"
	perHolder = 5000
)

// hold has c.idle connections to every proxy, each of which asked once and is kept, and notes what memory one takes.
func (b *bench) hold(ctx context.Context, r *report, c work) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, p := range b.compared(c) {
		before, err := p.memory()
		if err != nil {
			return err
		}
		for left := c.idle; left > 0; left -= perHolder {
			n := len(b.holders)
			from := fmt.Sprintf("127.0.%d.%d", 1+n/250, 1+n%250)
			h, err := process.Start(b.dir, fmt.Sprintf("hold-%d", n), b.loadCore, nil,
				self, holdArg, p.addr, from, strconv.Itoa(min(left, perHolder)))
			if err != nil {
				return err
			}
			b.holders = append(b.holders, h)
			if err := h.Answers(ctx, poll, func() error {
				if !strings.HasPrefix(h.Output(), holding) {
					return errors.New("not all connections are open")
				}
				return nil
			}); err != nil {
				return fmt.Errorf("idle connections to %s: %w: %s", p.name, err, p.output())
			}
		}
		after, err := p.memory()
		if err != nil {
			return err
		}
		r.Idle[p.name] = float64(after-before) / float64(c.idle)
	}
	return nil
}

// release closes them. One that was closed meanwhile is an error: it was not there to be measured.
func (b *bench) release() error {
	var all error
	for _, h := range b.holders {
		h.Stop()
		if out := h.Output(); out != holding+"\nclosed 0" {
			all = errors.Join(all, fmt.Errorf("idle connections: expected all to be open at the end, found %q", out))
		}
	}
	b.holders = nil
	return all
}

// holdConnections is what the process does: ADDRESS FROM COUNT.
func holdConnections(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%s: expected ADDRESS FROM COUNT", holdArg)
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(args[1])}, KeepAlive: -1}
	conns := make([]net.Conn, n)
	shared := newClient(nil)
	for i := range conns {
		if conns[i], err = dialer.Dial("tcp", args[0]); err != nil {
			return err
		}
		shared.conn = conns[i]
		if _, err := conns[i].Write(request("/")); err != nil {
			return err
		}
		if err := shared.answer(); err != nil {
			return err
		}
	}
	fmt.Println(holding)
	<-told
	closed := 0
	for _, c := range conns {
		open, err := isOpen(c)
		if err != nil {
			return err
		}
		if !open {
			closed++
		}
	}
	fmt.Println("closed", closed)
	return nil
}

// isOpen reports whether the peer has neither closed nor said anything.
func isOpen(c net.Conn) (bool, error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false, err
	}
	var polled error
	fds := []unix.PollFd{{Events: unix.POLLIN | unix.POLLRDHUP}}
	err = raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		_, polled = unix.Poll(fds, 0)
	})
	return fds[0].Revents == 0, errors.Join(err, polled)
}
