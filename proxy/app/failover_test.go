package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestFailover: a name leads to its first alternate until both of its endpoints fail, or its file lists none, then to the second, and back
// once one answers. The log, the metrics, the admin pages and the explanation say so; an edit that switches it off sends requests back.
func TestFailover(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	primary := func() netip.AddrPort {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if failing.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
			fmt.Fprint(w, "primary")
		}))
		t.Cleanup(s.Close)
		return netip.MustParseAddrPort(s.Listener.Addr().String())
	}
	dir := t.TempDir()
	put := func(name string, addrs ...netip.AddrPort) {
		t.Helper()
		var lines strings.Builder
		for _, addr := range addrs {
			fmt.Fprintf(&lines, "%s %d\n", addr.Addr(), addr.Port())
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := primary(), primary()
	put("primary", first, second)
	put("secondary", backend(t, "secondary"))
	port := freeport.Get(t)
	text := mesh(port, "/svc/web => /#/io.l5d.fs/primary | /#/io.l5d.fs/secondary") + "    failover: Unhealthy\n    failoverAfterMs: 100\n    failbackAfterMs: 300\n" +
		"    clients: [{prefix: /, failureAccrual: {kind: io.l5d.consecutiveFailures, failures: 2, backoff: {kind: constant, ms: 50}}}]\n" +
		fmt.Sprintf("  namers:\n  - {kind: io.l5d.fs, rootDir: %s}\n", dir)
	var lines logged
	metrics := telemetry.New()
	a := start(t, Options{Log: funcr.New(func(_, args string) { lines.add(args) }, funcr.Options{}), Metrics: metrics})
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	// leads reports whether of some requests all went to one backend, but for at most one, which tries the other.
	leads := func(to string) bool {
		n := 0
		for range 10 {
			if _, body, _ := get(t, c, port, "web"); body == to {
				n++
			}
		}
		return n >= 9
	}
	if !leads("primary") {
		t.Error("requests did not begin at the first alternate")
	}
	eventually(t, "the fall", func() bool { return leads("secondary") })
	if !lines.has("A name falls over", "/svc/web", `"from"="/#/io.l5d.fs/primary"`, `"to"="/#/io.l5d.fs/secondary"`) {
		t.Errorf("logged %q", lines.all())
	}
	if v := a.Clients()["outgoing"][0]; v.ID != "/#/io.l5d.fs/primary" || !v.PassedOver || !v.InUse || len(v.Endpoints) != 2 {
		t.Errorf("the admin page has %+v", v)
	}
	if s, err := a.Delegate(t.Context(), &DelegateQuestion{Path: "/svc/web"}); err != nil || !s.Alt[0].Unhealthy || s.Alt[0].Primary || !s.Alt[1].Primary {
		t.Errorf("the explanation has %+v, %v", s, err)
	}
	if leads := a.Uses()["outgoing"][0].Leads; len(leads.Split) != 1 || leads.Split[0].ID != "/#/io.l5d.fs/secondary" {
		t.Errorf("the page of names has %+v", leads)
	}
	failing.Store(false)
	eventually(t, "the return", func() bool { return leads("primary") && leads("primary") })
	if !lines.has("A name goes back", "/svc/web", `"to"="/#/io.l5d.fs/primary"`) {
		t.Errorf("logged %q", lines.all())
	}
	const scope = "rt/outgoing/service/svc/web/failover/"
	if falls, returns := metric(t, metrics, scope+"falls"), metric(t, metrics, scope+"returns"); falls != 1 || returns != 1 {
		t.Errorf("%v falls, %v returns", falls, returns)
	}
	put("primary")
	eventually(t, "the fall from an empty set", func() bool { return leads("secondary") })
	put("primary", second)
	eventually(t, "the return to one endpoint", func() bool { return leads("primary") && leads("primary") })
	put("primary")
	eventually(t, "the second fall from an empty set", func() bool { return leads("secondary") })
	off := strings.NewReplacer("Unhealthy", "Neg", "    failoverAfterMs: 100\n", "", "    failbackAfterMs: 300\n", "").Replace(text)
	if err := a.Apply(t.Context(), decode(t, off)); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := get(t, c, port, "web"); status == http.StatusOK {
		t.Errorf("%q, where names fall over no more", body)
	}
}
