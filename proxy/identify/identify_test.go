package identify

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// request is a head of headers, of which host may be elsewhere. It is a GET of / in HTTP/1.1 unless told otherwise.
type request struct {
	method, target, host string
	http10               bool
	headers              map[string]string
}

func (r *request) Method() []byte { return []byte(or(r.method, "GET")) }
func (r *request) Target() []byte { return []byte(or(r.target, "/")) }

func (r *request) Minor() int {
	if r.http10 {
		return 0
	}
	return 1
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

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func header(name, value string) request { return request{headers: map[string]string{name: value}} }

func token(header, normalize string) config.Identifier {
	return config.Identifier{Kind: v1alpha1.KindIdentifierHeaderToken, Header: header, Normalize: normalize}
}

func path(segments int) config.Identifier {
	return config.Identifier{Kind: v1alpha1.KindIdentifierPath, Segments: segments}
}

func consume(segments int) config.Identifier {
	return config.Identifier{Kind: v1alpha1.KindIdentifierPath, Segments: segments, Consume: true}
}

func static(path string) config.Identifier {
	return config.Identifier{Kind: v1alpha1.KindIdentifierStatic, Path: path}
}

var (
	raw           = token("Host", "None")
	kubernetes    = token("hOST", "KubernetesHost")
	l5dName       = config.Identifier{Kind: v1alpha1.KindIdentifierHeader, Header: "l5d-name"}
	methodAndHost = config.Identifier{Kind: v1alpha1.KindIdentifierMethodAndHost}
	methodAndURI  = config.Identifier{Kind: v1alpha1.KindIdentifierMethodAndHost, HTTPURIInDst: true}
)

// The names of linkerd1.md, section 2. An error begins with "!".
func TestNames(t *testing.T) {
	one := func(id config.Identifier) []config.Identifier { return []config.Identifier{id} }
	list := []config.Identifier{token("x-name", "None"), kubernetes}
	for _, c := range []struct {
		name        string
		identifiers []config.Identifier
		request     request
		want        string
		consumed    string
	}{
		{"token: the value is kept as it is", one(raw), request{host: "WEB:80"}, "/svc/WEB:80", ""},
		{"token: one element of raw bytes", one(raw), request{host: "a/b c"}, `/svc/\x61\x2f\x62\x20\x63`, ""},
		{"token: no host", one(raw), request{}, "!unknown destination: header Host is absent or empty", ""},
		{"token: a header named host does not count", one(raw), header("Host", "x"), "!unknown destination: header Host is absent or empty", ""},
		{"token: normalized", one(kubernetes), request{host: "WEB.default:80"}, "/svc/web", ""},
		{"token: nothing left", one(kubernetes), request{host: ":80"}, `!header hOST: expected a host, found ":80"`, ""},
		{"header: a path", one(l5dName), header("l5d-name", "/a/b:80/C"), "/svc/a/b:80/C", ""},
		{"header: escapes are bytes", one(l5dName), header("l5d-name", `/a\x2f`), `/svc/\x61\x2f`, ""},
		{"header: the root", one(l5dName), header("l5d-name", "/"), "/svc", ""},
		{"header: absent", one(l5dName), request{}, "!unknown destination: header l5d-name is absent or empty", ""},
		{"header: empty", one(l5dName), header("l5d-name", ""), "!unknown destination: header l5d-name is absent or empty", ""},
		{"header: no path", one(l5dName), header("l5d-name", "web"), "!header l5d-name:1:1: expected '/', found 'w'", ""},
		{"header: an empty element", one(l5dName), header("l5d-name", "/a//b"), "!header l5d-name:1:4: expected a label character, found '/'", ""},
		{"header: slash at the end", one(l5dName), header("l5d-name", "/a/"), "!header l5d-name:1:4: expected a label character, found end of input", ""},
		{"path: one segment", one(path(1)), request{target: "/a/b?x=/y"}, "/svc/a", ""},
		{"path: all segments", one(path(2)), request{target: "/a/b?x=/y"}, "/svc/a/b", ""},
		{"path: the query is no segment", one(path(2)), request{target: "/a?x=/b"}, "!unknown destination: the path has fewer segments than 2", ""},
		{"path: neither is a slash at the end", one(path(2)), request{target: "/a///"}, "!unknown destination: the path has fewer segments than 2", ""},
		{"path: the root", one(path(1)), request{target: "/"}, "!unknown destination: the path has fewer segments than 1", ""},
		{"path: slashes alone", one(path(1)), request{target: "//?a"}, "!unknown destination: the path has fewer segments than 1", ""},
		{"path: CONNECT", one(path(1)), request{method: "CONNECT", target: "web:443"}, "!unknown destination: the path has fewer segments than 1", ""},
		{"path: OPTIONS *", one(path(1)), request{method: "OPTIONS", target: "*"}, "!unknown destination: the path has fewer segments than 1", ""},
		{"path: an empty segment after it", one(path(1)), request{target: "/a//b"}, "/svc/a", ""},
		{"path: an empty segment in it", one(path(2)), request{target: "/a//b"}, "!the path: segment 2 is empty", ""},
		{"path: an empty segment first", one(path(1)), request{target: "//a"}, "!the path: segment 1 is empty", ""},
		{"path: escapes are kept", one(path(1)), request{target: "/a%2Fb/c"}, "/svc/a%2Fb", ""},
		{"path: case and other bytes are kept", one(path(1)), request{target: "/A+b"}, `/svc/\x41\x2b\x62`, ""},
		{"path: a fragment is no end", one(path(1)), request{target: "/a#b"}, "/svc/a#b", ""},
		{"consume: some", one(consume(1)), request{target: "/a/b/?x=1"}, "/svc/a", "/a"},
		{"consume: all", one(consume(2)), request{target: "/a/b?x=1"}, "/svc/a/b", "/a/b"},
		{"consume: all but a slash", one(consume(1)), request{target: "/a/"}, "/svc/a", "/a"},
		{"methodAndHost", one(methodAndHost), request{host: "WEB:80", target: "/a/b"}, "/svc/1.1/GET/web:80", ""},
		{"methodAndHost: the method is kept", one(methodAndHost), request{host: "web", method: "get"}, "/svc/1.1/get/web", ""},
		{"methodAndHost: no host", one(methodAndHost), request{}, "!unknown destination: the HTTP/1.1 request has no host", ""},
		{"methodAndHost: HTTP/1.0", one(methodAndHost), request{http10: true, method: "POST"}, "/svc/1.0/POST", ""},
		{"methodAndHost: HTTP/1.0 with a host", one(methodAndHost), request{http10: true, host: "web"}, "/svc/1.0/GET", ""},
		{"methodAndHost: uri", one(methodAndURI), request{host: "Web", target: "/A/b?x=/y"}, "/svc/1.1/GET/web/A/b", ""},
		{"methodAndHost: uri of HTTP/1.0", one(methodAndURI), request{http10: true, target: "/a/b"}, "/svc/1.0/GET/a/b", ""},
		{"methodAndHost: the root", one(methodAndURI), request{host: "web"}, "/svc/1.1/GET/web", ""},
		{"methodAndHost: slash at the end", one(methodAndURI), request{host: "web", target: "/a/"},
			"!the path:1:4: expected a label character, found end of input", ""},
		{"methodAndHost: no label", one(methodAndURI), request{host: "web", target: "/a+b"}, "!the path:1:3: expected end of input, found '+'", ""},
		{"methodAndHost: OPTIONS *", one(methodAndURI), request{host: "web", method: "OPTIONS", target: "*"}, "!the path:1:1: expected '/', found '*'", ""},
		{"static", one(static("/a/b")), request{http10: true}, "/svc/a/b", ""},
		{"static: the root", one(static("/")), request{}, "/svc", ""},
		{"list: the first wins", list, request{host: "WEB", headers: map[string]string{"x-name": "X"}}, "/svc/X", ""},
		{"list: the first is absent", list, request{host: "WEB"}, "/svc/web", ""},
		{"list: the first is empty", list, request{host: "WEB", headers: map[string]string{"x-name": ""}}, "/svc/web", ""},
		{"list: none", list, request{}, "!unknown destination: header x-name is absent or empty; header hOST is absent or empty", ""},
		{"list: a bad name ends it", []config.Identifier{l5dName, raw}, request{host: "web", headers: map[string]string{"l5d-name": "x"}},
			"!header l5d-name:1:1: expected '/', found 'x'", ""},
		{"list: an empty segment ends it", []config.Identifier{path(1), raw}, request{host: "web", target: "//a"}, "!the path: segment 1 is empty", ""},
		{"list: too few segments do not", []config.Identifier{consume(2), raw}, request{host: "web", target: "/a"}, "/svc/web", ""},
		{"list: all kinds", []config.Identifier{l5dName, path(1), methodAndHost, raw, static("/rest")}, request{}, "/svc/rest", ""},
		{"too long", one(raw), request{host: strings.Repeat("x", MaxKeyBytes+1)}, "!the name of the request is longer than 4096 bytes", ""},
		{"long enough", one(raw), request{host: strings.Repeat("x", MaxKeyBytes)}, "/svc/" + strings.Repeat("x", MaxKeyBytes), ""},
	} {
		name, m, err := identified(New(c.identifiers, dtab.Path{"svc"}), &c.request)
		got := name.String()
		if err != nil {
			got = "!" + err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if consumed := c.request.Target()[:m.Consume]; string(consumed) != c.consumed {
			t.Errorf("%s: consumed %q, want %q", c.name, consumed, c.consumed)
		}
	}
}

// identified does both steps.
func identified(s *Set, req Request) (dtab.Path, Match, error) {
	key, m, err := s.AppendKey(nil, req)
	if err != nil {
		return nil, m, err
	}
	name, err := s.Name(m.Index, key)
	return name, m, err
}

func TestDstPrefix(t *testing.T) {
	for _, c := range []struct {
		prefix dtab.Path
		id     config.Identifier
		want   string
	}{
		{dtab.Path{"a", "b"}, raw, "/a/b/web"},
		{nil, raw, "/web"},
		{nil, static("/"), "/"},
		{nil, methodAndHost, "/1.1/GET/web"},
	} {
		name, _, err := identified(New([]config.Identifier{c.id}, c.prefix), &request{host: "web"})
		if err != nil || name.String() != c.want {
			t.Errorf("got %s, %v, want %s", name, err, c.want)
		}
	}
}

func TestNameOwnsItsMemory(t *testing.T) {
	set := New([]config.Identifier{raw}, dtab.Path{"svc"})
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
	for _, index := range []int{-1, 0} {
		if _, err := set.Name(index, []byte("web")); err == nil {
			t.Errorf("identifier %d of none gave a name", index)
		}
	}
}

// fixed is a request that does not allocate.
type fixed struct{ method, target, host []byte }

func (f *fixed) Method() []byte { return f.method }
func (f *fixed) Target() []byte { return f.target }
func (f *fixed) Minor() int     { return 1 }
func (f *fixed) Host() []byte   { return f.host }

func (f *fixed) HeaderValue(name string) []byte {
	if name == "l5d-name" {
		return f.target
	}
	return nil
}

// busy is a request that every kind can name.
func busy() Request {
	return &fixed{[]byte("GET"), []byte("/api/v1/items?limit=20"), []byte("Web.prod.svc.cluster.local:80")}
}

var every = []config.Identifier{raw, kubernetes, l5dName, path(2), consume(1), methodAndHost, methodAndURI, static("/a")}

func TestAppendKeyDoesNotAllocate(t *testing.T) {
	req, buffer := busy(), make([]byte, 0, 512)
	for _, id := range every {
		set := New([]config.Identifier{token("x-absent", "None"), id}, dtab.Path{"svc"})
		if n := testing.AllocsPerRun(100, func() { _, _, _ = set.AppendKey(buffer, req) }); n != 0 {
			t.Errorf("%s: %v allocations", id.Kind, n)
		}
	}
	set := New([]config.Identifier{path(9)}, nil)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = set.AppendKey(buffer, req) }); n != 0 {
		t.Errorf("unidentified: %v allocations", n)
	}
}

