package app

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestDiagnosis asks by TRACE what becomes of a request, at the proxy itself, through it, and through two.
func TestDiagnosis(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s\n", r.Method, r.Header.Get("l5d-add-context"))
		w.(http.Flusher).Flush() // in chunks
		if r.URL.Path == "/long" {
			_, _ = io.WriteString(w, strings.Repeat("x", 100000))
		}
	}))
	t.Cleanup(s.Close)
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	inner, outer := freeport.Get(t), freeport.Get(t)
	for _, m := range []string{mesh(inner, "/svc => "+inet(addr)), mesh(outer, "/svc/none => /#/none", "/svc/web => 9 * "+inet(loopback(inner))+" & 0 * /$/inet/127.0.0.1/1")} {
		a := start(t, Options{})
		if err := a.Apply(t.Context(), decode(t, m)); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(path string, headers ...string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodTrace, fmt.Sprintf("http://127.0.0.1:%d%s", outer, path), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "web"
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("status %d, %v", resp.StatusCode, err)
		}
		return string(body)
	}
	if got := ask("/"); got != "TRACE \n" {
		t.Errorf("nobody asked for a diagnosis: %q", got)
	}
	got := ask("/", "l5d-add-context", "true", "Max-Forwards", "5")
	for _, want := range []string{
		"TRACE true\n\n--- fairlead ---\nrouter: outgoing\nservice: /svc/web\n", "client: /$/inet/127.0.0.1/" + fmt.Sprint(addr.Port()), "endpoints: 1 of 1 up\n  " + addr.String() + " up, 1 requests under way",
		"resolution:\n  /svc/web is bound\n", " by /svc => ", "selected: " + addr.String() + "\nduration: ", "selected: " + loopback(inner).String() + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "--- fairlead ---"); n != 2 {
		t.Errorf("%d diagnoses through two proxies:\n%s", n, got)
	}
	if got := ask("/long", "l5d-add-context", "true"); strings.Contains(got, "xxx") || strings.Count(got, "--- fairlead ---") != 2 {
		t.Errorf("a body of 100,000 bytes: %.300q", got)
	}
	got = ask("/", "l5d-add-context", "true", "Max-Forwards", "0", "Cookie", "secret")
	if strings.Count(got, "--- fairlead ---") != 1 || !strings.HasPrefix(got, "TRACE / HTTP/1.1\r\n") || strings.Contains(got, "selected") || strings.Contains(got, "secret") {
		t.Errorf("at the proxy itself: %q", got)
	}
}
