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
	r := dns.New(dns.Options{Lookup: func(context.Context, string) ([]netip.Addr, time.Duration, error) { return nil, 0, nil }})
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
		pfx + "/host/a.b.":         "to /host/b/a",
		pfx + "/host/a%b":          "neg",
		pfx + `/host/a\x2fb`:       "neg",
		pfx + `/host/\xc3\xa4`:     "neg",
		// An element that is no UTF-8, wherever it is, makes the name none; nil and fail look at their own alone.
		`/$/inet/\xff/80`: "neg", `/$/inet/10.0.0.1/80/\xc3`: "neg", `/$/inet/80/\xff`: "neg", `/$/fixedinet/\xff/80`: "neg",
		`/$/inet/w\xc3\xa4b/80/\xc3\xa4`: `/$/inet/\x77\xc3\xa4\x62/80 /\xc3\xa4`, `/$/io.buoyant.rinet/80/\xff`: "neg",
		`/$/\xff`: "neg", `/$/no.such/\xff`: "neg", pfx + `/\xff/web`: "neg", pfx + `/host/web/\xff`: "neg",
		`/$/io.buoyant.http.status/404/\xff`: "neg", `/$/nil/\xff`: "empty", `/$/fail/\xff`: "fail",
	} {
		checkName(t, Mounts(r), text, want)
	}
	if got, _ := ask(t, Mounts(nil), "/$/inet/10.0.0.1/80"); !strings.Contains(got, "is not known") {
		t.Errorf("without addresses: %s", got)
	}
	if got, _ := ask(t, Mounts(r), "/$/inet/"+strings.Repeat("a", 256)+"/80"); !strings.Contains(got, "255 bytes") {
		t.Errorf("long host: %s", got)
	}
}

func checkName(t *testing.T, mounts []naming.Mount, text, want string) {
	t.Helper()
	got, residual := ask(t, mounts, text)
	if residual != "" {
		got += " " + residual
	}
	if got != want && !(strings.HasPrefix(want, "error") && strings.HasPrefix(got, want)) {
		t.Errorf("%s: %s, want %s", text, got, want)
	}
}

// The names of http.scala, hostport.scala, rinet.scala and status.scala, each with what it takes and what it refuses.
func TestLinkerdNames(t *testing.T) {
	r := dns.New(dns.Options{Lookup: func(context.Context, string) ([]netip.Addr, time.Duration, error) { return nil, 0, nil }})
	defer r.Close()
	const l = "/$/io.buoyant."
	for text, want := range map[string]string{
		"/$/fixedinet/web/80/a": "/$/fixedinet/web/80 /a", "/$/fixedinet/80": "/$/fixedinet/80 /",
		"/$/fixedinet": "error: /$/fixedinet: expected /$/fixedinet/<host>/<port>",
		l + "rinet":    "neg", l + "rinet/80": "neg",
		l + "rinet/80/web":       l + "rinet/80/web /",
		l + "rinet/80/web/a/b":   l + "rinet/80/web /a/b",
		l + "rinet/http/web":     l + "rinet/http/web /",
		l + "hostportPfx":        "neg",
		l + "hostportPfx/ia":     "neg",
		l + "hostportPfx/ia/h:1": "to /ia/h/1", l + "hostportPfx/ia/h:http/x": "to /ia/h/http/x",
		l + "hostportPfx/ia/h": "neg", l + "hostportPfx/ia/h:": "neg", l + "hostportPfx/ia/:80": "neg", l + "hostportPfx/ia/h:1:2": "neg",
		l + "hostportPfx/ia/h:HTTP": "neg", l + "hostportPfx/ia/h:-a": "neg", l + "hostportPfx/ia/h:a_b": "neg",
		l + "hostportPfx/ia/h:" + strings.Repeat("a", 63): "to /ia/h/" + strings.Repeat("a", 63),
		l + "hostportPfx/ia/h:" + strings.Repeat("a", 64): "neg",
		l + "porthostPfx/ia/h:http/x":                     "to /ia/http/h/x", l + "porthostPfx/ia/h": "neg", l + "porthostPfx": "neg",
		l + "http.anyMethod":                "neg",
		l + "http.anyMethod/GET":            "to /",
		l + "http.anyMethod/GET/a/b":        "to /a/b",
		l + "http.anyMethod/get/a":          "neg",
		l + "http.anyMethod/M-SEARCH/a":     "neg",
		l + "http.anyMethodPfx/p/PURGE/a":   "to /p/a",
		l + "http.anyMethodPfx/p":           "neg",
		l + "http.anyMethodPfx/p/Get":       "neg",
		l + "http.anyHost/a.b:80/x":         "to /x",
		l + "http.anyHost/a%b/x":            "neg",
		l + "http.anyHostPfx/p/a_b/x":       "to /p/x",
		l + "http.anyHostPfx/p/a%b":         "neg",
		l + "http.subdomainOf/b.c/a.b.c/x":  "to /a/x",
		l + "http.subdomainOf/b.c/a.b.c:80": "to /a", l + "http.subdomainOf/b.c/x.y.b.c": "to /x.y",
		l + "http.subdomainOf/b.c/b.c": "neg", l + "http.subdomainOf/b.c/ab.c": "neg", l + "http.subdomainOf/b.c/.b.c": "neg",
		l + "http.subdomainOf/b.c": "neg", l + "http.subdomainOf/b%c/a.b%c": "neg", l + "http.subdomainOf/b.c/a.b.c.d": "neg",
		l + "http.subdomainOfPfx/b.c/p/a.b.c/x": "to /p/a/x", l + "http.subdomainOfPfx/b.c/p/d": "neg", l + "http.subdomainOfPfx/b.c/p": "neg",
		l + "http.domainToPath/a.b.c/x": "to /c/b/a/x", l + "http.domainToPath": "neg", l + "http.domainToPath/.": "neg",
		l + "http.domainToPath/a.": "to /a", l + "http.domainToPath/.a": "neg",
		l + "http.status/404/foo": l + "http.status/404/foo /", l + "http.status/100": l + "http.status/100 /",
		l + "http.status/599": l + "http.status/599 /",
		l + "http.status":     "neg", l + "http.status/600": "neg", l + "http.status/99": "neg", l + "http.status/099": "neg",
		l + "http.status/\\x2b404": "neg", l + "http.status/4O4": "neg", l + "http.status/0404": "neg",
		l + "http.nothing": "error: /$/io.buoyant.http.nothing: /$/io.buoyant.http.nothing is not known",
	} {
		checkName(t, Mounts(r), text, want)
	}
	tree, _, _ := (&Names{}).Lookup(dtab.Path{"io.buoyant.http.status", "503", "web"}).Load()
	if tree.Bound.Status != 503 {
		t.Errorf("status %d", tree.Bound.Status)
	}
	for _, m := range Mounts(r) {
		live := m.Namer.Lookup(dtab.Path{"http", "web"})
		if tree, _, _ := live.Load(); tree.Bound != nil {
			if _, s, err := tree.Bound.Addrs.Load(); s != naming.Failed || !strings.Contains(err.Error(), `found "http"`) {
				t.Errorf("%s/http/web has addresses in state %d, error %v", m.Prefix, s, err)
			}
		}
		live.Close()
	}
}

