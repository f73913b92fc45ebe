package identify

import "testing"

// The names that one Service has, and names that must not become its name.
func TestKubernetesHost(t *testing.T) {
	for _, c := range []struct{ host, want string }{
		{"web", "web"},
		{"web:80", "web"},
		{"web:", "web"},
		{"WEB", "web"},
		{"Web:8080", "web"},
		{"web.", "web"},
		{"web.default", "web"},
		{"web.default:80", "web"},
		{"web.default.svc", "web"},
		{"web.default.svc.cluster.local", "web"},
		{"web.default.svc.cluster.local.", "web"},
		{"web.default.svc.cluster.local.:80", "web"},
		{"WEB.Default.SVC.Cluster.Local:80", "web"},
		{"web.prod", "web.prod"},
		{"web.prod:80", "web.prod"},
		{"web.prod.svc", "web.prod"},
		{"web.prod.svc.", "web.prod"},
		{"web.prod.svc.cluster.local", "web.prod"},
		{"web.prod.svc.cluster.local.", "web.prod"},
		// Not of the form of a Service: cutting would name another one.
		{"web.svc", "web.svc"},
		{"default", "default"},
		{"default.default", "default"},
		{"web.svc.cluster.local", "web.svc.cluster.local"},
		{"svc.cluster.local", "svc.cluster.local"},
		{"web.default.cluster.local", "web.default.cluster.local"},
		{"web.default.example.com", "web.default.example.com"},
		{"web.prod.svc.example.com", "web.prod.svc.example.com"},
		{"pod-0.web.prod.svc.cluster.local", "pod-0.web.prod.svc.cluster.local"},
		{"www.example.com", "www.example.com"},
		{".default", ".default"},
		{"web..svc", "web..svc"},
		{"web..", "web."},
		{"web.default..", "web.default."},
		{"", ""},
		{".", ""},
		{":80", ""},
		{"web:http", "web:http"},
		{"a:b:80", "a:b:80"},
		// Addresses.
		{"10.0.0.1", "10.0.0.1"},
		{"10.0.0.1:80", "10.0.0.1"},
		{"[::1]", "[::1]"},
		{"[::1]:80", "[::1]"},
		{"[2001:DB8::1]:443", "[2001:db8::1]"},
		{"::1", "::1"},
		{"[", "["},
		{"[:80", "[:80"},
		{"[:", "[:"},
		{"w\xc3\x89b", "w\xc3\x89b"},
	} {
		got := KubernetesHost(c.host)
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.host, got, c.want)
		}
	}
}

func FuzzKubernetesHost(f *testing.F) {
	for _, s := range []string{"web:80", "[::1]:80", "web.prod.svc.cluster.local.", "..", "[:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		got := KubernetesHost(host)
		if len(got) > len(host) {
			t.Errorf("%q grew to %q", host, got)
		}
	})
}
