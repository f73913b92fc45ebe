package prometheus

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// populate makes every shape of metric that the proxy has.
func populate(tree *telemetry.Tree) {
	rt := tree.Scope("rt", "http")
	server := rt.Scope("server", "0.0.0.0/4140")
	service := rt.Scope("service", "svc/web")
	client := rt.Scope("client", "#/io.l5d.fs/web")
	for _, s := range []telemetry.Scope{server, service, client, client.Scope("service", "svc/web")} {
		s.Counter("requests").Add(0, 7)
		s.Counter("success").Add(0, 5)
		s.Counter("failures").Add(0, 2)
		s.Gauge("pending").Set(1)
		s.Histogram("request_latency_ms").AddDuration(0, 4*time.Millisecond)
	}
	server.Counter("status/200").Add(0, 5)
	server.Counter("status/2XX").Add(0, 5)
	server.Counter("status/error").Add(0, 1)
	server.Counter("received_bytes").Add(0, 512)
	server.Histogram("connection_duration").AddDuration(0, 2*time.Second)
	server.Histogram("handletime_us").AddDuration(0, 20*time.Microsecond)
	service.Counter("failures/ConnectTimeout").Add(0, 2)
	service.Counter("failures/Chain/of/reasons").Add(0, 1)
	service.Counter("retries/total").Add(0, 3)
	service.Gauge("retries/budget").Set(100)
	service.Histogram("retries/per_request").Add(0, 2)
	client.Gauge("loadbalancer/algorithm/p2c_least_loaded").Set(1)
	client.Gauge("failure_accrual/removed_for_ms").Set(1500)
	client.Counter("failfast/unhealthy_for_ms").Add(0, 2500)
	client.GaugeFunc("loadbalancer/load", func() float64 { return 0.5 })
	client.Gauge("loadbalancer/maxEffort-count").Set(1)
	rt.Counter("bindcache/path/misses").Add(0, 4)
	tree.Scope("namer", "#/io.l5d.k8s").Counter("lookup_success")
	tree.GaugeFunc("config_stale_seconds", func() float64 { return 2 })
	tree.Gauge("sync_total").Set(1)
	tree.Counter("2nd")
}

func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/admin/metrics/prometheus", nil))
	if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "text/plain; version=0.0.4") {
		t.Errorf("content type %q", ct)
	}
	return w.Body.String()
}