// A host that is not there says so where a name is explained.
func TestExplainMissingHost(t *testing.T) {
	r := dns.New(dns.Options{Lookup: func(context.Context, string) ([]netip.Addr, time.Duration, error) {
		return nil, 0, &net.DNSError{IsNotFound: true}
	}})
	defer r.Close()
	in := naming.NewInterpreter()
	in.Set(dtab.Compile(nil), Mounts(r), time.Minute, &naming.Transformer{
		Prefix: dtab.Path{"%", "same"}, Change: func(e []naming.Endpoint) []naming.Endpoint { return e },
	})
	root := in.Explain(t.Context(), dtab.Path{"$", "inet", "web", "80"}, nil).Root
	if a := root.Tree.Bound.Addr; a.State != "bound" || a.Error != `"web" is not resolved: there is no such host` {
		t.Errorf("the endpoints are %+v", a)
	}
}

func TestIsPartial(t *testing.T) {
	const l = "io.buoyant."
	for text, want := range map[string]bool{
		"/": true, "/nil": false, "/no.such": false, "/inet": true, "/inet/web": true, "/inet/80": false, "/inet/web/80": false,
		"/" + l + "rinet/80": true, "/" + l + "rinet/80/web": false, "/" + l + "http.status": true, "/" + l + "http.status/404": false,
		"/" + l + "http.domainToPathPfx/host": true, "/" + l + "http.domainToPathPfx/host/web": false, "/" + l + "http.anyHost": true,
	} {
		p, err := dtab.ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := IsPartial(p); got != want {
			t.Errorf("%s: partial %v", text, got)
		}
	}
}

// Whatever makes an address of any text is out of reach for the rules of a request; the others are not.
func TestRequestsMayNotNameAddresses(t *testing.T) {
	r := dns.New(dns.Options{Lookup: func(context.Context, string) ([]netip.Addr, time.Duration, error) { return nil, 0, nil }})
	defer r.Close()
	in := naming.NewInterpreter()
	rules, err := dtab.Parse("/ph => /$/io.buoyant.rinet; /own => /$/inet/10.0.0.1/80")
	if err != nil {
		t.Fatal(err)
	}
	in.Set(dtab.Compile(rules), Mounts(r), time.Minute)
	for dst, refused := range map[string]bool{
		"/$/inet/10.0.0.1/80": true, "/$/inet/80": true, "/$/fixedinet/10.0.0.1/80": true, "/$/io.buoyant.rinet/80/10.0.0.1": true,
		"/$/io.buoyant.porthostPfx/ph/10.0.0.1:80": true, "/ph/80/10.0.0.1": true,
		"/$/io.buoyant.http.status/404": false, "/own": false, "/$/nil": false,
	} {
		local, err := dtab.Parse("/svc => " + dst)
		if err != nil {
			t.Fatal(err)
		}
		name := in.Bind(dtab.Path{"svc"}, local, func(naming.Tree, naming.State, error) {})
		if _, _, err := name.Load(); errors.Is(err, naming.ErrLocalAddress) != refused {
			t.Errorf("%s: error %v, want refused: %v", dst, err, refused)
		}
		name.Close()
	}
}

// A host that does not exist is bound without endpoints: DNS makes no failover. Its addresses follow DNS.
func TestInetEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		answer, failure := []netip.Addr(nil), error(&net.DNSError{IsNotFound: true})
		r := dns.New(dns.Options{Lookup: func(_ context.Context, host string) ([]netip.Addr, time.Duration, error) {
			if host != "web" {
				t.Errorf("asked for %q", host)
			}
			mu.Lock()
			defer mu.Unlock()
			return answer, 0, failure
		}})
		defer r.Close()
		n := &Inet{Name: "inet", Resolve: r.Resolve}
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
		time.Sleep(dns.RefreshInterval * 2) // the clock of the bubble
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
