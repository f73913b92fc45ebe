package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// backendArg is the first argument with which this program is the backends and nothing else: SEED CONTROL ADDRESS...
const backendArg = "serve-backends"

// endpoints is the number of backends.
const endpoints = 11

// Answers take a time of log-normal distribution: half of them at most median, one of a hundred four times that, one of a thousand six.
const (
	median = 5 * time.Millisecond
	spread = 0.6
)

// backend is one of them.
type backend struct {
	mu   sync.Mutex
	rng  *rand.Rand
	slow atomic.Int64 // nanoseconds more
	// asked counts requests, and askedSlow those that came while it was slow.
	asked, askedSlow atomic.Int64
}

// took draws how long an answer takes.
func (b *backend) took() time.Duration {
	b.mu.Lock()
	x := b.rng.NormFloat64()
	b.mu.Unlock()
	return time.Duration(float64(median)*math.Exp(spread*x)) + time.Duration(b.slow.Load())
}

// serveBackends is the process. Its control answers "slow INDEX DURATION" and "counts".
func serveBackends(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("%s: expected SEED CONTROL ADDRESS", backendArg)
	}
	seed, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return err
	}
	all := make([]*backend, len(args)-2)
	for i, addr := range args[2:] {
		all[i] = &backend{rng: rand.New(rand.NewPCG(seed, uint64(i)))} //nolint:gosec // the same each time
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go accept(l, func(c net.Conn) { all[i].serve(c) })
	}
	control, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	accept(control, func(c net.Conn) { command(all, c) })
	return nil
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close() //nolint:errcheck // the other side has what it gets
			serve(c)
		}()
	}
}

const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

// serve answers requests without a body.
func (b *backend) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) > 2 {
			continue
		}
		b.asked.Add(1)
		if b.slow.Load() > 0 {
			b.askedSlow.Add(1)
		}
		t := time.NewTimer(b.took())
		<-t.C
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// command does what one connection of the control asks for.
func command(all []*backend, c net.Conn) {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	var index int
	var delay string
	switch n, _ := fmt.Sscanf(line, "slow %d %s", &index, &delay); {
	case n == 2 && index >= 0 && index < len(all):
		d, err := time.ParseDuration(delay)
		if err != nil {
			_, _ = fmt.Fprintln(c, err)
			return
		}
		all[index].slow.Store(int64(d))
		_, _ = fmt.Fprintln(c, "ok")
	case strings.TrimSpace(line) == "counts":
		for _, b := range all {
			_, _ = fmt.Fprintln(c, b.asked.Load(), b.askedSlow.Load())
		}
	default:
		_, _ = fmt.Fprintf(c, "expected slow INDEX DURATION or counts, found %q\n", line)
	}
}

// ask sends one command to the control and returns the answer.
func ask(control, text string) (string, error) {
	c, err := net.Dial("tcp", control)
	if err != nil {
		return "", err
	}
	defer c.Close() //nolint:errcheck // read to its end
	if _, err := fmt.Fprintln(c, text); err != nil {
		return "", err
	}
	out, err := io.ReadAll(c)
	return string(out), err
}

// counts are the requests of each backend, and of those the ones that came while it was slow.
func counts(control string) (asked, askedSlow []int, err error) {
	text, err := ask(control, "counts")
	if err != nil {
		return nil, nil, err
	}
	for line := range strings.Lines(text) {
		var a, s int
		if _, err := fmt.Sscan(line, &a, &s); err != nil {
			return nil, nil, fmt.Errorf("counts: %q: %w", line, err)
		}
		asked, askedSlow = append(asked, a), append(askedSlow, s)
	}
	return asked, askedSlow, nil
}
