// Package pace lets long computations share few cores with requests.
//
// Go looks for what the network brought when a processor has nothing else to run, and otherwise every 10 ms. While a configuration is
// compiled on one of two cores, and the garbage that this makes is collected on the other, requests would wait for those 10 ms; to yield
// (runtime.Gosched) does not help, since then there is something else to run: the computation itself. So it sleeps now and then.
//
// The kernel sees little of that, since a thread looks for work during so short a rest, and would let it run for 3 ms while those of
// clients, endpoints and other goroutines wait: it is told to let them.
package pace

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// work is how long a computation goes on before it rests, and the most that a request waits behind it.
	work = 500 * time.Microsecond
	// rest is short: the processor looks at the network at its beginning.
	rest = 20 * time.Microsecond
)

// Pace is kept by one goroutine. Its zero value is ready for use.
type Pace struct {
	since time.Time
}

// Step rests if the goroutine has worked for long since it last did, or since the first Step. It is meant to be called every few
// microseconds of work, and costs some 50 ns.
func (p *Pace) Step() {
	now := time.Now()
	switch {
	case p.since.IsZero():
		p.since = now
	case now.Sub(p.since) >= work:
		time.Sleep(rest) // what the network brought runs now
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		p.since = time.Now()
	}
}
