package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestMarks: an endpoint is told where a request comes from as the Mesh has it, and an edit takes effect.
func TestMarks(t *testing.T) {
	seen := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	t.Cleanup(s.Close)
	port := freeport.Get(t)
	a := start(t, Options{})
	text := mesh(port, "/svc/web => "+inet(netip.MustParseAddrPort(s.Listener.Addr().String())))
	c := client(t)
	for _, step := range []struct{ server, forwarded, xff, start string }{
		{"", "", "1.1.1.1", ""},
		{
			"addForwardedHeader: {by: {kind: io.l5d.router}, for: {kind: io.l5d.ip}}, xForwardedHeaders: Append, timestampHeader: x-start, ",
			"by=outgoing;for=127.0.0.1;host=web;proto=http", "1.1.1.1, 127.0.0.1", "1",
		},
		{
			"addForwardedHeader: {by: {kind: io.l5d.static, label: gw}, for: {kind: 'io.l5d.ip:port'}}, xForwardedHeaders: Replace, ",
			`by=gw;for="127.0.0.1:`, "127.0.0.1", "",
		},
		{"addForwardedHeader: {by: {kind: io.l5d.connectionRandom}}, ", "by=_", "1.1.1.1", ""},
	} {
		edited := strings.Replace(text, "servers: [{", "servers: [{"+step.server, 1)
		if err := a.Apply(t.Context(), decode(t, edited)); err != nil {
			t.Fatal(err)
		}
		if status, body, _ := get(t, c, port, "web", "X-Forwarded-For", "1.1.1.1"); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		h := <-seen
		if !strings.HasPrefix(h.Get("Forwarded"), step.forwarded) || (step.forwarded == "") != (h.Get("Forwarded") == "") ||
			h.Get("X-Forwarded-For") != step.xff || !strings.HasPrefix(h.Get("X-Start"), step.start) || (step.start == "") != (h.Get("X-Start") == "") {
			t.Errorf("with %s the endpoint got %v", fmt.Sprintf("%q", step.server), h)
		}
	}
}
