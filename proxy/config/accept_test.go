package config_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// mesh returns a Mesh whose spec is the given YAML, indented by two.
func decodeMesh(t *testing.T, spec string, env config.Environment) (*config.Mesh, *config.Error) {
	t.Helper()
	text := "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: demo, namespace: fairlead}\nspec:\n" + spec
	docs, err := config.Decode("f", []byte(text), env)
	if err != nil {
		return nil, err
	}
	return config.AcceptMesh(docs.Meshes[0], env)
}

func TestAcceptMeshDefaults(t *testing.T) {
	for _, c := range []struct {
		env       config.Environment
		ip        string
		namers    int
		addresses []string
	}{
		{config.Cluster, "0.0.0.0", 2, []string{"0.0.0.0:4140", "0.0.0.0:4141"}},
		{config.Standalone, "127.0.0.1", 0, []string{"127.0.0.1:4140", "127.0.0.1:4141"}},
	} {
		m, err := decodeMesh(t, "  {}", c.env)
		if err != nil {
			t.Fatal(err)
		}
		var addresses []string
		for _, r := range m.Routers {
			addresses = append(addresses, r.Servers[0].Addr)
		}
		if !slices.Equal(addresses, c.addresses) || m.Spec.Admin.IP != c.ip || len(m.Spec.Namers) != c.namers {
			t.Errorf("env %d: %v, admin %s, %d namers", c.env, addresses, m.Spec.Admin.IP, len(m.Spec.Namers))
		}
		out := m.Routers[0]
		if out.Name != "outgoing" || out.Dtab.Len() != 3 || out.DstPrefix.String() != "/svc" || out.MaxHeaderBytes != 8<<10 ||
			out.Identifiers[0].Normalize != "KubernetesHost" || out.Servers[0].MaxConnections != 10000 {
			t.Errorf("router: %+v", out)
		}
		for i, want := range [][]v1alpha1.Transformer{
			{{Kind: "io.l5d.k8s.daemonset", Namespace: "fairlead", Service: "demo-proxy", Port: &intstr.IntOrString{Type: intstr.String, StrVal: "incoming"}}},
			{{Kind: "io.l5d.k8s.localnode", Fallback: true}},
		} {
			if c.env == config.Standalone {
				want = nil
			}
			if got := m.Routers[i]; !reflect.DeepEqual(got.Transformers, want) || got.IsLocal() != (i == 1 && want != nil) {
				t.Errorf("env %d: transformers of %s: %+v", c.env, got.Name, got.Transformers)
			}
		}
		if len(m.Object.Spec.Routers) != 0 {
			t.Error("the object to keep has defaults in it")
		}
	}
}

