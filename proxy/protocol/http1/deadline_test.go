package http1

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/proxy/resilience"
	"github.com/fairlead/fairlead/proxy/resilience/classify"
	"github.com/fairlead/fairlead/proxy/transport"
)

// withDeadlines is a GET with these values of l5d-ctx-deadline.
func withDeadlines(values ...string) string {
	var lines strings.Builder
	for _, v := range values {
		lines.WriteString("L5d-Ctx-Deadline: " + v + "\r\n")
	}
	return "GET /a HTTP/1.1\r\nHost: web\r\n" + lines.String() + "\r\n"
}

func epochs(written, until time.Time) string {
	return fmt.Sprintf("%d %d", written.UnixNano(), until.UnixNano())
}

// deadlineOf returns what the endpoint was told; zero times where it was told nothing.
func deadlineOf(t *testing.T, request string) (written, until time.Time) {
	t.Helper()
	if strings.Count(strings.ToLower(request), headerDeadline) == 0 {
		return written, until
	}
	_, line, _ := strings.Cut(request, headerDeadline+": ")
	line, _, _ = strings.Cut(line, "\r\n")
	a, b, ok := strings.Cut(line, " ")
	w, err := strconv.ParseInt(a, 10, 64)
	u, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || err != nil || err2 != nil || strings.Count(strings.ToLower(request), headerDeadline) != 1 {
		t.Fatalf("not one deadline: %q", request)
	}
	return time.Unix(0, w), time.Unix(0, u)
}

// TestDeadlineIsForwarded: the endpoint is told the strictest of what the request brought and the timeouts here.
func TestDeadlineIsForwarded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	far, near := now.Add(time.Hour), now.Add(time.Minute)
	for name, tc := range map[string]struct {
		timeouts resilience.Timeouts
		values   []string
		forwards bool
		exactly  time.Time     // is what the endpoint is told
		within   time.Duration // of the request's start, or
		none     bool
	}{
		"none":                {none: true},
		"of the request":      {values: []string{epochs(now, near)}, exactly: near},
		"strictest of two":    {values: []string{epochs(now, far), epochs(now, near)}, exactly: near},
		"stricter total":      {values: []string{epochs(now, far)}, timeouts: resilience.Timeouts{Total: limit}, within: limit},
		"stricter attempt":    {values: []string{epochs(now, far)}, timeouts: resilience.Timeouts{Total: 2 * limit, Attempt: limit}, within: limit},
		"total alone":         {timeouts: resilience.Timeouts{Total: limit}, within: limit},
		"attempt alone":       {timeouts: resilience.Timeouts{Attempt: limit}, within: limit},
		"laxer total":         {values: []string{epochs(now, near)}, timeouts: resilience.Timeouts{Total: time.Hour}, exactly: near},
		"what is no deadline": {values: []string{"soon", "1 2 3", "", "-5 7", "1 x", "99999999999999999999 1"}, none: true},
		"past, forwarded":     {values: []string{epochs(now, now.Add(-time.Minute))}, forwards: true, exactly: now.Add(-time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newScript(t, ok)
			r := newRig(t, rigOptions{}, e.addr)
			r.target.policy = resilience.Policy{Timeouts: tc.timeouts, ForwardsDeadlines: tc.forwards}
			c := r.dial()
			before := time.Now()
			c.send(withDeadlines(tc.values...))
			c.expect(cliOK)
			after := time.Now()
			written, until := deadlineOf(t, e.requests()[0])
			switch {
			case tc.none:
				if !until.IsZero() {
					t.Errorf("the endpoint was told %v", until)
				}
				return
			case written.Before(before) || written.After(after):
				t.Errorf("written %v, want between %v and %v", written, before, after)
			}
			if !tc.exactly.IsZero() && !until.Equal(tc.exactly) {
				t.Errorf("until %v, want %v", until, tc.exactly)
			}
			if tc.within > 0 && (until.Before(before.Add(tc.within)) || until.After(after.Add(tc.within))) {
				t.Errorf("until %v, want %v after %v", until, tc.within, before)
			}
		})
	}
}

