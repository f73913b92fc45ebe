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

// TestMaxConcurrentRequestsOfARouter: the bound of a router is that of all its listeners together, and edits change it under traffic.
func TestMaxConcurrentRequestsOfARouter(t *testing.T) {
	slow, arrived, release := holdingBackend(t)
	fast := backend(t, "fast")
	ports := []int{freeport.Get(t), freeport.Get(t)}
	a := start(t, Options{Log: testr.New(t)})
	text := strings.Replace(mesh(ports[0], "/svc/slow => "+inet(slow), "/svc/fast => "+inet(fast)),
		"servers: [", fmt.Sprintf("servers: [{port: %d}, ", ports[1]), 1)
	limited := func(n int) string {
		return strings.Replace(text, "    servers: [", fmt.Sprintf("    maxConcurrentRequests: %d\n    servers: [", n), 1)
	}
	if err := a.Apply(t.Context(), decode(t, limited(1))); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	held := make(chan int, 1)
	go func() {
		status, _, _ := get(t, c, ports[0], "slow")
		held <- status
	}()
	<-arrived
	for _, step := range []struct {
		text   string
		status int
	}{{limited(1), 503}, {limited(2), 200}, {limited(1), 503}, {text, 200}} {
		if err := a.Apply(t.Context(), decode(t, step.text)); err != nil {
			t.Fatal(err)
		}
		for _, port := range ports {
			if status, body, _ := get(t, c, port, "fast"); status != step.status {
				t.Errorf("port %d: %d %q with a request under way, want %d", port, status, body, step.status)
			}
		}
	}
	release()
	if status := <-held; status != http.StatusOK {
		t.Errorf("the request under way got %d", status)
	}
}

// TestMaxRequestsPerEndpoint: an endpoint that is full is passed over, and when all are a request is turned away at once; edits change the
// limit under traffic.
func TestMaxRequestsPerEndpoint(t *testing.T) {
	slow, arrived, release := holdingBackend(t)
	fast := backend(t, "fast")
	port := freeport.Get(t)
	metrics := telemetry.New()
	a := start(t, Options{Log: testr.New(t), Metrics: metrics})
	text, put := watchedMesh(t, port)
	put(slow)
	limited := withClient(text, "hostConnectionPool: {maxSize: 1}")
	if err := a.Apply(t.Context(), decode(t, limited)); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	held := make(chan int, 2)
	hold := func() {
		go func() {
			status, _, _ := get(t, c, port, "web")
			held <- status
		}()
		<-arrived
	}
	hold()
	status, body, header := get(t, c, port, "web")
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") != "0" || header.Get("finagle-http-nack") != "true" ||
		!strings.HasPrefix(body, "endpoints-busy: ") {
		t.Errorf("with its only endpoint full: %d %v %q", status, header, body)
	}
	eventually(t, "one failure is counted", func() bool { // when its last byte was sent
		return metric(t, metrics, "rt/outgoing/service/svc/web/failures/endpoints-busy") == 1
	})
	put(slow, fast)
	eventually(t, "the second endpoint is known", func() bool { status, _, _ := get(t, c, port, "web"); return status == http.StatusOK })
	for range 20 { // were the full one picked, it would hold this
		if status, body, _ := get(t, c, port, "web"); status != http.StatusOK || body != "fast" {
			t.Errorf("beside a full endpoint: %d %q", status, body)
		}
	}
	put(slow)
	if err := a.Apply(t.Context(), decode(t, text)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second endpoint is gone", func() bool { return len(a.Clients()["outgoing"][0].Endpoints) == 1 })
	hold()
	release()
	for range 2 {
		if status := <-held; status != http.StatusOK {
			t.Errorf("a request that was held got %d", status)
		}
	}
}
