package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/route"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestOverridesOfARequest: rules of a request win, the caller's own last; those that are refused say why, each with its own reason.
func TestOverridesOfARequest(t *testing.T) {
	v1, v2 := backend(t, "v1"), backend(t, "v2")
	port := freeport.Get(t)
	a := start(t, Options{})
	text := mesh(port, "/host => /$/inet", "/srv/v1 => "+inet(v1), "/srv/v2 => "+inet(v2), "/svc/web => /srv/v1", "/svc/safe => /srv/v2/safe")
	text = strings.Replace(text, "bindingTimeoutMs", "maxHeadersKB: 32\n    bindingTimeoutMs", 1)
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	host := "/host" + strings.TrimPrefix(inet(v2), "/$/inet")
	c := client(t)
	for _, test := range []struct {
		name    string
		headers []string
		status  int
		body    string
		// dtab is what the endpoint gets as l5d-ctx-dtab, and no l5d-dtab beside it.
		dtab string
	}{
		{"none", nil, 200, "v1", ""},
		{"l5d-dtab", []string{"l5d-dtab", "/svc/web => /srv/v2"}, 200, "v2", "/svc/web=>/srv/v2"},
		{"context", []string{"l5d-ctx-dtab", "/svc/web => /srv/v2"}, 200, "v2", "/svc/web=>/srv/v2"},
		{"l5d-dtab wins over the context", []string{"l5d-dtab", "/svc/web => /srv/v1", "l5d-ctx-dtab", "/svc/web => /srv/v2"},
			200, "v1", "/svc/web=>/srv/v2;/svc/web=>/srv/v1"},
		{"the last line wins", []string{"l5d-dtab", "/svc/web => /srv/v2;", "l5d-dtab", "/a => /b ; /svc/web => /srv/v1"},
			200, "v1", "/svc/web=>/srv/v2;/a=>/b;/svc/web=>/srv/v1"},
		{"one that leads nowhere falls back", []string{"l5d-dtab", "/svc/web => /srv/v3"}, 200, "v1", "/svc/web=>/srv/v3"},
		{"blanks and a comment", []string{"l5d-dtab", "# nothing"}, 200, "v1", ""},
		{"empty", []string{"l5d-dtab", "", "l5d-ctx-dtab", ""}, 200, "v1", ""},
		{"dtab-local is not ours", []string{"dtab-local", "/svc/web => /srv/v2"}, 200, "v1", ""},
		{"syntax", []string{"l5d-dtab", "/svc/web =>"}, 400,
			"bad-dtab-override: l5d-dtab:1:12: expected a path, '~', '!', '$' or '(', found end of input", ""},
		{"syntax of the context", []string{"l5d-ctx-dtab", "/svc/web -> /a", "l5d-dtab", "/a => /b"}, 400,
			"bad-dtab-override: l5d-ctx-dtab:1:10: expected ", ""},
		{"syntax of the second line", []string{"l5d-dtab", "/a => /b", "l5d-dtab", "| /c"}, 400,
			"bad-dtab-override: l5d-dtab:2:1: expected '/', found '|'", ""},
		{"too long", []string{"l5d-ctx-dtab", strings.Repeat(" ", 5000) + "/a", "l5d-dtab", "/a => /" + strings.Repeat("b", maxOverrideBytes)}, 400,
			"dtab-override-too-large: l5d-ctx-dtab and l5d-dtab hold more than 8192 bytes", ""},
		{"long", []string{"l5d-dtab", "/a => /" + strings.Repeat("b", maxOverrideBytes-7)}, 200, "v1", "/a=>/" + strings.Repeat("b", maxOverrideBytes-7)},
		{"too many rules", []string{"l5d-ctx-dtab", strings.Repeat("/a=>/b;", 60), "l5d-dtab", strings.Repeat("/a=>/b;", 41)}, 400,
			"dtab-override-too-many-rules: l5d-ctx-dtab and l5d-dtab hold more than 100 rules", ""},
		{"many rules", []string{"l5d-ctx-dtab", strings.Repeat("/a=>/b;", 60), "l5d-dtab", strings.Repeat("/a=>/b;", 40)}, 200, "v1",
			strings.TrimSuffix(strings.Repeat("/a=>/b;", 100), ";")},
		{"an address", []string{"l5d-dtab", "/svc/web => " + inet(v2)}, 403, "dtab-override-address: " + inet(v2) + ": ", ""},
		{"an address in the context", []string{"l5d-ctx-dtab", "/svc/web => " + inet(v2)}, 403, "dtab-override-address: ", ""},
		{"an address through a rule of the mesh", []string{"l5d-dtab", "/svc/web => " + host}, 403, "dtab-override-address: ", ""},
		{"an address in two steps", []string{"l5d-dtab", "/svc/web => /x; /x => " + inet(v2)}, 403, "dtab-override-address: ", ""},
		{"an address as a way out", []string{"l5d-dtab", "/svc/web => /srv/v3 | " + inet(v2)}, 403, "dtab-override-address: ", ""},
		{"too many look-ups", []string{"l5d-dtab", fanOut(9)}, 400, "dtab-override-too-many-lookups: ", ""},
		{"max depth", []string{"l5d-dtab", "/svc/web => /svc/web"}, 502, "max-depth: /svc/web: max recursion level: 100 reached", ""},
	} {
		status, body, header := get(t, c, port, "web", test.headers...)
		if status != test.status || !strings.HasPrefix(body, test.body) {
			t.Errorf("%s: %d %q, want %d %q", test.name, status, body, test.status, test.body)
		}
		if got := header.Get("X-Dtab"); got != test.dtab {
			t.Errorf("%s: the endpoint got the rules %q, want %q in l5d-ctx-dtab alone", test.name, got, test.dtab)
		}
		if reason, _, _ := strings.Cut(test.body, ":"); status != 200 && !strings.HasPrefix(header.Get("l5d-err"), reason) {
			t.Errorf("%s: l5d-err %q", test.name, header.Get("l5d-err"))
		}
	}
}

