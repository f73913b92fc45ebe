package app

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// A request may bring rules, but none that turns what it says into an address; the mesh's own may.
func TestRequestsMayNotNameServices(t *testing.T) {
	web := backend(t, "web")
	port := freeport.Get(t)
	a := start(t, Options{})
	text := mesh(port, "/svc/web => "+inet(web), "/svc/own => /#/io.l5d.dnssrv/_http._tcp.own.test") +
		fmt.Sprintf("  namers:\n  - {kind: io.l5d.dnssrv, dnsHosts: [\"127.0.0.1:%d\"]}\n", freeport.Get(t))
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for host, want := range map[string]struct {
		rule, reason string
		status       int
	}{
		"web": {"/svc/web => /#/io.l5d.dnssrv/_http._tcp.evil.test", "dtab-override-address", 403},
		"own": {"/svc/other => /svc/web", "no-binding", 502}, // nobody answers for the name
	} {
		status, _, header := get(t, c, port, host, "l5d-dtab", want.rule)
		message, err := url.QueryUnescape(header.Get("l5d-err"))
		if err != nil || status != want.status || !strings.Contains(message, want.reason) {
			t.Errorf("%s: status %d, l5d-err %q; want %s", host, status, message, want.reason)
		}
	}
}

// A folder that is not there is no error, since it may come; but it is told, once.
func TestMissingFolderIsTold(t *testing.T) {
	var lines []string
	a := start(t, Options{Log: funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})})
	missing, port := filepath.Join(t.TempDir(), "missing"), freeport.Get(t)
	text := mesh(port, "/svc => /#/io.l5d.fs") + fmt.Sprintf("  namers:\n  - {kind: io.l5d.fs, rootDir: %s}\n", missing)
	for range 2 {
		if err := a.Apply(t.Context(), decode(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(lines, "\n"); strings.Count(got, missing) != 1 || !strings.Contains(got, "there is no folder") {
		t.Errorf("logged:\n%s", got)
	}
}

// Namers whose configuration stays are kept over a reload, and the others end.
func TestNamersOverReloads(t *testing.T) {
	store, err := k8s.New(k8s.Options{REST: &rest.Config{Host: "127.0.0.1:1"}, Scope: telemetry.New(), Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OWN_NAMESPACE", "team")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web"), []byte("127.0.0.1 80"), 0o600); err != nil {
		t.Fatal(err)
	}
	resolver := dns.New(dns.Options{})
	defer resolver.Close()
	n := newNamers(Options{Log: logr.Discard(), Metrics: telemetry.New(), Kubernetes: store.Namer}, resolver, newTransformers(store.Namer, "n1"))
	defer n.close()
	list := []v1alpha1.Namer{
		{Kind: v1alpha1.KindNamerK8s, Prefix: "/k", LabelSelector: "version"},
		{Kind: v1alpha1.KindNamerK8sNs, Prefix: "/own", EnvVar: "OWN_NAMESPACE"},
		{Kind: v1alpha1.KindNamerK8sExternal, Prefix: "/ext"},
		{Kind: v1alpha1.KindNamerDNSSRV, Prefix: "/srv", RefreshIntervalSeconds: 5, DNSHosts: []string{"127.0.0.1:1"}},
		{Kind: v1alpha1.KindNamerFs, Prefix: "/fs", RootDir: dir},
	}
	first, err := n.mounts(list)
	if err != nil {
		t.Fatal(err)
	}
	addresses := 0
	for _, m := range first {
		if m.Address {
			addresses++
		}
	}
	if addresses != 4 {
		t.Errorf("%d namers of addresses, want inet, fixedinet, rinet and dnssrv", addresses)
	}
	list[3].DNSHosts = []string{"127.0.0.2:1"}
	second, err := n.mounts(list)
	if err != nil {
		t.Fatal(err)
	}
	n.keep(list)
	for i := range first {
		if same, want := first[i].Namer == second[i].Namer, second[i].Prefix.String() != "/#/srv"; same != want {
			t.Errorf("%s is the same over a reload: %v", second[i].Prefix, same)
		}
	}
	if len(n.made) != len(list) {
		t.Errorf("%d namers kept of %d", len(n.made), len(list))
	}
	list[1].EnvVar = "NO_SUCH_VARIABLE"
	if _, err := n.mounts(list); err == nil || !strings.Contains(err.Error(), "spec.namers[1]: kind io.l5d.k8s.ns: environment variable NO_SUCH_VARIABLE is not set") {
		t.Errorf("without the variable: %v", err)
	}
}

// A bad file is in the log, with its line and what was expected, and counted for its namer.
func TestBadFilesAreLoggedAndCounted(t *testing.T) {
	dir, metrics := t.TempDir(), telemetry.New()
	if err := os.WriteFile(filepath.Join(dir, "web"), []byte("127.0.0.1 80\n127.0.0.1 http\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	resolver := dns.New(dns.Options{})
	defer resolver.Close()
	var lines []string
	log := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	n := newNamers(Options{Log: log, Metrics: metrics}, resolver, newTransformers(nil, ""))
	mounts, err := n.mounts([]v1alpha1.Namer{{Kind: v1alpha1.KindNamerFs, Prefix: "/io.l5d.fs", RootDir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	live := mounts[len(mounts)-1].Namer.Lookup(dtab.Path{"web"})
	live.Close()
	n.close()
	count := metrics.Scope("namer", "io.l5d.fs").Counter("bad_files").Value()
	if len(lines) != 1 || count != 1 || !strings.Contains(lines[0], "web:2: expected <host> <port>") {
		t.Errorf("logged %q, %d counted", lines, count)
	}
}
