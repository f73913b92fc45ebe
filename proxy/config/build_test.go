package config_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

func accepted(namespace, name, router string, priority int32, rules string) *config.Dtab {
	d, err := dtab.Parse(rules)
	if err != nil {
		panic(err)
	}
	return &config.Dtab{
		Namespace: namespace, Name: name, UID: namespace + name, Generation: 1, Router: router, Priority: priority, Dentries: dtab.RulesOf(d),
	}
}

func TestBuildOrder(t *testing.T) {
	mesh, err := decodeMesh(t, "  {}", config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	dtabs := []*config.Dtab{
		accepted("a", "a", "outgoing", -1, "/x => /first"),
		accepted("a", "b", "outgoing", 0, "/x => /second"),
		accepted("a", "c", "incoming", 0, "/x => /in"),
		accepted("b", "a", "outgoing", 0, "/x => /third; /y => /fourth"),
		accepted("a", "a", "outgoing", 1, "/x => /last"),
	}
	want := "/host=>/#/nsSvc/default;/host=>/#/nsSvc;/svc=>/$/io.buoyant.http.domainToPathPfx/host;" +
		"/x=>/first;/x=>/second;/x=>/third;/y=>/fourth;/x=>/last"
	for range 20 {
		shuffled := slices.Clone(dtabs)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		given := slices.Clone(shuffled)
		cfg, refused := config.Build(mesh, shuffled)
		if got := cfg.Routers[0].Effective().String(); got != want || len(refused) != 0 {
			t.Fatalf("got %s, %v, want %s", got, refused, want)
		}
		if got := len(cfg.Routers[1].Effective()); got != 4 {
			t.Errorf("incoming has %d rules", got)
		}
		if mesh.Routers[0].Dtab.Len() != 3 || !slices.Equal(given, shuffled) || !slices.Equal(cfg.Dtabs, dtabs) {
			t.Error("what was given changed, or Config.Dtabs has another order")
		}
	}
}

func TestBuildLimit(t *testing.T) {
	mesh, err := decodeMesh(t, "  {}", config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	var dtabs []*config.Dtab
	for i := range 125 {
		d := accepted("a", fmt.Sprintf("d%03d", i), "outgoing", 0, "/x=>/y")
		d.Dentries = dtab.RulesOf(slices.Repeat(d.Dentries.Dtab(), config.MaxDentriesPerDtab))
		dtabs = append(dtabs, d)
	}
	small := accepted("a", "e", "outgoing", 0, "/x=>/y")
	cfg, refused := config.Build(mesh, append(dtabs, small)) // 6 base rules + 250,000 + 1
	if len(cfg.Dtabs) != 124 || len(cfg.Routers[0].Effective()) != 3+248000 {
		t.Errorf("%d Dtabs and %d rules are served", len(cfg.Dtabs), len(cfg.Routers[0].Effective()))
	}
	if len(refused) != 2 || refused[0].Name != "d124" || refused[1].Name != "e" || refused[1].Err.Reason != v1alpha1.ReasonTooManyDentries {
		t.Errorf("refused: %+v", refused)
	}
	full, _ := config.Build(mesh, dtabs[:124])
	if full.Revision != cfg.Revision {
		t.Error("a refused Dtab is in the revision")
	}
}

func TestRevision(t *testing.T) {
	a, b := config.Member{UID: "a", Generation: 1}, config.Member{UID: "b", Generation: 2}
	base := config.Revision([]config.Member{a, b})
	if len(base) != 16 || base != config.Revision([]config.Member{b, a}) {
		t.Errorf("%s depends on the order", base)
	}
	seen := map[string]string{base: "base"}
	for name, members := range map[string][]config.Member{
		"none":             nil,
		"fewer":            {a},
		"other generation": {a, {UID: "b", Generation: 3}},
		"other uid":        {a, {UID: "c", Generation: 2}},
		"digits move":      {{UID: "a1", Generation: 1}, {UID: "b", Generation: 2}},
		"swapped":          {{UID: "a", Generation: 2}, {UID: "b", Generation: 1}},
	} {
		got := config.Revision(members)
		if other, ok := seen[got]; ok || len(got) != 16 {
			t.Errorf("%s has the revision of %s: %s", name, other, got)
		}
		seen[got] = name
	}
	// Operator and proxy may be of different versions: the function must never change.
	if got := config.Revision(nil); got != "e3b0c44298fc1c14" {
		t.Errorf("the empty set has the revision %s", got)
	}
	if base != "1a04f75bd0704a1e" {
		t.Errorf("revision changed to %s", base)
	}
}

func TestServiceForAndClientFor(t *testing.T) {
	mesh, err := decodeMesh(t, `
  routers:
  - name: r
    servers: [{port: 80}]
    services:
    - {prefix: /svc, totalTimeoutMs: 1000}
    - {prefix: /svc/*/slow, totalTimeoutMs: 9000}
    - {prefix: /svc/web}
    clients:
    - {prefix: /, loadBalancer: {kind: p2c, maxEffort: 3}, hostConnectionPool: {maxSize: 7}, requestAttemptTimeoutMs: 10, responseIdleTimeoutMs: 5}
    - {prefix: "/#/io.l5d.k8s/*/http/web", requestAttemptTimeoutMs: 20}
    - {prefix: "/%/io.l5d.port/4141", requestAttemptTimeoutMs: 30}
`, config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	r := &mesh.Routers[0]
	for name, want := range map[string]time.Duration{
		"/svc/web": time.Second, "/svc/web/slow/x": 9 * time.Second, "/svc": time.Second, "/host/web": 0, "/": 0,
	} {
		path, _ := dtab.ParsePath(name)
		if got := r.ServiceFor(path).TotalTimeout; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for id, want := range map[string]time.Duration{
		"/#/io.l5d.k8s/prod/http/web": 20 * time.Millisecond, "/$/inet/a/1": 10 * time.Millisecond,
		"/%/io.l5d.k8s.daemonset/fairlead/incoming/demo-proxy/#/io.l5d.k8s/prod/http/web": 20 * time.Millisecond,
		"/%/io.l5d.port/4141/%/io.l5d.localhost/#/io.l5d.k8s/prod/http/web":               30 * time.Millisecond,
		"/%/io.l5d.localhost/$/inet/a/1":                                                  10 * time.Millisecond,
	} {
		path, _ := dtab.ParsePath(id)
		if got := r.ClientFor(path); got.AttemptTimeout != want || got.LoadBalancer != (config.LoadBalancer{Kind: "p2c", MaxEffort: 3}) || got.MaxPerEndpoint != 7 ||
			got.ResponseIdleTimeout != 5*time.Millisecond {
			t.Errorf("%s: %+v, want %v", id, got, want)
		}
	}
}
