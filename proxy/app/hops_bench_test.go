package app

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"
)

// quick is an endpoint that answers small requests over kept connections, with as little work as can be.
func quick(tb testing.TB) netip.AddrPort {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in, out := make([]byte, 16<<10), []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				for n := 0; ; {
					m, err := c.Read(in[n:])
					if err != nil {
						return
					}
					if n += m; bytes.HasSuffix(in[:n], []byte("\r\n\r\n")) {
						n = 0
						if _, err := c.Write(out); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	tb.Cleanup(func() {
		l.Close()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// asker returns a function that sends one small request over a kept connection and reads the answer.
func asker(tb testing.TB, port int) func() {
	tb.Helper()
	c, err := net.Dial("tcp", loopback(port).String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	out, in := []byte("GET / HTTP/1.1\r\nHost: web\r\nUser-Agent: bench\r\n\r\n"), make([]byte, 4096)
	if _, err := c.Write(out); err != nil {
		tb.Fatal(err)
	}
	n, err := c.Read(in) // all answers have this length
	if err != nil || !bytes.HasPrefix(in, []byte("HTTP/1.1 200")) {
		tb.Fatalf("%.200q %v", in[:n], err)
	}
	return func() {
		if _, err := c.Write(out); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.ReadFull(c, in[:n]); err != nil {
			tb.Fatal(err)
		}
	}
}

// ways returns a function that asks through one proxy, and one that asks through two.
func ways(tb testing.TB) (one, two func()) {
	tb.Helper()
	c := newCluster(tb)
	a, b := c.node(tb, "a"), c.node(tb, "b")
	c.set(hopsPort, a.hop(), b.hop())
	endpoint := quick(tb)
	c.set("/default/http/web", on("", endpoint))
	one = asker(tb, a.outgoing)
	d := newCluster(tb)
	e, f := d.node(tb, "a"), d.node(tb, "b")
	d.set(hopsPort, e.hop(), f.hop())
	d.set("/default/http/web", on("b", endpoint))
	return one, asker(tb, e.outgoing)
}

// BenchmarkHops compares the ways by wall time, CPU of the process (client and endpoint included, so that the difference is the second
// proxy) and p99.
func BenchmarkHops(b *testing.B) {
	one, two := ways(b)
	for name, ask := range map[string]func(){"one": one, "two": two} {
		b.Run(name, func(b *testing.B) {
			took := make([]time.Duration, 0, b.N)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				begin := time.Now()
				ask()
				took = append(took, time.Since(begin))
			}
			used := cpu(b) - before
			slices.Sort(took)
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}

func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(fmt.Errorf("getrusage: %w", err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
