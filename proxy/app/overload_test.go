package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"

	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/freeport"
)

// TestMaxConcurrentRequests: the Mesh bounds the requests of a listener, edits change the bound under traffic, and what was turned away is
// counted.
func TestMaxConcurrentRequests(t *testing.T) {
	slow, arrived, release := holdingBackend(t)
	fast := backend(t, "fast")
	port := freeport.Get(t)
	metrics := telemetry.New()
	a := start(t, Options{Log: testr.New(t), Metrics: metrics})
	text := mesh(port, "/svc/slow => "+inet(slow), "/svc/fast => "+inet(fast))
	limited := func(n int) string {
		return strings.Replace(text, "servers: [{", fmt.Sprintf("servers: [{maxConcurrentRequests: %d, ", n), 1)
	}
	if err := a.Apply(t.Context(), decode(t, limited(1))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	held := make(chan int, 1)
	go func() {
		status, _, _ := get(t, c, port, "slow")
		held <- status
	}()
	<-arrived
	refused := 0
	for _, step := range []struct {
		text   string
		status int
	}{{limited(1), 503}, {limited(2), 200}, {limited(1), 503}, {text, 200}} {
		if err := a.Apply(t.Context(), decode(t, step.text)); err != nil {
			t.Fatal(err)
		}
		status, body, header := get(t, c, port, "fast")
		if status != step.status {
			t.Errorf("%d %q with a request under way, want %d", status, body, step.status)
		}
		if status == http.StatusServiceUnavailable {
			refused++
			if header.Get("Retry-After") != "0" || header.Get("finagle-http-nack") != "true" || header.Get("l5d-err") != "" || !strings.HasPrefix(body, "overload: ") {
				t.Errorf("refused with %v and %q", header, body)
			}
		}
	}
	name := fmt.Sprintf("rt/outgoing/server/127.0.0.1/%d/failures/overload", port)
	if got := metric(t, metrics, name); got != float64(refused) {
		t.Errorf("%s is %v, want %d", name, got, refused)
	}
	release()
	if status := <-held; status != http.StatusOK {
		t.Errorf("the request under way got %d", status)
	}
}
