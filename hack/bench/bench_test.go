package main

import (
	"bytes"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/hack/bench/process"
)

const wrkOutput = `Running 10m test @ http://127.0.0.1:41000/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   321.00us   11.00us   1.00ms   90.00%
    Req/Sec    50.00k     1.00k   52.00k    90.00%
  Latency Distribution
     50%  286.00us
     75%  401.00us
     90%    0.98ms
     99%    1.02ms
  51234 requests in 1.10s, 8.10MB read
Requests/sec:  46576.36
Transfer/sec:      7.36MB
`

func TestParseWrk(t *testing.T) {
	s, err := parseWrk(wrkOutput)
	if err != nil || s.Requests != 51234 || s.Seconds != 1.1 || s.P50 != 286*time.Microsecond || s.P99 != 1020*time.Microsecond {
		t.Errorf("%+v, %v", s, err)
	}
	for _, line := range []string{"  Non-2xx or 3xx responses: 1\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"} {
		if _, err := parseWrk(wrkOutput + line); err == nil || err.Error() != strings.TrimSpace(line) {
			t.Errorf("%q: %v", line, err)
		}
	}
	none := strings.ReplaceAll(strings.ReplaceAll(wrkOutput, "51234 requests", "0 requests"), "286.00us", "0.00us")
	if _, err := parseWrk(none); !errors.Is(err, errNone) {
		t.Errorf("no request: %v", err)
	}
	if _, err := parseWrk("unable to connect to 127.0.0.1:41000 Connection refused\n"); err == nil {
		t.Error("no figures were taken for figures")
	}
}

func TestMedianAndInterval(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v", c.values, got)
		}
	}
	// The median of 15 draws from 15 values is among the four smallest when at least 8 draws are: that happens in 2.5 % of cases.
	values := []float64{15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
	if low, high := interval(values); low < 4 || low > 5 || high < 11 || high > 12 {
		t.Errorf("interval %v to %v", low, high)
	}
}

func TestGetWantsTheBackendsAnswer(t *testing.T) {
	answer := body
	code := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != service {
			t.Errorf("host %q", r.Host)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(answer))
	}))
	defer s.Close()
	addr := s.Listener.Addr().(*net.TCPAddr).String()
	if err := get(t.Context(), addr, 0); err != nil {
		t.Error(err)
	}
	code = http.StatusBadGateway
	if err := get(t.Context(), addr, 0); err == nil {
		t.Error("502 was taken for an answer")
	}
	code, answer = http.StatusOK, "another"
	if err := get(t.Context(), addr, 0); err == nil {
		t.Error("another body was taken for the backend's")
	}
}

func TestReverseProxyServes(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
	defer backend.Close()
	addrs, err := process.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = serveReverseProxy([]string{addrs[0], backend.Listener.Addr().String()}) }() // ends with the test's process
	waiting, err := process.Start(t.TempDir(), "sleep", process.AnyCore, nil, "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Stop()
	if err := waiting.Answers(t.Context(), time.Millisecond, func() error { return get(t.Context(), addrs[0], 0) }); err != nil {
		t.Error(err)
	}
}

// TestReport: a ratio is the median of those within a round, which is not the ratio of the medians.
func TestReport(t *testing.T) {
	cases, err := parseCases("keepalive-16")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: &options{rounds: 3, cases: cases}}
	r := &report{Versions: map[string]string{}}
	for name, costs := range map[string][]time.Duration{fairlead: {9, 45, 18}, "haproxy": {10, 60, 18}} {
		for round, micros := range costs {
			cpu := 100 * micros * time.Microsecond
			r.Samples = append(r.Samples, sample{
				Round: round, Case: "keepalive-16", Proxy: name, Requests: 100, Seconds: 1, CPU: cpu, User: cpu / 2,
				P50: time.Microsecond, P99: 10 * micros * time.Microsecond, Memory: 3 << 20,
			})
		}
	}
	b.proxies = []*proxy{{name: fairlead}, {name: "haproxy", version: "2.6"}, {name: twoHops, hops: 2}}
	r.finish(b)
	got := r.Results[1]
	if len(r.Results) != 2 || math.Abs(got.CPU.Median-0.9) > 1e-9 || got.CPU.Low != 0.75 || got.CPU.High != 1 || got.Tail != got.CPU ||
		got.Cost != 18 || got.User != 9 {
		t.Errorf("%+v", r.Results)
	}
	var out bytes.Buffer
	r.lines(&out, cases)
	if want := "keepalive-16 ours/haproxy=0.90\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	r.markdown(&out, cases)
	if want := "| haproxy 2.6 | 18.0 (9.0 + 9.0) | 0.90 (0.75-1.00) | 100 | 1 | 180 | 0.90 (0.75-1.00) | 3.0 |"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
}

func TestParseCases(t *testing.T) {
	all, err := parseCases("keepalive-512,hops")
	if err != nil || len(all) != 2 || all[0].conns != 512 || all[0].base() != fairlead || !all[1].hops || all[1].base() != twoHops {
		t.Errorf("%+v, %v", all, err)
	}
	all, err = parseCases(allCases)
	if err != nil || len(all) != 14 {
		t.Errorf("%d cases, %v", len(all), err)
	}
	for _, names := range []string{"", "keepalive-0", "keepalive-4097", "keepalive-x", "hops,hops", "hop", "hops,"} {
		if _, err := parseCases(names); err == nil {
			t.Errorf("%q was taken", names)
		}
	}
}

// TestQuickYields: what is given stands before what -quick means.
func TestQuickYields(t *testing.T) {
	o, err := parse([]string{"-quick", "-cases", "post-1k", "-rounds", "3"})
	if err != nil || len(o.cases) != 1 || o.cases[0].post != 1024 || o.rounds != 3 || o.duration != 300*time.Millisecond || len(o.peers) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parse([]string{"-quick"}); err != nil || len(o.cases) != 3 || o.rounds < 15 {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestGetCountsHops: each of Fairlead's proxies adds a Via to the answer, and an answer of fewer is none.
func TestGetCountsHops(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Via", "1.1 fairlead")
		w.Header().Add("Via", "1.1 fairlead")
		_, _ = w.Write([]byte(body))
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	if err := get(t.Context(), addr, 2); err != nil {
		t.Error(err)
	}
	if err := get(t.Context(), addr, 1); err == nil {
		t.Error("two hops were taken for one")
	}
}
