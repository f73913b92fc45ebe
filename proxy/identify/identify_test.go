package identify

import (
	"testing"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

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

// request is a head of headers, of which host may be elsewhere.
type request struct {
	host    string
	headers map[string]string
}

func (r *request) Host() []byte {
	if r.host == "" {
		return nil
	}
	return []byte(r.host)
}

func (r *request) HeaderValue(name string) []byte {
	if v, ok := r.headers[name]; ok {
		return []byte(v)
	}
	return nil
}

func token(header, normalize string) config.Identifier {
	return config.Identifier{Kind: v1alpha1.KindIdentifierHeaderToken, Header: header, Normalize: normalize}
}

func TestSet(t *testing.T) {
	raw := []config.Identifier{token("Host", "None")}
	kubernetes := []config.Identifier{token("hOST", "KubernetesHost")}
	list := []config.Identifier{token("l5d-name", "None"), token("Host", "KubernetesHost")}
	svc := dtab.Path{"svc"}
	for _, c := range []struct {
		name        string
		identifiers []config.Identifier
		prefix      dtab.Path
		request     request
		want        string // "" for unidentified
		wantErr     bool
	}{
		{"the value is kept as it is", raw, svc, request{host: "WEB:80"}, "/svc/WEB:80", false},
		{"one element of raw bytes", raw, svc, request{host: "a/b c"}, `/svc/\x61\x2f\x62\x20\x63`, false},
		{"long prefix", raw, dtab.Path{"a", "b"}, request{host: "web"}, "/a/b/web", false},
		{"root prefix", raw, nil, request{host: "web"}, "/web", false},
		{"no host", raw, svc, request{}, "", false},
		{"a header named host does not count", raw, svc, request{headers: map[string]string{"Host": "x"}}, "", false},
		{"normalized", kubernetes, svc, request{host: "WEB.default:80"}, "/svc/web", false},
		{"nothing left", kubernetes, svc, request{host: ":80"}, "", true},
		{"the first wins", list, svc, request{host: "WEB", headers: map[string]string{"l5d-name": "X"}}, "/svc/X", false},
		{"the first is absent", list, svc, request{host: "WEB"}, "/svc/web", false},
		{"the first is empty", list, svc, request{host: "WEB", headers: map[string]string{"l5d-name": ""}}, "/svc/web", false},
	} {
		set := New(c.identifiers, c.prefix)
		bytes, which, ok := set.Token(&c.request)
		if ok != (c.want != "" || c.wantErr) {
			t.Errorf("%s: identified is %v", c.name, ok)
		}
		if !ok {
			continue
		}
		name, err := set.Name(which, bytes)
		if (err != nil) != c.wantErr || err == nil && name.String() != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.name, name, err, c.want)
		}
	}
}

func TestNameOwnsItsMemory(t *testing.T) {
	set := New([]config.Identifier{token("Host", "None")}, dtab.Path{"svc"})
	buffer := []byte("web")
	name, err := set.Name(0, buffer)
	if err != nil {
		t.Fatal(err)
	}
	if copy(buffer, "xxx"); name.String() != "/svc/web" {
		t.Errorf("the name changed with the buffer of the request: %s", name)
	}
}

func TestNameOfNoIdentifier(t *testing.T) {
	set := New(nil, nil)
	for _, which := range []int{-1, 0} {
		if _, err := set.Name(which, []byte("web")); err == nil {
			t.Errorf("identifier %d of none gave a name", which)
		}
	}
}

type fixed []byte

func (f fixed) Host() []byte              { return f }
func (f fixed) HeaderValue(string) []byte { return nil }

func TestTokenDoesNotAllocate(t *testing.T) {
	set := New([]config.Identifier{token("l5d-name", "None"), token("Host", "KubernetesHost")}, dtab.Path{"svc"})
	var req Request = fixed("web.prod:80")
	if n := testing.AllocsPerRun(100, func() { set.Token(req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