func TestNamesLabelsAndUnits(t *testing.T) {
	tree := telemetry.New()
	populate(tree)
	body := scrape(t, New(tree, Options{}))
	for _, line := range []string{
		`rt_server_requests_total{rt="http",server="0.0.0.0/4140"} 7`,
		`rt_service_requests_total{rt="http",service="svc/web"} 7`,
		`rt_client_requests_total{client="#/io.l5d.fs/web",rt="http"} 7`,
		`rt_client_service_success_total{client="#/io.l5d.fs/web",rt="http",service="svc/web"} 5`,
		`rt_client_pending{client="#/io.l5d.fs/web",rt="http"} 1`,
		`rt_client_request_latency_seconds_bucket{client="#/io.l5d.fs/web",rt="http",le="0.003"} 0`,
		`rt_client_request_latency_seconds_bucket{client="#/io.l5d.fs/web",rt="http",le="0.005"} 1`,
		`rt_client_request_latency_seconds_bucket{client="#/io.l5d.fs/web",rt="http",le="+Inf"} 1`,
		`rt_client_request_latency_seconds_sum{client="#/io.l5d.fs/web",rt="http"} 0.004`,
		`rt_client_request_latency_seconds_count{client="#/io.l5d.fs/web",rt="http"} 1`,
		`rt_server_responses_total{code="200",rt="http",server="0.0.0.0/4140"} 5`,
		`rt_server_responses_total{code="error",rt="http",server="0.0.0.0/4140"} 1`,
		`rt_server_response_classes_total{class="2XX",rt="http",server="0.0.0.0/4140"} 5`,
		`rt_server_received_bytes_total{rt="http",server="0.0.0.0/4140"} 512`,
		`rt_server_connection_duration_seconds_sum{rt="http",server="0.0.0.0/4140"} 2`,
		`rt_server_handletime_seconds_sum{rt="http",server="0.0.0.0/4140"} 2e-05`,
		`rt_service_failures_total{rt="http",service="svc/web"} 2`,
		`rt_service_failures_by_reason_total{reason="ConnectTimeout",rt="http",service="svc/web"} 2`,
		`rt_service_failures_by_reason_total{reason="Chain:of:reasons",rt="http",service="svc/web"} 1`,
		`rt_service_retries_total{rt="http",service="svc/web"} 3`,
		`rt_service_retries_budget{rt="http",service="svc/web"} 100`,
		`rt_service_retries_per_request_sum{rt="http",service="svc/web"} 2`,
		`rt_client_loadbalancer_algorithm{algorithm="p2c_least_loaded",client="#/io.l5d.fs/web",rt="http"} 1`,
		`rt_client_loadbalancer_load{client="#/io.l5d.fs/web",rt="http"} 0.5`,
		`rt_client_loadbalancer_max_effort_count_value{client="#/io.l5d.fs/web",rt="http"} 1`,
		`rt_client_failure_accrual_removed_for_seconds{client="#/io.l5d.fs/web",rt="http"} 1.5`,
		`rt_client_failfast_unhealthy_for_seconds_total{client="#/io.l5d.fs/web",rt="http"} 2.5`,
		`rt_bindcache_misses_total{cache="path",rt="http"} 4`,
		`namer_lookup_success_total{namer="#/io.l5d.k8s"} 0`,
		`config_stale_seconds 2`,
		`sync 1`,
		`_2nd_total 0`,
		`telemetry_folded_total 0`,
		`# TYPE rt_client_request_latency_seconds histogram`,
		`# TYPE go_goroutines gauge`,
		`# TYPE process_resident_memory_bytes gauge`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestLintFindsNothing(t *testing.T) {
	tree := telemetry.New()
	populate(tree)
	e := New(tree, Options{Prefix: "fairlead_"})
	families, err := e.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if !strings.Contains(scrape(t, e), "\nfairlead_rt_server_requests_total{") {
		t.Error("the prefix is missing")
	}
}

func TestTheTextParsesWhateverTheNamesAre(t *testing.T) {
	tree := telemetry.New()
	names := []string{"a\"b", "back\\slash", "new\nline", "\xff", "é", "{}", "host:80"}
	for i, name := range names {
		tree.Scope("rt", "out", "service", name).Counter("requests").Add(0, uint64(i))
		tree.Counter("odd " + name)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, New(tree, Options{}))))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, m := range families["rt_service_requests_total"].GetMetric() {
		got[m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
	}
	want := map[string]float64{"a\"b": 0, "back\\slash": 1, "new\nline": 2, "\uFFFD": 3, "é": 4, "{}": 5, "host:80": 6}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamesThatRenderAlikeAreDroppedAndCounted(t *testing.T) {
	tree := telemetry.New()
	tree.Counter("a-b").Incr(0)
	tree.Counter("a_b").Incr(0)
	tree.Counter("a.b").Incr(0)
	e := New(tree, Options{})
	body := scrape(t, e)
	if n := strings.Count(body, "\na_b_total "); n != 1 {
		t.Errorf("a_b_total is there %d times", n)
	}
	if !strings.Contains(scrape(t, e), "\ntelemetry_prometheus_dropped 2\n") {
		t.Error("the dropped metrics are not counted")
	}
}

func TestScrapeUnderChurn(t *testing.T) {
	tree := telemetry.New()
	srv := httptest.NewServer(New(tree, Options{}))
	defer srv.Close()
	defer srv.Client().CloseIdleConnections()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range uint32(2) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				s := tree.Scope("rt", "out", "client", fmt.Sprint(w, i%20))
				s.Counter("requests").Incr(w)
				s.Histogram("request_latency_ms").Add(w, int64(i))
				s.Close()
			}
		})
	}
	for range 20 {
		resp, err := srv.Client().Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range families["rt_client_request_latency_seconds"].GetMetric() {
			last := uint64(0)
			for _, b := range m.GetHistogram().GetBucket() {
				if b.GetCumulativeCount() < last {
					t.Fatalf("buckets are not cumulative: %v", m)
				}
				last = b.GetCumulativeCount()
			}
			if last != m.GetHistogram().GetSampleCount() {
				t.Fatalf("the +Inf bucket and the count differ: %v", m)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func BenchmarkScrapeOfAThousandServices(b *testing.B) {
	tree := telemetry.New()
	for i := range 1000 {
		for _, s := range []telemetry.Scope{
			tree.Scope("rt", "out", "service", fmt.Sprint("svc/service-", i)),
			tree.Scope("rt", "out", "client", fmt.Sprint("#/io.l5d.k8s/default/http/service-", i)),
		} {
			for j := range 20 {
				s.Counter(fmt.Sprint("c", j)).Incr(0)
			}
			s.Histogram("request_latency_ms").Add(0, 5e6)
			s.Histogram("connect_latency_ms").Add(0, 5e5)
		}
	}
	e := New(tree, Options{})
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		w.Body = nil
		e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	}
}
