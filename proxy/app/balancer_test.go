package app

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestLoadBalancer: the Mesh says by which balancer requests go, peak EWMA where it says nothing, and an edit changes it while what is known
// of the endpoints, and their connections, stay.
func TestLoadBalancer(t *testing.T) {
	var opened atomic.Int64
	endpoint := func(wait time.Duration) (netip.AddrPort, *atomic.Int64) {
		requests := new(atomic.Int64)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			requests.Add(1)
			time.Sleep(wait) // it is what is slow
		}))
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		s.Start()
		t.Cleanup(s.Close)
		return netip.MustParseAddrPort(s.Listener.Addr().String()), requests
	}
	fast, toFast := endpoint(0)
	slow, toSlow := endpoint(100 * time.Millisecond)
	port := freeport.Get(t)
	dir := t.TempDir()
	text := fmt.Sprintf("%s %d\n%s %d\n", fast.Addr(), fast.Port(), slow.Addr(), slow.Port())
	if err := os.WriteFile(filepath.Join(dir, "web"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := mesh(port, "/svc => /#/io.l5d.fs") + fmt.Sprintf("  namers:\n  - {kind: io.l5d.fs, rootDir: %s}\n", dir)
	a := start(t, Options{})
	c := client(t)
	const requests = 20
	for _, step := range []struct {
		balancer string
		most     int64
		least    int64
	}{
		{"", 1, 0},
		{"roundRobin, maxEffort: 2", requests / 2, requests / 2},
		{"ewma, decayTimeMs: 60000", 0, 0}, // it knows already which one is slow
		{"heap", requests, 1},
		{"aperture, minAperture: 2", requests, 1},
		{"p2c", requests, 1},
	} {
		edited := plain
		if step.balancer != "" {
			edited = strings.Replace(plain, "    dtab:", fmt.Sprintf("    clients: [{prefix: /, loadBalancer: {kind: %s}}]\n    dtab:", step.balancer), 1)
		}
		if err := a.Apply(t.Context(), decode(t, edited)); err != nil {
			t.Fatal(err)
		}
		before := toSlow.Load()
		for range requests {
			if status, body, _ := get(t, c, port, "web"); status != http.StatusOK {
				t.Fatalf("%d %q", status, body)
			}
		}
		if n := toSlow.Load() - before; n < step.least || n > step.most {
			t.Errorf("%q: %d of %d requests to the slow one, want %d to %d", step.balancer, n, requests, step.least, step.most)
		}
	}
	if toFast.Load() == 0 || opened.Load() > 2 {
		t.Errorf("%d connections to two endpoints", opened.Load())
	}
}