// TestDeadlineIsKept: a request ends when its time has come, with its own reason; one whose time is over reaches no endpoint.
func TestDeadlineIsKept(t *testing.T) {
	t.Parallel()
	t.Run("over", func(t *testing.T) {
		t.Parallel()
		e := newScript(t, ok)
		r := newRig(t, rigOptions{}, e.addr)
		c := r.dial()
		c.send(withDeadlines(epochs(time.Now().Add(-2*time.Second), time.Now().Add(-time.Second))))
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 503") || !strings.Contains(h, "l5d-err: "+ReasonDeadline) {
			t.Errorf("got %q", h)
		}
		if o := r.target.outcome(t, 0); o.Reason != ReasonDeadline || o.Class != classify.Failure || e.conns.Load() != 0 {
			t.Errorf("outcome %+v, %d connections", o, e.conns.Load())
		}
	})
	t.Run("while it waits", func(t *testing.T) {
		t.Parallel()
		e := newScript(t, "-")
		r := newRig(t, rigOptions{}, e.addr)
		r.target.policy = resilience.Policy{Classifier: classify.RetryableAll5XX, Timeouts: resilience.Timeouts{Total: limit}}
		r.target.always(9)
		c := r.dial()
		c.send(withDeadlines(epochs(time.Now(), time.Now().Add(100*time.Millisecond))))
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 503") || !strings.Contains(h, "l5d-err: "+ReasonDeadline) {
			t.Errorf("got %q", h)
		}
	})
	t.Run("of a clock that is ahead", func(t *testing.T) {
		t.Parallel()
		ahead := time.Now().Add(time.Hour)
		e := newScript(t, "-")
		r := newRig(t, rigOptions{}, e.addr)
		c := r.dial()
		c.send(withDeadlines(epochs(ahead, ahead.Add(100*time.Millisecond))))
		if h := c.head(); !strings.Contains(h, "l5d-err: "+ReasonDeadline) {
			t.Errorf("got %q", h)
		}
	})
}

