package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// loadArg is the first argument with which this program is the load of one side: ADDRESS RATE DURATION TIMEOUT SEED.
const loadArg = "load"

// request is what is sent.
const request = "GET / HTTP/1.1\r\nHost: web\r\n\r\n"

// result is what one run came to.
type result struct {
	Requests, Failures int
	// Quantiles are p50, p95, p99 and p99.9 in nanoseconds.
	Quantiles [4]time.Duration
	// Reasons count failures by the status, or by what happened to the connection.
	Reasons map[string]int
	// Slow is how many requests the slow backend got while it was slow; 0 where several sides share it.
	Slow int `json:"-"`
}

var quantiles = [4]float64{0.5, 0.95, 0.99, 0.999}

// runLoad is the process. It prints its result as JSON.
func runLoad(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%s: expected ADDRESS RATE DURATION TIMEOUT SEED", loadArg)
	}
	rate, err := strconv.Atoi(args[1])
	d, err2 := time.ParseDuration(args[2])
	timeout, err3 := time.ParseDuration(args[3])
	seed, err4 := strconv.ParseUint(args[4], 10, 64)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(send(args[0], rate, d, timeout, seed))
}

// pool holds connections that wait, the last used on top.
type pool struct {
	addr string
	mu   sync.Mutex
	idle []*conn
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

func (p *pool) get(deadline time.Time) (*conn, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, c.SetDeadline(deadline)
	}
	p.mu.Unlock()
	c, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReader(c)}, c.SetDeadline(deadline)
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

// send asks at random times, rate a second on average, whatever the answers do.
func send(addr string, rate int, d, timeout time.Duration, seed uint64) result {
	rng := rand.New(rand.NewPCG(seed, 17)) //nolint:gosec // the same each time
	p := &pool{addr: addr}
	var mu sync.Mutex
	var took []time.Duration
	out := result{Reasons: make(map[string]int)}
	var all sync.WaitGroup
	begin := time.Now()
	for at := time.Duration(0); at < d; at += time.Duration(rng.ExpFloat64() * float64(time.Second) / float64(rate)) {
		if wait := time.Until(begin.Add(at)); wait > 0 {
			t := time.NewTimer(wait)
			<-t.C
		}
		all.Go(func() {
			meant := begin.Add(at)
			reason := p.once(meant.Add(timeout))
			took1 := min(time.Since(meant), timeout)
			mu.Lock()
			defer mu.Unlock()
			out.Requests++
			if reason != "" {
				out.Failures++
				out.Reasons[reason]++
				took1 = timeout
			}
			took = append(took, took1)
		})
	}
	all.Wait()
	slices.Sort(took)
	for i, q := range quantiles {
		out.Quantiles[i] = took[min(int(q*float64(len(took))), len(took)-1)]
	}
	return out
}

// once sends one request. It returns "" for a success, else what it came to.
func (p *pool) once(deadline time.Time) string {
	c, err := p.get(deadline)
	if err != nil {
		return "connect"
	}
	if _, err = io.WriteString(c, request); err == nil {
		var status int
		if status, err = readAnswer(c.r); err == nil {
			p.put(c)
			if status != 200 {
				return strconv.Itoa(status)
			}
			return ""
		}
	}
	_ = c.Close() // whatever comes is too late
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "timeout"
	}
	return "closed"
}

// readAnswer reads one response whose length is announced.
func readAnswer(r *bufio.Reader) (status int, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first && len(line) >= 12:
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		case len(line) == 0:
			_, err = r.Discard(length)
			return status, err
		case len(line) > 16 && bytes.EqualFold(line[:16], []byte("content-length: ")):
			if length, err = strconv.Atoi(string(line[16:])); err != nil {
				return 0, err
			}
		}
	}
}