func TestAcceptMeshRefuses(t *testing.T) {
	router := func(rest string) string { return "  routers:\n  - {name: r, servers: [{port: 4140}], " + rest + "}" }
	client := func(rest string) string { return router("clients: [{prefix: /, " + rest + "}]") }
	transformers := func(list string) string { return router("interpreter: {transformers: [" + list + "]}") }
	for _, c := range []struct {
		name, spec string
		env        config.Environment
		want       string
	}{
		{"identity", "  identity: {a: [1]}", config.Cluster, "spec.identity: identity is not supported yet"},
		{"server tls", "  routers: [{name: r, servers: [{port: 1, tls: {}}]}]", config.Cluster,
			"spec.routers[0].servers[0].tls: tls is not supported yet"},
		{"client tls", router("clients: [{prefix: /, tls: {a: b}}]"), config.Cluster,
			"spec.routers[0].clients[0].tls: tls is not supported yet"},
		{"sidecar", "  proxy: {mode: Sidecar}", config.Cluster,
			"spec.proxy.mode: mode Sidecar is not supported yet; DaemonSet is"},
		{"namespaces of Same", "  dtabs: {namespaces: [{name: a, prefixes: [/svc/a]}]}", config.Cluster,
			"spec.dtabs: namespaces needs from: List"},
		{"a time without failover", router("failoverAfterMs: 100"), config.Cluster,
			"spec.routers[0].failover: failoverAfterMs and failbackAfterMs need failover: Unhealthy"},
		{"another failover", router("failover: Neg, failbackAfterMs: 100"), config.Cluster,
			"spec.routers[0].failover: failoverAfterMs and failbackAfterMs need failover: Unhealthy"},
		{"prefix of a namespace", "  dtabs: {from: List, namespaces: [{name: a, prefixes: [svc]}]}", config.Cluster,
			"spec.dtabs.namespaces[0].prefixes[0]:1:1: expected '/', found 's'"},
		{"key of another kind", "  namers: [{kind: io.l5d.k8s, rootDir: /disco}]", config.Cluster,
			"spec.namers[0].rootDir: key rootDir does not belong to kind io.l5d.k8s"},
		{"transformer of another kind's key", transformers("{kind: io.l5d.localhost, fallback: true}"), config.Cluster,
			"spec.routers[0].interpreter.transformers[0].fallback: key fallback does not belong to kind io.l5d.localhost"},
		{"transformer without its key", "  namers: [{kind: io.l5d.k8s, transformers: [{kind: io.l5d.specificHost}]}]", config.Cluster,
			"spec.namers[0].transformers[0].host: required for kind io.l5d.specificHost"},
		{"transformer to a name", transformers("{kind: io.l5d.specificHost, host: web}"), config.Cluster,
			`spec.routers[0].interpreter.transformers[0].host: expected an IP address, found "web"`},
		{"transformer to a port by name", transformers("{kind: io.l5d.port, port: http}"), config.Cluster,
			`spec.routers[0].interpreter.transformers[0].port: expected an integer from 1 to 65535, found the string "http"`},
		{"transformer to no port", transformers("{kind: io.l5d.k8s.daemonset, port: 65536}"), config.Cluster,
			"spec.routers[0].interpreter.transformers[0].port: expected an integer from 1 to 65535, found 65536"},
		{"transformer to no port's name", transformers("{kind: io.l5d.k8s.daemonset, port: In}"), config.Cluster,
			`spec.routers[0].interpreter.transformers[0].port: expected the name or the number of a port, found "In"`},
		{"transformer to no Service", transformers("{kind: io.l5d.k8s.daemonset, service: a.b}"), config.Cluster,
			`spec.routers[0].interpreter.transformers[0].service: expected a DNS label (small letters, digits and '-'), found "a.b"`},
		{"transformer into the dtab", transformers("{kind: io.l5d.const, path: /svc/web}"), config.Cluster,
			`spec.routers[0].interpreter.transformers[0].path: expected a name of a namer (/$/... or /#/...), found "/svc/web"`},
		{"transformer to no path", transformers("{kind: io.l5d.replace, path: web}"), config.Cluster,
			"spec.routers[0].interpreter.transformers[0].path:1:1: expected '/', found 'w'"},
		{"hops standalone", transformers("{kind: io.l5d.k8s.daemonset}"), config.Standalone,
			"spec.routers[0].interpreter.transformers[0].kind: io.l5d.k8s.daemonset needs a cluster"},
		{"local nodes standalone", transformers("{kind: io.l5d.k8s.localnode}"), config.Standalone,
			"spec.routers[0].interpreter.transformers[0].kind: io.l5d.k8s.localnode needs a cluster"},
		{"a hop to itself", transformers("{kind: io.l5d.k8s.daemonset, port: r}"), config.Cluster,
			`spec.routers[0].interpreter.transformers: router "r" sends requests by way of the proxies of this mesh to itself: a loop`},
		{"a hop to itself by number", transformers("{kind: io.l5d.k8s.daemonset, namespace: fairlead, service: demo-proxy, port: 4140}"), config.Cluster,
			`spec.routers[0].interpreter.transformers: router "r" sends requests by way of the proxies of this mesh to itself: a loop`},
		{"hops in a circle", "  routers:\n  - {name: a, servers: [{port: 1}], interpreter: {transformers: [{kind: io.l5d.k8s.daemonset, port: b-2}]}}\n" +
			"  - {name: b, servers: [{port: 2}, {port: 3}], interpreter: {transformers: [{kind: io.l5d.k8s.daemonset, port: a}]}}", config.Cluster,
			`spec.routers[0].interpreter.transformers: router "a" sends requests by way of the proxies of this mesh to itself: a loop` + "\n" +
				`spec.routers[1].interpreter.transformers: router "b" sends requests by way of the proxies of this mesh to itself: a loop`},
		{"exact of another kind", "  namers: [{kind: io.l5d.fs, rootDir: /disco, exact: true}]", config.Cluster,
			"spec.namers[0].exact: key exact does not belong to kind io.l5d.fs"},
		{"fs without rootDir", "  namers: [{kind: io.l5d.fs}]", config.Cluster, "spec.namers[0].rootDir: required for kind io.l5d.fs"},
		{"rewrite without keys", "  namers: [{kind: io.l5d.rewrite}]", config.Cluster,
			"spec.namers[0].pattern: required for kind io.l5d.rewrite\nspec.namers[0].name: required for kind io.l5d.rewrite"},
		{"rewrite with a typo", `  namers: [{kind: io.l5d.rewrite, pattern: "/{ns}/{svc}", name: "/#/a/{nss}"}]`, config.Cluster,
			`spec.namers[0].name: {nss} is not in pattern "/{ns}/{svc}", did you mean "ns"?`},
		{"rewrite without end", `  namers: [{kind: io.l5d.rewrite, pattern: "/a/{ns", name: "/#/a"}]`, config.Cluster,
			"spec.namers[0].pattern:1:4: expected a name and '}' after '{'"},
		{"rewrite pattern", `  namers: [{kind: io.l5d.rewrite, pattern: "/{ns}//", name: "/#/a"}]`, config.Cluster,
			"spec.namers[0].pattern:1:7: expected a label character, found '/'"},
		{"rewrite with a blank", `  namers: [{kind: io.l5d.rewrite, pattern: "/{ns}/ ", name: "/#/a"}]`, config.Cluster,
			"spec.namers[0].pattern:1:7: expected a path without blanks"},
		{"rewrite with a comment", `  namers: [{kind: io.l5d.rewrite, pattern: "/*#a", name: "/#/a"}]`, config.Cluster,
			"spec.namers[0].pattern:1:3: expected '/' or the end after '*'"},
		{"root as prefix of a namer", "  namers: [{kind: io.l5d.k8s, prefix: /}]", config.Cluster,
			`spec.namers[0].prefix: expected at least one element, found "/"`},
		{"namer prefix with its place", "  namers: [{kind: io.l5d.k8s, prefix: '/#/web'}]", config.Cluster,
			`spec.namers[0].prefix: expected it without /#, which stands before it anyway, found "/#/web"`},
		{"keys of other kinds", "  namers: [{kind: io.l5d.k8s.external, labelSelector: a, envVar: A, refreshIntervalSeconds: 1, dnsHosts: [a]}]",
			config.Cluster, "spec.namers[0].labelSelector: key labelSelector does not belong to kind io.l5d.k8s.external\n" +
				"spec.namers[0].envVar: key envVar does not belong to kind io.l5d.k8s.external\n" +
				"spec.namers[0].refreshIntervalSeconds: key refreshIntervalSeconds does not belong to kind io.l5d.k8s.external\n" +
				"spec.namers[0].dnsHosts: key dnsHosts does not belong to kind io.l5d.k8s.external"},
		{"label that is none", "  namers: [{kind: io.l5d.k8s, labelSelector: a=b}]", config.Cluster,
			`spec.namers[0].labelSelector: expected the key of a label, found "a=b": `},
		{"variable that is none", "  namers: [{kind: io.l5d.k8s.ns, envVar: a=b}]", config.Cluster,
			`spec.namers[0].envVar: expected the name of an environment variable, found "a=b": `},
		{"name servers that are none", `  namers: [{kind: io.l5d.dnssrv, dnsHosts: ["a:b", "a:0", "a b", "[::1", "::1", "[::1]:53"]}]`, config.Cluster,
			`spec.namers[0].dnsHosts[0]: expected a port from 1 to 65535, found "b"` + "\n" +
				`spec.namers[0].dnsHosts[1]: expected a port from 1 to 65535, found "0"` + "\n" +
				`spec.namers[0].dnsHosts[2]: expected a host or host:port, found "a b"` + "\n" +
				`spec.namers[0].dnsHosts[3]: expected a host or host:port, found "[::1"`},
		{"k8s.ns standalone", "  namers: [{kind: io.l5d.k8s.ns}]", config.Standalone, "spec.namers[0].kind: io.l5d.k8s.ns needs a cluster"},
		{"k8s standalone", "  namers: [{kind: io.l5d.k8s}]", config.Standalone, "spec.namers[0].kind: io.l5d.k8s needs a cluster"},
		{"same port", "  routers: [{name: a, servers: [{port: 80}]}, {name: b, servers: [{port: 80}]}]", config.Cluster,
			"spec.routers[1].servers[0].port: 0.0.0.0:80 is already taken by spec.routers[0].servers[0] (0.0.0.0:80)"},
		{"any address and one", `  routers: [{name: a, servers: [{port: 80, ip: 127.0.0.1}, {port: 80, ip: "::"}]}]`, config.Cluster,
			"spec.routers[0].servers[1].port: [::]:80 is already taken by spec.routers[0].servers[0] (127.0.0.1:80)"},
		{"mapped address", `  routers: [{name: a, servers: [{port: 80, ip: 127.0.0.1}, {port: 80, ip: "::ffff:127.0.0.1"}]}]`, config.Cluster,
			"spec.routers[0].servers[1].port: 127.0.0.1:80 is already taken by spec.routers[0].servers[0] (127.0.0.1:80)"},
		{"admin port", "  admin: {port: 80}\n  routers: [{name: a, servers: [{port: 80}]}]", config.Standalone,
			"spec.routers[0].servers[0].port: 127.0.0.1:80 is already taken by spec.admin (127.0.0.1:80)"},
		{"not an address", "  routers: [{name: a, servers: [{port: 80, ip: localhost}]}]", config.Cluster,
			`spec.routers[0].servers[0].ip: expected an IP address, found "localhost"`},
		{"header", router("identifiers: [{kind: io.l5d.header.token, header: 'a b'}]"), config.Cluster,
			`spec.routers[0].identifiers[0].header: expected the name of a header, found "a b"`},
		{"identifier", router("identifiers: [{kind: io.l5d.ingress}]"), config.Cluster,
			"spec.routers[0].identifiers[0].kind: expected io.l5d.header.token, io.l5d.header, io.l5d.path, io.l5d.methodAndHost or " +
				"io.l5d.static, found \"io.l5d.ingress\""},
		{"normalize of another kind", router("identifiers: [{kind: io.l5d.header, normalize: KubernetesHost}]"), config.Cluster,
			"spec.routers[0].identifiers[0].normalize: key normalize does not belong to kind io.l5d.header, but to io.l5d.header.token"},
		{"header of another kind", router("identifiers: [{kind: io.l5d.path, header: Host}]"), config.Cluster,
			"spec.routers[0].identifiers[0].header: key header does not belong to kind io.l5d.path, but to io.l5d.header.token or io.l5d.header"},
		{"path of another kind", router("identifiers: [{kind: io.l5d.path, path: /a}]"), config.Cluster,
			"spec.routers[0].identifiers[0].path: key path does not belong to kind io.l5d.path, but to io.l5d.static"},
		{"segments of another kind", router("identifiers: [{kind: io.l5d.static, path: /a, segments: 1, consume: true}]"), config.Cluster,
			"spec.routers[0].identifiers[0].segments: key segments does not belong to kind io.l5d.static, but to io.l5d.path\n" +
				"spec.routers[0].identifiers[0].consume: key consume does not belong to kind io.l5d.static, but to io.l5d.path"},
		{"httpUriInDst of another kind", router("identifiers: [{kind: io.l5d.header.token, httpUriInDst: true}]"), config.Cluster,
			"spec.routers[0].identifiers[0].httpUriInDst: key httpUriInDst does not belong to kind io.l5d.header.token, but to io.l5d.methodAndHost"},
		{"static without path", router("identifiers: [{kind: io.l5d.static}]"), config.Cluster,
			"spec.routers[0].identifiers[0].path: required for kind io.l5d.static"},
		{"static path", router("identifiers: [{kind: io.l5d.static, path: /a/}]"), config.Cluster,
			"spec.routers[0].identifiers[0].path:1:4: expected a label character, found end of input"},
		{"segments", router("identifiers: [{kind: io.l5d.path, segments: 65}]"), config.Cluster,
			"spec.routers[0].identifiers[0].segments: expected an integer from 1 to 64, found 65"},
		{"dstPrefix", router("dstPrefix: /a/*"), config.Cluster,
			"spec.routers[0].dstPrefix:1:4: expected a label character, found '*'"},
		{"keys of other balancers", client("loadBalancer: {kind: heap, maxEffort: 2, decayTimeMs: 1, minAperture: 1}"), config.Cluster,
			"spec.routers[0].clients[0].loadBalancer.maxEffort: key maxEffort does not belong to kind heap, but to ewma, p2c, aperture or roundRobin\n" +
				"spec.routers[0].clients[0].loadBalancer.decayTimeMs: key decayTimeMs does not belong to kind heap, but to ewma\n" +
				"spec.routers[0].clients[0].loadBalancer.minAperture: key minAperture does not belong to kind heap, but to aperture"},
		{"loads", client("loadBalancer: {kind: aperture, lowLoad: 2}"), config.Cluster,
			"spec.routers[0].clients[0].loadBalancer.lowLoad: expected less than highLoad, 2, found 2"},
		{"load of a word", client("loadBalancer: {kind: aperture, lowLoad: half}"), config.Cluster,
			`f:6:102: spec.routers[0].clients[0].loadBalancer.lowLoad: expected a number, as in 0.5, found the string "half"`},
		{"load of nothing", client("loadBalancer: {kind: aperture, lowLoad: 0}"), config.Cluster,
			"f:6:102: spec.routers[0].clients[0].loadBalancer.lowLoad: expected a number from 0.01 to 1000, found 0"},
		{"accrual without its keys", client("failureAccrual: {kind: io.l5d.successRate, failures: 3}"), config.Cluster,
			"spec.routers[0].clients[0].failureAccrual.failures: key failures does not belong to kind io.l5d.successRate, but to io.l5d.consecutiveFailures\n" +
				"spec.routers[0].clients[0].failureAccrual.successRate: required for kind io.l5d.successRate\n" +
				"spec.routers[0].clients[0].failureAccrual.requests: required for kind io.l5d.successRate"},
		{"accrual none with a backoff", client("failureAccrual: {kind: none, backoff: {kind: jittered, minMs: 9, maxMs: 3}}"), config.Cluster,
			"spec.routers[0].clients[0].failureAccrual.backoff: key backoff does not belong to kind none, but to io.l5d.consecutiveFailures, " +
				"io.l5d.successRate or io.l5d.successRateWindowed\n" +
				"spec.routers[0].clients[0].failureAccrual.backoff.minMs: expected at most maxMs, 3, found 9"},
		{"rate of percent", client("failureAccrual: {kind: io.l5d.successRateWindowed, successRate: 95, window: 3}"), config.Cluster,
			"spec.routers[0].clients[0].failureAccrual.successRate: expected a number from 0.001 to 1, found 95"},
		{"service prefix", router("services: [{prefix: a}]"), config.Cluster,
			"spec.routers[0].services[0].prefix:1:1: expected '/', found 'a'"},
		{"dst", router("dtab: [{prefix: /a, dst: '/b | |'}]"), config.Cluster,
			"spec.routers[0].dtab[0].dst:1:6: expected a path, '~', '!', '$' or '(', found '|'"},
		{"enum", router("protocol: htp"), config.Cluster, `spec.routers[0].protocol: expected http, found "htp"`},
		{"label", "  proxy: {labels: {a: 'b c'}}", config.Cluster, "spec.proxy.labels: value of key \"a\": "},
	} {
		_, err := decodeMesh(t, c.spec, c.env)
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		if got := err.Error(); got != c.want && !(strings.HasSuffix(c.want, " ") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if err.Reason != v1alpha1.ReasonInvalid {
			t.Errorf("%s: reason %s", c.name, err.Reason)
		}
	}
}

func TestAcceptMeshIdentifiers(t *testing.T) {
	m, err := decodeMesh(t, `
  routers:
  - name: r
    servers: [{port: 4140, clearContext: true}, {port: 4141}]
    allowAddressOverrides: true
    identifiers:
    - {kind: io.l5d.header.token}
    - {kind: io.l5d.header}
    - {kind: io.l5d.path, consume: true}
    - {kind: io.l5d.path, segments: 3}
    - {kind: io.l5d.methodAndHost, httpUriInDst: true}
    - {kind: io.l5d.static, path: /a/b}
`, config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	r := m.Routers[0]
	want := []config.Identifier{
		{Kind: "io.l5d.header.token", Header: "Host", Normalize: "None"}, {Kind: "io.l5d.header", Header: "l5d-name"},
		{Kind: "io.l5d.path", Segments: 1, Consume: true}, {Kind: "io.l5d.path", Segments: 3},
		{Kind: "io.l5d.methodAndHost", HTTPURIInDst: true}, {Kind: "io.l5d.static", Path: "/a/b"},
	}
	if !slices.Equal(r.Identifiers, want) {
		t.Errorf("got %+v\nwant %+v", r.Identifiers, want)
	}
	if !r.AllowAddressOverrides || !r.Servers[0].ClearContext || r.Servers[1].ClearContext {
		t.Errorf("router: %+v", r)
	}
}

func TestMeshSize(t *testing.T) {
	rules := strings.Repeat("    - {prefix: /a, dst: /"+strings.Repeat("x", 4000)+"}\n", 200)
	_, err := decodeMesh(t, "  routers:\n  - name: a\n    servers: [{port: 80}]\n    dtab:\n"+rules, config.Cluster)
	if err == nil || !strings.HasPrefix(err.Error(), "spec: expected at most 786432 bytes (as JSON), found ") {
		t.Errorf("got %v", err)
	}
}

func TestMeshName(t *testing.T) {
	for name, ok := range map[string]bool{
		"demo": true, "a": true, strings.Repeat("a", 40): true,
		"": false, "Demo": false, "1a": false, "a-": false, "a.b": false, strings.Repeat("a", 41): false,
	} {
		_, err := config.AcceptMesh(&v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Name: name}}, config.Cluster)
		if (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func newDtab(namespace string, spec v1alpha1.DtabSpec) *v1alpha1.Dtab {
	if spec.Router == "" {
		spec.Router = "outgoing"
	}
	if spec.MeshRef.Name == "" {
		spec.MeshRef = v1alpha1.MeshReference{Name: "demo", Namespace: "fairlead"}
	}
	return &v1alpha1.Dtab{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace, UID: "u", Generation: 4},
		Spec:       spec,
	}
}

func rules(pairs ...string) (out []v1alpha1.Dentry) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, v1alpha1.Dentry{Prefix: pairs[i], Dst: pairs[i+1]})
	}
	return out
}

