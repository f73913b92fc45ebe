package app

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestFaults: a share of a service's requests waits, a share is answered in place of an endpoint; the metrics and the log tell, and an edit
// ends it. Retries do not hide what was asked for.
func TestFaults(t *testing.T) {
	port := freeport.Get(t)
	plain := mesh(port, "/svc => "+inet(backend(t, "web")))
	with := func(faults string) string {
		return strings.Replace(plain, "    dtab:", "    services: [{prefix: /svc/web, responseClassifier: {kind: io.l5d.http.retryableAll5XX}, faults: {"+faults+"}}]\n    dtab:", 1)
	}
	var lines logged
	metrics := telemetry.New()
	a := start(t, Options{Log: funcr.New(func(_, args string) { lines.add(args) }, funcr.Options{}), Metrics: metrics})
	apply := func(text string) {
		t.Helper()
		if err := a.Apply(t.Context(), decode(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	c := client(t)
	aborted := func(n int) (count int) {
		for range n {
			status, body, h := get(t, c, port, "web")
			switch {
			case status == 418 && strings.HasPrefix(body, "injected-fault: ") && strings.HasPrefix(h.Get("l5d-err"), "injected-fault"):
				count++
			case status != 200 || body != "web":
				t.Fatalf("%d %q", status, body)
			}
		}
		return count
	}
	apply(with("abort: {percent: 30, status: 418}"))
	if n := aborted(500); n < 100 || n > 200 {
		t.Errorf("%d of 500 requests got the status, want 30 %%", n)
	} else {
		eventually(t, "all are counted", func() bool { return metric(t, metrics, "rt/outgoing/service/svc/web/faults/aborted") == float64(n) })
	}
	if status, _, _ := get(t, c, port, "other"); status != 200 {
		t.Errorf("%d for another service", status)
	}
	if !lines.has("Faults are injected", "router outgoing, /svc/web: 418 for 30 %") {
		t.Errorf("the log: %q", lines.all())
	}
	apply(with("delay: {percent: 100, ms: 50}"))
	begin := time.Now()
	if n := aborted(3); n != 0 || time.Since(begin) < 150*time.Millisecond {
		t.Errorf("%d aborted, after %v", n, time.Since(begin))
	}
	eventually(t, "all are counted", func() bool { return metric(t, metrics, "rt/outgoing/service/svc/web/faults/delayed") == 3 })
	apply(strings.Replace(with("delay: {percent: 100, ms: 60000}"), "faults:", "totalTimeoutMs: 50, faults:", 1))
	if status, body, _ := get(t, c, port, "web"); status != 503 || !strings.HasPrefix(body, "total-timeout") {
		t.Errorf("a delay beyond the total timeout: %d %q", status, body)
	}
	apply(plain)
	if n := aborted(100); n != 0 {
		t.Errorf("%d aborted by a Mesh that injects nothing", n)
	}
	if !lines.has("Faults are not injected any more") {
		t.Errorf("the log: %q", lines.all())
	}
}
