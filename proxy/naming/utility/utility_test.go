package utility

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask looks a whole path up in the mounts, the last first, and shows the answer.
func ask(t *testing.T, mounts []naming.Mount, text string) (shown, residual string) {
	t.Helper()
	p, err := dtab.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if !p.HasPrefix(mounts[i].Prefix) {
			continue
		}
		live := mounts[i].Namer.Lookup(p[len(mounts[i].Prefix):])
		defer live.Close()
		tree, _, err := live.Load()
		var rule *naming.RuleError
		switch {
		case errors.As(err, &rule):
			return "error: " + err.Error(), ""
		case err != nil:
			t.Fatalf("%s: no RuleError: %v", text, err)
		case tree.Kind != dtab.Leaf:
			return tree.Kind.String(), ""
		case tree.Bound == nil:
			return "to " + tree.Path.String(), ""
		}
		return tree.Bound.ID.String(), tree.Bound.Residual.String()
	}
	return "nobody", ""
}

func TestNames(t *testing.T) {
	r := dns.New(func(context.Context, string) ([]netip.Addr, error) { return nil, nil })
	defer r.Close()
	const pfx = "/$/io.buoyant.http.domainToPathPfx"
	for text, want := range map[string]string{
		"/$":     "neg",
		"/$/nil": "empty", "/$/nil/x/y": "empty",
		"/$/fail": "fail", "/$/fail/x": "fail",
		"/$/no.such":               "error: /$/no.such: /$/no.such is not known",
		"/$/inet":                  "error: /$/inet: expected /$/inet/<host>/<port>",
		"/$/inet/host/http":        "error: /$/inet/host/http: expected a port number",
		"/$/inet/host/0":           "error: /$/inet/host/0: expected a port number",
		"/$/inet/host/65536":       "error: /$/inet/host/65536: expected a port number",
		"/$/inet/host/-1":          "error: /$/inet/host/-1: expected a port number",
		"/$/inet/host":             "error: /$/inet/host: expected a port number",
		"/$/inet/10.0.0.1/80":      "/$/inet/10.0.0.1/80 /",
		"/$/inet/10.0.0.1/80/a/b":  "/$/inet/10.0.0.1/80 /a/b",
		"/$/inet/web/80":           "/$/inet/web/80 /",
		"/$/inet/8080":             "/$/inet/8080 /",
		"/$/inet/8080/9090":        "/$/inet/8080/9090 /",
		"/$/inet/8080/web":         "/$/inet/8080 /web",
		"/$/inet/8080/web/9090":    "/$/inet/8080 /web/9090",
		pfx:                        "neg",
		pfx + "/host":              "neg",
		pfx + "/host/a.b.c":        "to /host/c/b/a",
		pfx + "/host/web":          "to /host/web",
		pfx + "/host/a.b:8080/x/y": "to /host/b:8080/a/x/y",
		pfx + "/host/a..b":         "neg",
		pfx + "/host/.":            "neg",
		pfx + "/host/a.b.":         "neg",
		pfx + "/host/a%b":          "neg",
		pfx + `/host/a\x2fb`:       "neg",
		pfx + `/host/\xc3\xa4`:     "neg",
	} {
		got, residual := ask(t, Mounts(&Inet{Resolver: r}), text)
		if residual != "" {
			got += " " + residual
		}
		if got != want && !(strings.HasPrefix(want, "error") && strings.HasPrefix(got, want)) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got, _ := ask(t, Mounts(nil), "/$/inet/10.0.0.1/80"); !strings.Contains(got, "is not known") {
		t.Errorf("without addresses: %s", got)
	}
	if got, _ := ask(t, Mounts(&Inet{Resolver: r}), "/$/inet/"+strings.Repeat("a", 256)+"/80"); !strings.Contains(got, "255 bytes") {
		t.Errorf("long host: %s", got)
	}
}

// A host that does not exist is bound without endpoints: DNS makes no failover. Its addresses follow DNS.
func TestInetEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		answer, failure := []netip.Addr(nil), error(&net.DNSError{IsNotFound: true})
		r := dns.New(func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "web" {
				t.Errorf("asked for %q", host)
			}
			mu.Lock()
			defer mu.Unlock()
			return answer, failure
		})
		defer r.Close()
		n := &Inet{Resolver: r}
		one, two := n.Lookup(dtab.Path{"web", "80"}), n.Lookup(dtab.Path{"web", "80", "rest"})
		synctest.Wait()
		tree, _, _ := two.Load()
		addrs := tree.Bound.Addrs
		if a, s, err := addrs.Load(); s != naming.Ok || err != nil || len(a.Endpoints) != 0 {
			t.Errorf("host that does not exist: %v, state %d, error %v", a, s, err)
		}
		one.Close() // takes nothing from the other
		changed := addrs.Changed()
		mu.Lock()
		answer, failure = []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		mu.Unlock()
		time.Sleep(dns.RefreshInterval) // the clock of the bubble
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("no change told")
		}
		want := naming.Endpoint{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Host: "web", Weight: 1, Serving: true}
		if a, _, _ := addrs.Load(); len(a.Endpoints) != 1 || a.Endpoints[0] != want {
			t.Errorf("endpoints %+v", a.Endpoints)
		}
		two.Close()
	})
}