// fanOut is rules whose look-ups double at each of n steps.
func fanOut(n int) string {
	var b strings.Builder
	b.WriteString("/svc/web => /0")
	for i := range n {
		fmt.Fprintf(&b, "; /%d => /%d & /%d", i, i+1, i+1)
	}
	return b.String()
}

// TestAddressOverridesMayBeAllowed: the key changes it for its router alone, and live.
func TestAddressOverridesMayBeAllowed(t *testing.T) {
	v1, v2 := backend(t, "v1"), backend(t, "v2")
	port := freeport.Get(t)
	a := start(t, Options{})
	text := mesh(port, "/svc/web => "+inet(v1))
	c := client(t)
	for _, step := range []struct {
		allow  bool
		status int
		body   string
	}{{false, 403, "dtab-override-address"}, {true, 200, "v2"}, {false, 403, "dtab-override-address"}} {
		edited := strings.Replace(text, "bindingTimeoutMs", fmt.Sprintf("allowAddressOverrides: %v\n    bindingTimeoutMs", step.allow), 1)
		if err := a.Apply(t.Context(), decode(t, edited)); err != nil {
			t.Fatal(err)
		}
		if status, body, _ := get(t, c, port, "web", "l5d-dtab", "/svc/web => "+inet(v2)); status != step.status || !strings.HasPrefix(body, step.body) {
			t.Errorf("allowed %v: %d %q", step.allow, status, body)
		}
	}
}

// TestManyNamesWithOverrides: any number of requests with rules of their own is served, and costs room for a bounded number of names. A
// request that loses its place before its name was bound is told at once.
func TestManyNamesWithOverrides(t *testing.T) {
	web := backend(t, "web")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // a name server that does not answer
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	port := freeport.Get(t)
	metrics := telemetry.New()
	a := start(t, Options{Metrics: metrics})
	text := strings.Replace(mesh(port, "/svc/web => "+inet(web), "/svc/slow => /#/io.l5d.dnssrv/_http._tcp.slow.test"), "Ms: 2000", "Ms: 20000", 1) +
		fmt.Sprintf("  namers:\n  - {kind: io.l5d.dnssrv, dnsHosts: [%q]}\n", silent.LocalAddr())
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	lost := make(chan string, 1)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		slow := client(t)
		for i := 0; ; i++ {
			status, body, _ := get(t, slow, port, "slow", "l5d-dtab", fmt.Sprintf("/slow%d => /b", i))
			if !strings.HasPrefix(body, "binding-error") { // the namer gave up before the name lost its place
				lost <- fmt.Sprint(status, " ", body)
				return
			}
		}
	})
	t.Cleanup(waiting.Wait)
	metric := func(name string) float64 { return metricOf(t, metrics, "rt/outgoing/bindcache/path/"+name) }
	for deadline := time.Now().Add(10 * time.Second); metric("overrides") != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the slow name was never asked for")
		}
	}
	sent, told := 0, false
	for ; sent < route.MaxLocal+200 || !told; sent++ { // who goes is drawn, so that it may take a while
		if status, body, _ := get(t, c, port, "web", "l5d-dtab", fmt.Sprintf("/x%d => /y", sent)); status != 200 {
			t.Fatalf("request %d: %d %q", sent, status, body)
		}
		select {
		case got := <-lost:
			told = true
			if !strings.HasPrefix(got, "503 dtab-override-too-many-names: ") {
				t.Errorf("the request that lost its place: %s", got)
			}
		default:
		}
		if sent > 50*route.MaxLocal {
			t.Fatal("the slow name never lost its place")
		}
	}
	if names, evicts := metric("overrides"), metric("override_evicts"); names != route.MaxLocal || evicts <= float64(sent-route.MaxLocal) {
		t.Errorf("%v names with rules of their own are kept, %v were evicted; want %d and more than %d", names, evicts, route.MaxLocal, sent-route.MaxLocal)
	}
}

// metricOf returns the value of a metric by its flat name.
func metricOf(t *testing.T, tree *telemetry.Tree, name string) float64 {
	t.Helper()
	var b bytes.Buffer
	if err := tree.WriteJSON(&b, ""); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	if err := json.Unmarshal(b.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	return all[name]
}

// TestRefusalsAreCounted: by their reason, apart from the failures of services.
func TestRefusalsAreCounted(t *testing.T) {
	port := freeport.Get(t)
	metrics := telemetry.New()
	a := start(t, Options{Metrics: metrics})
	if err := a.Apply(t.Context(), decode(t, mesh(port, "/svc/web => /x"))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for range 3 {
		get(t, c, port, "web", "l5d-dtab", "bad")
	}
	get(t, c, port, "web", "l5d-dtab", "/x => /$/inet/10.0.0.1/80")
	server := fmt.Sprintf("rt/outgoing/server/127.0.0.1/%d/", port)
	for name, want := range map[string]float64{"refused/bad-dtab-override": 3, "refused/dtab-override-address": 1, "failures": 0, "status/4XX": 4} {
		for deadline := time.Now().Add(5 * time.Second); metricOf(t, metrics, server+name) != want; {
			if time.Now().After(deadline) { // a request is counted when its last byte was sent
				t.Fatalf("%s is %v, want %v", name, metricOf(t, metrics, server+name), want)
			}
		}
	}
}
