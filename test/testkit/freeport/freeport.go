// Package freeport finds free ports for what must know its own before it listens on it.
package freeport

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// The kernel gives connections that go out ports from 32768 on, so none of these is taken by one before the test listens on it.
const first, size = 20000, 12000

var given atomic.Int64

// Get returns a port of 127.0.0.1 that nobody listens on and that this process was not given before. Processes that run at the same
// time begin at different places.
func Get(tb testing.TB) int {
	tb.Helper()
	for range size {
		p := first + (os.Getpid()*131+int(given.Add(1)))%size
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err == nil {
			_ = l.Close() // only its number is wanted
			return p
		}
	}
	tb.Fatal("no free port")
	return 0
}
