package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// relayed is what became of a request that a whole proxy relayed, over real sockets.
type relayed struct {
	status int
	// reason is that of l5d-err, client the bound name that the endpoint was told, header what the endpoint got.
	reason, client string
	header         http.Header
}

// relay sends a request for the logical name p, with the given headers, through a proxy whose router has the rules base. The names
// bound exist and lead to one endpoint, those of bound by a file each: a rule of the proxy takes /#/b/x to /#/io.l5d.fs/0.
func relay(t *testing.T, base string, p dtab.Path, bound []string, headers http.Header) relayed {
	t.Helper()
	var got http.Header
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer web.Close()
	dir := t.TempDir()
	rules := must(t, dtab.Parse, base)
	for i, id := range bound {
		line := strings.Replace(web.Listener.Addr().String(), ":", " ", 1)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		rules = rules.Concat(must(t, dtab.Parse, fmt.Sprintf("%s => /#/io.l5d.fs/%d", id, i)))
	}
	port := freeport.Get(t)
	text := fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  namers: [{kind: io.l5d.fs, rootDir: %q}]\n"+
		"  routers:\n  - name: r\n    dstPrefix: /\n    servers: [{port: %d}]\n    identifiers: [{kind: io.l5d.header}]\n    dtab:\n", dir, port)
	for _, d := range rules {
		text += fmt.Sprintf("    - {prefix: %q, dst: %q}\n", d.Prefix.String(), d.Dst.String())
	}
	cfg, problem := config.DecodeConfig("mesh.yaml", []byte(text), config.Standalone)
	if problem != nil {
		t.Fatal(problem)
	}
	a := app.New(app.Options{Log: logr.Discard(), Metrics: telemetry.New()})
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	if err := a.Apply(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	out := send(t, port, p, headers)
	out.header = got
	client, _, _ := strings.Cut(strings.TrimPrefix(got.Get("l5d-dst-client"), "/#/io.l5d.fs/"), "/")
	for i, id := range bound {
		if client == fmt.Sprint(i) {
			out.client = id
		}
	}
	return out
}

func send(t *testing.T, port int, p dtab.Path, headers http.Header) (out relayed) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = headers.Clone()
	req.Header.Set("l5d-name", p.String())
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	out.status = resp.StatusCode
	out.reason, _, _ = strings.Cut(resp.Header.Get("l5d-err"), "%3A")
	return out
}

// overrideHeaders are the headers of a case, without those it does not have.
func (c dtabCase) overrideHeaders() http.Header {
	h := http.Header{}
	for name, value := range map[string]string{"l5d-ctx-dtab": c.CtxHeader, "l5d-dtab": c.UserHeader} {
		if value != "" {
			h.Set(name, value)
		}
	}
	return h
}

// relayedOverride holds a whole proxy to a case of rules in headers.
func relayedOverride(t *testing.T, c dtabCase) {
	got := relay(t, c.Base, must(t, dtab.ParsePath, c.Path), c.Bound, c.overrideHeaders())
	want := c.expected(t)
	reasons := map[string]string{
		"~": "no-binding", "!": "binding-failed", "$": "empty-binding",
		"error:max-depth": "max-depth", "error:unknown-namer": "binding-error",
	}
	if reason, ok := reasons[want]; ok {
		if got.status != http.StatusBadGateway || got.reason != reason {
			t.Errorf("relayed: status %d, reason %s; want 502 and %s", got.status, got.reason, reason)
		}
		return
	}
	shares := make(map[string]float64)
	spread(must(t, dtab.ParseTree, want), 1, shares)
	led := func(id string) bool { return shares[id] > 0 || strings.HasPrefix(want, id+"/") }
	if got.status != http.StatusOK || !slices.ContainsFunc(c.Bound, led) || !led(got.client) {
		t.Errorf("relayed: status %d, reason %s, client %s; want %s", got.status, got.reason, got.client, want)
	}
}

// relayedHeader holds a whole proxy to a case of headers handed on.
func relayedHeader(t *testing.T, c dtabCase) {
	h := c.overrideHeaders()
	if len(h) == 0 {
		h.Set("dtab-local", c.Dtab)
	}
	got := relay(t, "", dtab.Path{"web"}, []string{"/web"}, h)
	if got.status != http.StatusOK {
		t.Fatalf("status %d, reason %s", got.status, got.reason)
	}
	if c.CtxHeader == "" && c.UserHeader == "" {
		same(t, "dtab-local at the endpoint", got.header.Get("dtab-local"), c.Dtab)
		same(t, "l5d-ctx-dtab at the endpoint", got.header.Get("l5d-ctx-dtab"), "")
		return
	}
	same(t, "header at the endpoint", "l5d-ctx-dtab: "+got.header.Get("l5d-ctx-dtab"), c.expected(t))
	same(t, "l5d-dtab at the endpoint", got.header.Get("l5d-dtab"), "")
}
