package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// paths lists the flat names of a tree, its own metrics left out.
func paths(tree *Tree) []string {
	var out []string
	tree.Walk(func(m Metric) {
		if m.Scope == nil || m.Scope[0] != "telemetry" {
			out = append(out, m.Path())
		}
	})
	return out
}

func TestAskingTwiceGivesTheSame(t *testing.T) {
	tree := New()
	a := tree.Scope("rt", "out").Scope("server", "0.0.0.0/4140")
	b := tree.Scope("rt").Scope("out", "server", "/0.0.0.0/4140/")
	if a.Counter("requests") != b.Counter("requests") || a.Gauge("pending") != b.Gauge("pending") ||
		a.Histogram("request_latency_ms") != b.Histogram("request_latency_ms") {
		t.Error("two askers got two metrics")
	}
	if a.Counter("retries/total") != b.Scope("retries").Counter("total") {
		t.Error("a metric's path and its place differ")
	}
	want := []string{
		"rt/out/server/0.0.0.0/4140/pending", "rt/out/server/0.0.0.0/4140/request_latency_ms",
		"rt/out/server/0.0.0.0/4140/requests", "rt/out/server/0.0.0.0/4140/retries/total",
	}
	if diff := cmp.Diff(want, paths(tree)); diff != "" {
		t.Error(diff)
	}
}

func TestOneNameForTwoKindsIsSeenOnce(t *testing.T) {
	tree := New()
	tree.Counter("x").Incr(0)
	tree.Gauge("x").Set(7)
	tree.GaugeFunc("x", func() float64 { return 8 })
	if got := tree.unseen.Value(); got != 2 {
		t.Errorf("unseen = %d, want 2", got)
	}
	if diff := cmp.Diff([]string{"x"}, paths(tree)); diff != "" {
		t.Error(diff)
	}
}

func TestGaugeFuncIsReplaced(t *testing.T) {
	tree := New()
	for i := range 3 {
		tree.GaugeFunc("age", func() float64 { return float64(i) })
	}
	tree.Walk(func(m Metric) {
		if g, ok := m.Value.(*GaugeFunc); ok && m.Name == "age" && g.Value() != 2 {
			t.Errorf("age = %v, want 2", g.Value())
		}
	})
}

func TestCloseRemovesThePlaceAndAllBelow(t *testing.T) {
	tree := New()
	before := tree.Size()
	client := tree.Scope("rt", "out", "client", "#/io.l5d.fs/web")
	kept := tree.Scope("rt", "out", "client", "#/io.l5d.fs/web2").Counter("requests")
	requests := client.Counter("requests")
	client.Scope("loadbalancer").Gauge("size").Set(3)
	below := client.Scope("service", "svc/web")
	client.Close()
	client.Close()

	requests.Incr(0) // goes on working
	client.Counter("late").Incr(0)
	client.Scope("later").Gauge("g").Set(1)
	below.Histogram("x_ms").Add(0, 1)
	below.GaugeFunc("f", func() float64 { return 0 })
	if diff := cmp.Diff([]string{"rt/out/client/#/io.l5d.fs/web2/requests"}, paths(tree)); diff != "" {
		t.Error(diff)
	}
	again := tree.Scope("rt", "out", "client", "#/io.l5d.fs/web").Counter("requests")
	if again == requests || again.Value() != 0 || requests.Value() != 1 {
		t.Error("the new client counts on from the closed one")
	}
	if kept != tree.Scope("rt", "out", "client", "#/io.l5d.fs/web2").Counter("requests") {
		t.Error("the sibling was lost")
	}
	tree.Scope("rt").Close()
	if tree.Size() != before {
		t.Errorf("size = %d after closing all, want %d", tree.Size(), before)
	}
}