// policyMesh lets the namespace team change /svc/team and /svc/*/canary, and boss everything.
const policyMesh = `
  dtabs:
    from: List
    namespaces:
    - {name: team, prefixes: [/svc/team, /svc/*/canary]}
    - {name: boss, prefixes: [/]}
`

func TestAcceptDtab(t *testing.T) {
	mesh, err := decodeMesh(t, policyMesh, config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	big := rules(slices.Repeat([]string{"/svc/a", "/" + strings.Repeat("x", 4000)}, 200)...)
	const notAllowed = "expected a prefix under /svc/team, /svc/*/canary, which is what namespace team may change, found "
	for _, c := range []struct {
		name, namespace string
		spec            v1alpha1.DtabSpec
		reason, want    string
	}{
		{"own namespace", "fairlead", v1alpha1.DtabSpec{Dentries: rules("/svc/web", "/a")}, "", ""},
		{"no rules", "fairlead", v1alpha1.DtabSpec{}, "", ""},
		{"default namespace of the mesh", "fairlead", v1alpha1.DtabSpec{MeshRef: v1alpha1.MeshReference{Name: "demo"}}, "", ""},
		{"allowed", "team", v1alpha1.DtabSpec{Dentries: rules("/svc/team", "/a", "/svc/team/*/x", "/a", "/svc/x/canary", "/a")}, "", ""},
		{"wildcard under wildcard", "team", v1alpha1.DtabSpec{Dentries: rules("/svc/*/canary", "/a")}, "", ""},
		{"everything", "boss", v1alpha1.DtabSpec{Dentries: rules("/", "/a", "/*", "/b")}, "", ""},
		{"syntax", "fairlead", v1alpha1.DtabSpec{Dentries: rules("/a", "/b", "/c", "/d |\n & /e")}, v1alpha1.ReasonInvalid,
			"spec.dentries[1].dst:2:2: expected a path, '~', '!', '$' or '(', found '&'"},
		{"all mistakes", "fairlead", v1alpha1.DtabSpec{Dentries: rules("a", "/b", "/c", "")}, v1alpha1.ReasonInvalid,
			"spec.dentries[0].prefix:1:1: expected '/', found 'a'\nspec.dentries[1].dst: required"},
		{"size", "fairlead", v1alpha1.DtabSpec{Dentries: big}, v1alpha1.ReasonInvalid, "spec: expected at most 786432 bytes (as JSON), found "},
		{"other mesh", "fairlead", v1alpha1.DtabSpec{MeshRef: v1alpha1.MeshReference{Name: "other"}}, v1alpha1.ReasonMeshNotFound,
			"spec.meshRef: expected the mesh fairlead/demo, found fairlead/other"},
		{"own namespace has no such mesh", "team", v1alpha1.DtabSpec{MeshRef: v1alpha1.MeshReference{Name: "demo"}}, v1alpha1.ReasonMeshNotFound,
			"spec.meshRef: expected the mesh fairlead/demo, found team/demo"},
		{"router", "fairlead", v1alpha1.DtabSpec{Router: "outgoin"}, v1alpha1.ReasonRouterNotFound,
			`spec.router: expected a router of the mesh fairlead/demo (outgoing, incoming), found "outgoin", did you mean "outgoing"?`},
		{"namespace", "else", v1alpha1.DtabSpec{}, v1alpha1.ReasonNamespaceNotAllowed,
			`metadata.namespace: expected a namespace that spec.dtabs of the mesh fairlead/demo allows, found "else"`},
		{"outside", "team", v1alpha1.DtabSpec{Dentries: rules("/svc/team", "/a", "/svc/web", "/a")}, v1alpha1.ReasonPrefixNotAllowed,
			"spec.dentries[1].prefix: " + notAllowed + `"/svc/web"`},
		{"above", "team", v1alpha1.DtabSpec{Dentries: rules("/svc", "/a")}, v1alpha1.ReasonPrefixNotAllowed,
			"spec.dentries[0].prefix: " + notAllowed + `"/svc"`},
		{"root", "team", v1alpha1.DtabSpec{Dentries: rules("/", "/a")}, v1alpha1.ReasonPrefixNotAllowed,
			"spec.dentries[0].prefix: " + notAllowed + `"/"`},
		{"wildcard over label", "team", v1alpha1.DtabSpec{Dentries: rules("/svc/*", "/a")}, v1alpha1.ReasonPrefixNotAllowed,
			"spec.dentries[0].prefix: " + notAllowed + `"/svc/*"`},
		{"longer label", "team", v1alpha1.DtabSpec{Dentries: rules("/svc/team2", "/a")}, v1alpha1.ReasonPrefixNotAllowed,
			"spec.dentries[0].prefix: " + notAllowed + `"/svc/team2"`},
	} {
		got, err := config.AcceptDtab(mesh, newDtab(c.namespace, c.spec))
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			for i, d := range got.Dentries.All() {
				if want := (dtab.Source{Object: c.namespace + "/web", Index: i}); d.Source != want {
					t.Errorf("%s: source %v, want %v", c.name, d.Source, want)
				}
			}
			continue
		}
		if err == nil || got != nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		if text := err.Error(); err.Reason != c.reason || text != c.want && !(strings.HasSuffix(c.want, " ") && strings.HasPrefix(text, c.want)) {
			t.Errorf("%s:\n got %s %s\nwant %s %s", c.name, err.Reason, text, c.reason, c.want)
		}
	}
}

