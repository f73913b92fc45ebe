package app

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/admin"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// adminOf is the admin server of an app.
func adminOf(t *testing.T, a *App) string {
	t.Helper()
	s := httptest.NewServer(admin.Handler(admin.Options{
		Metrics: telemetry.New(), Questions: a.Questions(), Extra: map[string]func() any{"/names.json": func() any { return a.Uses() }},
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func ask(t *testing.T, method, url, contentType, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// inCluster is decode for a Mesh that has the namers of a cluster.
func inCluster(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, problem := config.DecodeConfig("test.yaml", []byte(text), config.Cluster)
	if problem != nil {
		t.Fatal(problem)
	}
	return cfg
}

// never is a namer that does not answer.
type never struct{}

func (*never) Lookup(dtab.Path) naming.Live[naming.Tree] { return naming.NewVar[naming.Tree]() }

// /delegator.json tells what requests get, and refuses as Linkerd does.
func TestDelegator(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	web := backend(t, "web")
	port := freeport.Get(t)
	a := start(t, Options{})
	a.namers.assumed = func(dtab.Path, int) naming.Namer { return &never{} }
	text := mesh(port, "/svc/web => 3 * "+inet(web)+" & 1 * $", "/svc/slow => /#/io.l5d.k8s/a/b/c")
	if err := a.Apply(t.Context(), inCluster(t, text)); err != nil {
		t.Fatal(err)
	}
	base := adminOf(t, a) + "/delegator.json"
	for _, c := range []struct {
		method, query, kind, body string
		status                    int
		want                      string
	}{
		{"GET", "?path=/svc/web", "", "", 200, `"share": 0.75`},
		{"GET", "?router=outgoing&path=/svc/web", "", "", 200, `"id": "` + inet(web) + `"`},
		{"GET", "?path=/svc/web&dtab=" + url.QueryEscape("/svc/web => !"), "", "", 200, `"object": "l5d-dtab"`},
		{"POST", "", "application/json; charset=utf-8", `{"namespace":"outgoing","path":"/svc/none","dtab":""}`, 200, `"type": "neg"`},
		{"GET", "?path=svc", "", "", 400, "path:1:1: expected '/', found 's'"},
		{"GET", "", "", "", 400, "path: required"},
		{"GET", "?path=/svc&dtab=/a", "", "", 400, "dtab:1:3: expected "},
		{"GET", "?path=/svc&router=none", "", "", 404, `no router "none"`},
		{"POST", "", "application/json", `{`, 400, "JSON"},
		{"POST", "", "application/json", `{"pth":"/svc"}`, 400, "pth"},
		{"POST", "", "application/dtab", `{"path":"/svc"}`, 415, "application/json"},
		{"POST", "", "application/json", `{"path":"/` + strings.Repeat("a", 40<<10) + `"}`, 413, "at most"},
		{"PUT", "?path=/svc", "", "", 405, "GET, HEAD, POST expected"},
		{"GET", "?path=/svc/slow", "", "", 503, "within 2s"},
	} {
		status, body := ask(t, c.method, base+c.query, c.kind, c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d, %s; want %d with %s", c.method, c.query+c.body[:min(60, len(c.body))], status, body, c.status, c.want)
		}
	}
}

// Names in use come with their requests and shares, and /diff.json tells which of them other rules would move.
func TestNamesAndDiff(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	web, other := backend(t, "web"), backend(t, "other")
	port := freeport.Get(t)
	a := start(t, Options{})
	if err := a.Apply(t.Context(), decode(t, mesh(port, "/svc => "+inet(web)))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for _, host := range []string{"a", "a", "b"} {
		if status, _, _ := get(t, c, port, host); status != 200 {
			t.Fatalf("%s: status %d", host, status)
		}
	}
	base := adminOf(t, a)
	var names map[string][]UseView
	status, body := ask(t, "GET", base+"/names.json", "", "")
	if err := json.Unmarshal([]byte(body), &names); err != nil || status != 200 {
		t.Fatalf("%d, %v", status, err)
	}
	if n := names["outgoing"]; len(n) != 2 || n[0].Name != "/svc/a" || n[0].Leads.Split[0] != (SplitPart{inet(web), 1}) {
		t.Errorf("names %+v", n)
	}
	split := "1 * " + inet(web) + " & 3 * " + inet(other)
	data, err := json.Marshal(CompareQuestion{Router: "outgoing", Rules: []Rule{{Prefix: "/svc", Dst: inet(web)}, {Prefix: "/svc/a", Dst: split}}})
	if err != nil {
		t.Fatal(err)
	}
	var diff Comparison
	status, body = ask(t, "POST", base+"/diff.json", "application/json", string(data))
	if err := json.Unmarshal([]byte(body), &diff); err != nil || status != 200 {
		t.Fatalf("%d, %s, %v", status, body, err)
	}
	if len(diff.Changed) != 1 || diff.Names != 2 || diff.Compared != 2 {
		t.Fatalf("diff %+v", diff)
	}
	d := diff.Changed[0]
	if d.Name != "/svc/a" || math.Abs(d.Moved-0.75) > 1e-9 || len(d.Old.Split) != 1 || len(d.New.Split) != 2 {
		t.Errorf("moved %+v", d)
	}
	if status, body := ask(t, "POST", base+"/diff.json", "application/json", `{"router":"outgoing","rules":[{"prefix":"/svc","dst":"/a |"}]}`); status != 400 ||
		!strings.Contains(body, "rules[0].dst:1:5: ") {
		t.Errorf("bad rules: %d, %s", status, body)
	}
	if status, _ := ask(t, "GET", base+"/diff.json", "", ""); status != 405 {
		t.Errorf("GET of /diff.json: %d", status)
	}
}

func TestMoved(t *testing.T) {
	part := func(id string, share float64) SplitPart { return SplitPart{id, share} }
	for _, c := range []struct {
		old, new Leads
		want     float64
	}{
		{Leads{Outcome: "neg"}, Leads{Outcome: "neg"}, 0},
		{Leads{Outcome: "neg"}, Leads{Outcome: "fail"}, 1},
		{Leads{Outcome: "bound", Split: []SplitPart{part("/a", 1)}}, Leads{Outcome: "neg"}, 1},
		{Leads{Outcome: "bound", Split: []SplitPart{part("/a", 0.9), part("/b", 0.1)}}, Leads{Outcome: "bound", Split: []SplitPart{part("/b", 0.3), part("/a", 0.7)}}, 0.2},
		{Leads{Outcome: "bound", Split: []SplitPart{part("/a", 0.1), part("/b", 0.9)}}, Leads{Outcome: "bound", Split: []SplitPart{part("/b", 0.9), part("/a", 0.1)}}, 0},
	} {
		if got := c.old.Moved(&c.new); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v to %+v moves %g, want %g", c.old, c.new, got, c.want)
		}
	}
}

// A preview tells the names of a configuration whose port is taken, and opens nothing.
func TestPreview(t *testing.T) {
	port := freeport.Get(t)
	a, err := Preview(t.Context(), inCluster(t, mesh(port, "/svc => /$/inet/127.0.0.1/80")), nil)
	if err == nil {
		t.Cleanup(func() { _ = a.Shutdown(context.Background()) })
	}
	if err == nil || !strings.Contains(err.Error(), "needs a cluster") {
		t.Fatalf("a preview without a cluster's namers: %v", err)
	}
	a, err = Preview(t.Context(), inCluster(t, mesh(port, "/svc => /$/inet/127.0.0.1/80")), func(dtab.Path, int) naming.Namer { return &never{} })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Shutdown(context.WithoutCancel(t.Context())) }()
	step, err := a.Delegate(t.Context(), &DelegateQuestion{Path: "/svc/web"})
	if err != nil || step.Delegate == nil || step.Delegate.Bound.Addr.Addrs[0].Addr != netip.MustParseAddrPort("127.0.0.1:80").String() {
		t.Errorf("%+v, %v", step, err)
	}
	if len(a.listeners) != 0 {
		t.Errorf("%d listeners", len(a.listeners))
	}
}