func TestAFullTreeFoldsAndCounts(t *testing.T) {
	const limit = 2000
	tree, err := NewTree(Options{MaxNodes: limit})
	if err != nil {
		t.Fatal(err)
	}
	status := tree.Scope("rt", "out", "server", "s", "status")
	for i := range 5000 {
		client := tree.Scope("rt", "out", "client", fmt.Sprint("c", i))
		client.Counter("requests").Incr(0)
		client.Histogram("request_latency_ms").Add(0, 1e6)
	}
	for i := range 5000 {
		status.Counter(fmt.Sprint(i)).Incr(0)
	}
	if tree.Size() > limit {
		t.Errorf("size = %d, over the limit of %d", tree.Size(), limit)
	}
	var sum, other uint64
	tree.Walk(func(m Metric) {
		if c, ok := m.Value.(*Counter); ok && m.Name == "requests" {
			sum += c.Value()
			if m.Scope[3] == Other {
				other = c.Value()
			}
		}
	})
	if sum != 5000 || other < 4000 {
		t.Errorf("requests add up to %d with %d in other, want 5000 and most of them", sum, other)
	}
	if got := status.Counter(Other).Value(); got != 5000 {
		t.Errorf("status/other = %d, want 5000", got)
	}
	if h := tree.Scope("rt", "out", "client", Other).Histogram("request_latency_ms"); h.Summary().Max != 1 {
		t.Errorf("the folded histogram reads %+v, want max 1 ms", h.Summary())
	}
	if tree.folded.Value() < 8000 {
		t.Errorf("folded = %d", tree.folded.Value())
	}

	// A folded place is shared, so one of its users leaving does not close it.
	tree.Scope("rt", "out", "client", "c4999").Close()
	if !slices.Contains(paths(tree), "rt/out/client/other/requests") {
		t.Error("closing one folded client closed the others")
	}
	for i := range 20 {
		tree.Scope("rt", "out", "client", fmt.Sprint("c", i)).Close()
	}
	tree.Scope("rt", "out", "client", "fits").Counter("requests")
	if !slices.Contains(paths(tree), "rt/out/client/fits/requests") {
		t.Error("room that came back is not used")
	}
}

func TestTheRoomForOthersIsBoundedToo(t *testing.T) {
	const limit = 400
	tree, err := NewTree(Options{MaxNodes: limit})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		s := tree.Scope(fmt.Sprint("a", i), fmt.Sprint("b", i))
		s.Counter(fmt.Sprint("c", i)).Incr(0)
		s.Gauge(fmt.Sprint("d", i)).Add(1)
		s.GaugeFunc(fmt.Sprint("e", i), func() float64 { return 1 })
	}
	if tree.Size() > limit {
		t.Errorf("size = %d, over the limit of %d", tree.Size(), limit)
	}
	if tree.unseen.Value() == 0 {
		t.Error("nothing was counted as unseen")
	}
}

func TestLongAndDeepNames(t *testing.T) {
	tree := New()
	tree.Scope("client", strings.Repeat("x", maxName+1)).Counter("requests").Incr(0)
	tree.Histogram(strings.Repeat("x", maxName)+"_ms").Add(0, 2e6)
	deep := Scope(tree)
	for range 100 {
		deep = deep.Scope("d")
	}
	deep.Counter("c").Incr(0)
	if diff := cmp.Diff([]string{"other_ms", "client/other/requests"}, paths(tree)); diff != "" {
		t.Error(diff)
	}
	if tree.folded.Value() != 2 || tree.unseen.Value() != 1 {
		t.Errorf("folded %d unseen %d, want 2 and 1", tree.folded.Value(), tree.unseen.Value())
	}
}

func TestJSON(t *testing.T) {
	tree := New()
	client := tree.Scope("rt", "http", "client", "#/io.l5d.fs/web")
	client.Counter("requests").Add(0, 12)
	client.Gauge("connections").Set(-3)
	client.GaugeFunc("load", func() float64 { return 0.25 })
	client.GaugeFunc("broken", func() float64 { return math.NaN() })
	client.Histogram("idle_ms")
	client.Histogram("request_latency_ms").AddDuration(0, 4*time.Millisecond)
	tree.Scope("rt", "http2").Counter("requests")
	tree.Scope("rt", "http", "service", "\"\\\n\x7f\xff").Counter("x")
	tree.Scope("rt/http").Counter("twice").Incr(0)
	tree.Scope("rt", "http").Counter("twice").Incr(0)

	base := "rt/http/client/#/io.l5d.fs/web/"
	want := map[string]float64{
		base + "requests": 12, base + "connections": -3, base + "load": 0.25, base + "idle_ms.count": 0,
		"rt/http/service/\"\\\n\x7f\uFFFD/x": 0, "rt/http/twice": 1,
	}
	for _, suffix := range []string{"sum", "avg", "min", "max", "p50", "p90", "p95", "p99", "p9990", "p9999"} {
		want[base+"request_latency_ms."+suffix] = 4
	}
	want[base+"request_latency_ms.count"] = 1
	for _, q := range []string{"rt/http", "/rt/http/"} {
		var out bytes.Buffer
		if err := tree.WriteJSON(&out, q); err != nil {
			t.Fatal(err)
		}
		var got map[string]float64
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, out.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("q=%s: %s", q, diff)
		}
		if n := strings.Count(out.String(), "\n") - 2; n != len(want) {
			t.Errorf("q=%s: %d lines for %d metrics", q, n, len(want))
		}
	}
	for q, want := range map[string]string{
		base + "requests": "{\n  \"" + base + "requests\": 12\n}\n",
		base + "broken":   "{\n}\n",
	} {
		var out bytes.Buffer
		if err := tree.WriteJSON(&out, q); err != nil || out.String() != want {
			t.Errorf("q=%s: %q, %v", q, out.String(), err)
		}
	}
	var out bytes.Buffer
	if err := tree.WriteJSON(&out, "rt/htt"); !errors.Is(err, ErrNoMetrics) || out.Len() > 0 {
		t.Errorf("an unknown path: %v, %q", err, out.String())
	}
}