// TestWallCutsTheResponse: a response that goes on is cut at the total timeout only where it is to be.
func TestWallCutsTheResponse(t *testing.T) {
	t.Parallel()
	for _, cuts := range []bool{false, true} {
		t.Run(strconv.FormatBool(cuts), func(t *testing.T) {
			t.Parallel()
			more := make(chan struct{})
			e := newEndpoint(t, func(_ int, c *client) {
				c.tryHead()
				c.reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
				if cuts {
					_, _ = io.Copy(io.Discard, c.r)
					return
				}
				<-more
				c.reply("world")
				_, _ = io.Copy(io.Discard, c.r)
			})
			r := newRig(t, rigOptions{}, e.addr)
			r.target.policy = resilience.Policy{Timeouts: resilience.Timeouts{Total: 100 * time.Millisecond}, CutsResponse: cuts}
			start := transport.Now()
			c := r.dial()
			c.send(get)
			c.head()
			c.expect("hello")
			if cuts {
				c.expectEOF()
				if o := r.target.outcome(t, 0); o.Reason != ReasonTotalTimeout || o.Class != classify.Failure || o.EndNs-start < int64(100*time.Millisecond) {
					t.Errorf("outcome %+v", o)
				}
				return
			}
			timer := time.NewTimer(time.Duration(start + int64(150*time.Millisecond) - transport.Now()))
			<-timer.C // beyond the wall
			close(more)
			c.expect("world")
			if o := r.target.outcome(t, 0); o.Reason != "" {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}

// wallEndpoint behaves in one of the ways that keep a request waiting, drawn anew for each connection.
func wallEndpoint(t *testing.T, rng func(int) int) *endpoint {
	return newEndpoint(t, func(_ int, c *client) {
		switch rng(7) {
		case 0: // never reads
			<-t.Context().Done()
		case 1: // never answers
			_, _ = io.Copy(io.Discard, c.r)
		case 2: // closes
			c.tryHead()
		case 3: // fails, and can be retried
			for {
				h, whole := c.tryHead()
				if !whole {
					return
				}
				readBody(c, h)
				c.reply(answer("503 No"))
			}
		case 4: // a head that dribbles
			c.tryHead()
			dribble(t, c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		case 5: // a body that dribbles
			c.tryHead()
			c.reply("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			dribble(t, c, strings.Repeat("x", 1000))
		default: // interim responses without end
			c.tryHead()
			dribble(t, c, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50))
		}
	})
}

// dribble sends a byte every few milliseconds until the other side has enough.
func dribble(t *testing.T, c *client, s string) {
	tick := time.NewTicker(7 * time.Millisecond)
	defer tick.Stop()
	for i := range len(s) {
		if _, err := io.WriteString(c.c, s[i:i+1]); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return
		}
	}
	_, _ = io.Copy(io.Discard, c.r)
}

// stuckAddr is an address where a connect never ends: its backlog is full.
func stuckAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	for {
		c, err := net.DialTimeout("tcp", addr.String(), 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// lateness measures how late timers are on this machine while a test runs; the function that it returns ends that.
func lateness() func() time.Duration {
	stop, most := make(chan struct{}), make(chan time.Duration)
	go func() {
		const every = 5 * time.Millisecond
		late := time.Duration(0)
		for {
			began := time.Now()
			t := time.NewTimer(every)
			select {
			case <-t.C:
				late = max(late, time.Since(began)-every)
			case <-stop:
				most <- late
				return
			}
		}
	}()
	return func() time.Duration { close(stop); return <-most }
}

// TestNothingOutlivesTheTotalTimeout mixes endpoints that keep a request waiting in every way with clients that dribble, retries and
// backoffs, connects that never end, and checks that each request is over when its time is. It runs alone: it is about time.
func TestNothingOutlivesTheTotalTimeout(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11)) //nolint:gosec // the same mix each time
	var mu sync.Mutex
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	upstreams := []netip.AddrPort{deadAddr(t), stuckAddr(t)}
	for range 4 {
		upstreams = append(upstreams, wallEndpoint(t, draw).addr)
	}
	lateBy := lateness()
	var all sync.WaitGroup
	var beyond []time.Duration
	over := map[string]int{}
	for range 200 {
		total := time.Duration(20+draw(200)) * time.Millisecond
		attempt := time.Duration(draw(3)) * total / 3
		backoff := time.Duration(draw(40)) * time.Millisecond
		order := []netip.AddrPort{}
		for range 1 + draw(4) {
			order = append(order, upstreams[draw(len(upstreams))])
		}
		size := draw(3) * 40000
		slow := size > 0 && draw(3) == 0
		all.Go(func() {
			r := newRig(t, rigOptions{dial: transport.DialOptions{Timeout: limit}}, order...)
			defer r.stop()
			r.target.policy = resilience.Policy{
				Timeouts: resilience.Timeouts{Total: total, Attempt: attempt}, Classifier: classify.RetryableAll5XX, CutsResponse: true,
			}
			r.target.retry = func(*resilience.Attempt) (Target, time.Duration) { return r.target, backoff }
			c := r.dial()
			request := upload(size)
			if slow {
				c.send(request[:len(request)*2/3])
			} else {
				go io.WriteString(c.c, request) //nolint:errcheck // the answer may come before all is sent
			}
			o := r.target.outcome(t, 0)
			_ = c.c.Close()
			mu.Lock()
			defer mu.Unlock()
			over[o.Reason]++
			beyond = append(beyond, time.Duration(o.LatencyNs())-total)
		})
	}
	all.Wait()
	slices.Sort(beyond)
	// On a busy machine some goroutine is later than the one that measured, and three follow each other at the end of a request: its own,
	// the one that sends its body, its own again.
	bound, late := 50*time.Millisecond, lateBy()
	most, usual := beyond[len(beyond)-1], beyond[len(beyond)*95/100]
	if usual > bound+late || most > bound+6*late {
		t.Errorf("the worst took %v longer than its total timeout, one of twenty %v; timers here are up to %v late", most, usual, late)
	}
	t.Logf("the worst took %v longer than its total timeout, one of twenty %v; timers here are up to %v late", most, usual, late)
	if over[ReasonTotalTimeout] < 20 || len(over) < 4 {
		t.Errorf("how they ended: %v: the mix is none", over)
	}
}
