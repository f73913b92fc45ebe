package app

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// Whoever reads a scrape is told what each metric of the proxy is.
func TestEveryMetricHasHelp(t *testing.T) {
	p := assembled(t)
	port, admin := freeport.Get(t), freeport.Get(t)
	web, dir := inet(backend(t, "web")), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "idle"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	text := mesh(port, "/svc/web => "+web, "/svc/nobody => !", "/svc/idle => /#/io.l5d.fs/idle | "+web) +
		"    failover: Unhealthy\n  namers: [{kind: io.l5d.fs, rootDir: " + dir + "}]\n"
	text = strings.Replace(text, "spec:\n", fmt.Sprintf("spec:\n  admin: {ip: 127.0.0.1, port: %d}\n", admin), 1)
	if err := p.apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	for _, host := range []string{"web", "nobody", "a:b", "idle"} {
		get(t, c, port, host)
	}
	resp, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/admin/metrics/prometheus", admin)) //nolint:noctx // it is at hand
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(page), "# HELP rt_server_refused_by_reason_total ") ||
		!strings.Contains(string(page), "# HELP rt_service_failover_falls_total ") {
		t.Fatalf("got %s, %v:\n%s", resp.Status, err, page)
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "# HELP") && strings.Contains(line, " of the tree.") {
			t.Error(line)
		}
	}
}