func TestReadersAndWritersTogether(t *testing.T) {
	tree := New()
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var out bytes.Buffer
				if err := tree.WriteJSON(&out, ""); err != nil || !json.Valid(out.Bytes()) {
					t.Errorf("%v: %q", err, out.String())
				}
				tree.roll()
			}
		})
	}
	for w := range uint32(4) {
		writers.Go(func() {
			for i := range 2000 {
				s := tree.Scope("rt", "out", "client", fmt.Sprint(w, i%50))
				s.Counter("requests").Incr(w)
				s.Histogram("request_latency_ms").Add(w, int64(i)*1000)
				s.GaugeFunc("load", func() float64 { return 1 })
				if i%3 == 0 {
					s.Close()
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	tree.Scope("rt").Close()
	if got := paths(tree); len(got) > 0 {
		t.Errorf("left after closing: %v", got)
	}
}

// fill makes the metrics of services with one client each, as a router does.
func fill(tree *Tree, services int) {
	router := tree.Scope("rt", "outgoing")
	for i := range services {
		service := router.Scope("service", fmt.Sprint("svc/service-", i))
		client := router.Scope("client", fmt.Sprint("#/io.l5d.k8s/default/http/service-", i))
		for _, s := range []Scope{service, client, client.Scope("service", fmt.Sprint("svc/service-", i))} {
			for _, name := range []string{"requests", "success", "failures"} {
				s.Counter(name).Incr(0)
			}
			s.Gauge("pending")
			h := s.Histogram("request_latency_ms")
			for v := int64(100_000); v < 20_000_000; v = v * 3 / 2 {
				h.Add(0, v)
			}
		}
		for _, name := range []string{"connects", "cancelled_connects", "pool_num_waited", "pool_num_too_many_waiters", "status/200",
			"status/2XX", "status/404", "status/4XX", "status/503", "status/5XX", "status/error", "failures/ConnectTimeout",
			"loadbalancer/adds", "loadbalancer/removes", "loadbalancer/updates", "loadbalancer/max_effort_exhausted",
			"failure_accrual/removals", "failure_accrual/revivals", "failure_accrual/probes", "retries/requeues",
			"retries/budget_exhausted"} {
			client.Counter(name)
		}
		for _, name := range []string{"connections", "available", "pool_size", "pool_cached", "pool_waiters", "loadbalancer/size",
			"loadbalancer/available", "loadbalancer/busy", "loadbalancer/closed", "retries/budget",
			"loadbalancer/algorithm/p2c_least_loaded"} {
			client.Gauge(name)
		}
		client.Histogram("connect_latency_ms").Add(0, 300_000)
		service.Histogram("retries/per_request").Add(0, 0)
		service.Counter("retries/total")
	}
}

func TestAThousandServicesStaySmall(t *testing.T) {
	before := heap()
	tree := New()
	fill(tree, 1000)
	tree.roll()
	used := heap() - before
	if used > 16<<20 {
		t.Errorf("%d KiB for 1,000 services, want at most 16 MiB", used>>10)
	}
	if tree.folded.Value() > 0 {
		t.Errorf("1,000 services do not fit: size %d, folded %d", tree.Size(), tree.folded.Value())
	}
	t.Logf("%d nodes, %d KiB", tree.Size(), used>>10)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkJSONOfAThousandServices(b *testing.B) {
	tree := New()
	fill(tree, 1000)
	tree.roll()
	for b.Loop() {
		if err := tree.WriteJSON(discard{}, ""); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