func BenchmarkAppendKey(b *testing.B) {
	req, buffer := busy(), make([]byte, 0, 512)
	for _, id := range every {
		set := New([]config.Identifier{id}, dtab.Path{"svc"})
		b.Run(id.Kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = set.AppendKey(buffer, req)
			}
		})
	}
}

// FuzzNames: whatever a client sends, a name is bounded, has no empty element, lies below the prefix, reads back from its show form,
// and is the same for the same key. What is consumed is the front of the target, and what is left is a path or a query.
func FuzzNames(f *testing.F) {
	f.Add("GET", "/a/b?c", "Web:80", "/x/y", true)
	f.Add("OPTIONS", "*", "", "", false)
	f.Add("CONNECT", "web:443", "", "", true)
	f.Add("a\x00b", "//a//", "\x00", `/\x2f`, true)
	f.Fuzz(func(t *testing.T, method, target, host, value string, http10 bool) {
		req := &request{method: method, target: target, host: host, http10: http10, headers: map[string]string{"l5d-name": value, "x": value}}
		for _, id := range append(every, token("x", "KubernetesHost")) {
			set := New([]config.Identifier{id}, dtab.Path{"svc"})
			key, m, err := set.AppendKey(nil, req)
			if err != nil {
				continue
			}
			if rest := req.Target()[m.Consume:]; m.Consume > 0 && len(rest) > 0 && rest[0] != '/' && rest[0] != '?' {
				t.Fatalf("%s: %q leaves %q", id.Kind, target, rest)
			}
			name, err := set.Name(m.Index, key)
			if err != nil {
				continue
			}
			again, err := set.Name(m.Index, append([]byte(nil), key...))
			if err != nil || !again.Equal(name) {
				t.Fatalf("%s: key %q is %s and %s, %v", id.Kind, key, name, again, err)
			}
			size := 0
			for _, element := range name {
				if size += len(element); element == "" {
					t.Fatalf("%s: an empty element in %q", id.Kind, name)
				}
			}
			if !name.HasPrefix(dtab.Path{"svc"}) || size > MaxKeyBytes+16 {
				t.Fatalf("%s: %d bytes in %s", id.Kind, size, name)
			}
			read, err := dtab.ParsePath(name.String())
			var e *dtab.Error
			if errors.As(err, &e) && e.Limit != "" {
				continue
			}
			if err != nil || !read.Equal(name) {
				t.Fatalf("%s: %s reads back as %s, %v", id.Kind, name, read, err)
			}
		}
	})
}