func TestPriorityOfAnotherNamespace(t *testing.T) {
	mesh, err := decodeMesh(t, policyMesh, config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		namespace   string
		given, want int32
	}{{"fairlead", 9, 9}, {"fairlead", -9, -9}, {"boss", 9, 0}, {"boss", -9, -9}} {
		d, err := config.AcceptDtab(mesh, newDtab(c.namespace, v1alpha1.DtabSpec{Priority: c.given}))
		if err != nil {
			t.Fatal(err)
		}
		if d.Priority != c.want || d.Object.Spec.Priority != c.given {
			t.Errorf("%s: priority %d of %d, want %d", c.namespace, d.Priority, c.given, c.want)
		}
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	mesh, err := decodeMesh(t, "  {}", config.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.AcceptDtab(mesh, newDtab("fairlead", v1alpha1.DtabSpec{Dentries: rules(slices.Repeat([]string{"a", "/b"}, 33)...)}))
	if err == nil || len(err.Problems) != config.MaxProblems || err.More != 13 || !strings.HasSuffix(err.Error(), "\nand 13 more") {
		t.Errorf("got %v", err)
	}
}

// The reserved keys and the rule about namespaces are CEL in the schema. This list must grow with them.
func TestCELRulesAreKnown(t *testing.T) {
	known := []string{
		"identity is not supported yet", "tls is not supported yet", "mode Sidecar is not supported yet; DaemonSet is",
		"namespaces needs from: List", "metadata.name must be a DNS label of at most 40 characters",
	}
	for _, file := range []string{"fairlead.dev_meshes.yaml", "fairlead.dev_dtabs.yaml"} {
		data, err := os.ReadFile("../../config/crd/bases/" + file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(data), "x-kubernetes-validations:")
		for rest != "" {
			var rule string
			rule, rest, _ = strings.Cut(rest, "x-kubernetes-validations:")
			if !slices.ContainsFunc(known, func(k string) bool { return strings.Contains(rule, k) }) {
				t.Errorf("%s: a CEL rule that no test here knows: %s", file, fmt.Sprintf("%.200s", rule))
			}
		}
	}
}
