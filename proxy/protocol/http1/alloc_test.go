//go:build !race

// The race detector makes sync.Pool drop what it is given, so allocations can only be counted without it.

package http1

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestNoAllocations holds a kept-alive request to zero allocations, over real sockets with client and endpoint in this process. The whole
// process is measured, so it does not run beside others.
func TestNoAllocations(t *testing.T) {
	for name, tc := range map[string]struct {
		send, reply string
		hop         bool
	}{
		"get":              {send: get, reply: ok},
		"get by a hop":     {get, ok, true},
		"post":             {"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nUser-Agent: test\r\n\r\nhello", ok, false},
		"chunked response": {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false},
		"chunked request":  {"POST /a HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ok, false},
	} {
		t.Run(name, func(t *testing.T) {
			step := steadyState(t, tc.send, tc.reply, tc.hop)
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the buffer pools
			for range 200 {
				step()
			}
			const n = 2000
			least := uint64(math.MaxUint64)
			for range 5 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range n {
					step()
				}
				runtime.ReadMemStats(&after)
				least = min(least, after.Mallocs-before.Mallocs)
			}
			// The runtime itself allocates now and then, more so on a busy machine: what a request allocates it does in every round.
			if least > n/100 {
				t.Errorf("at least %d allocations in %d requests", least, n)
			}
		})
	}
}
