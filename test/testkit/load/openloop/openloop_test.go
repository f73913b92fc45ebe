package openloop

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecorderKeepsEveryOutcome(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := NewRecorder()
	for i, s := range []Sample{
		{Status: 200, Version: "v1", Latency: time.Millisecond},
		{Status: 200, Version: "v2", Latency: 3 * time.Millisecond},
		{Status: 200, Version: "v1", Latency: 2 * time.Millisecond},
		{Status: 502, Reason: "no-endpoints", Latency: time.Millisecond},
		{Error: "read: connection reset by peer", Kept: true},
		{Status: 200, Version: "v1", Retried: true},
	} {
		s.Start = at.Add(time.Duration(i) * time.Second)
		r.Record(&s)
	}
	r.notSent(at)
	got := r.Summary()
	if got.Done != 6 || got.Failed != 4 || got.NotSent != 1 || len(got.Failures) != 4 {
		t.Errorf("done %d, failed %d, not sent %d, kept %d failures", got.Done, got.Failed, got.NotSent, len(got.Failures))
	}
	spans := map[string]Span{
		"v1": {Count: 3, First: at, Last: at.Add(5 * time.Second)},
		"v2": {Count: 1, First: at.Add(time.Second), Last: at.Add(time.Second)},
	}
	if diff := cmp.Diff(spans, got.Versions); diff != "" {
		t.Error(diff)
	}
	outcomes := []Outcome{
		{Status: 200, Version: "v1", Count: 2},
		{Status: 502, Reason: "no-endpoints", Count: 1},
		{Error: "read: connection reset by peer", Count: 1},
		{Status: 200, Version: "v1", Retried: true, Count: 1},
		{Status: 200, Version: "v2", Count: 1},
	}
	if diff := cmp.Diff(outcomes, got.Outcomes); diff != "" {
		t.Error(diff)
	}
	if got.Max != 3*time.Millisecond || got.P99 != got.Max || got.P50 < time.Millisecond || got.P50 > 1100*time.Microsecond {
		t.Errorf("p50 %s, p99 %s, max %s", got.P50, got.P99, got.Max)
	}
	got.Versions["v1"] = Span{}
	if diff := cmp.Diff(spans, r.Summary().Versions); diff != "" {
		t.Errorf("the caller changed the recorder: %s", diff)
	}
}

// A server under test cannot make the recorder grow without end, and nothing is lost from the counts.
func TestRecorderIsBounded(t *testing.T) {
	r := NewRecorder()
	const n = 3000
	for i := range n {
		r.Record(&Sample{Status: 500, Version: fmt.Sprint("v", i), Reason: fmt.Sprint("reason ", i), Latency: time.Hour * time.Duration(i)})
	}
	got := r.Summary()
	if got.Failed != n || len(got.Failures) != maxFailures || len(got.Outcomes) > maxOutcomes+1 || len(got.Versions) > maxVersions+1 {
		t.Errorf("failed %d: %d failures, %d outcomes, %d versions", got.Failed, len(got.Failures), len(got.Outcomes), len(got.Versions))
	}
	var counted, seen int
	for _, o := range got.Outcomes {
		counted += o.Count
	}
	for _, s := range got.Versions {
		seen += s.Count
	}
	if counted != n || seen != n {
		t.Errorf("%d in outcomes, %d in versions, want %d", counted, seen, n)
	}
}

func TestRunUsesNewAndKeptConnections(t *testing.T) {
	var connections, requests, own atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "web" {
			t.Errorf("Host %q", r.Host)
		}
		if r.Close { // a connection for one request alone
			own.Add(1)
		}
		w.Header().Set("X-Version", "v1")
		if requests.Add(1) == 10 {
			w.Header().Set("L5d-Err", "no-endpoints")
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	const count = 100
	run, err := Start(Options{Target: server.URL, Host: "web", Rate: 500, Count: count})
	if err != nil {
		t.Fatal(err)
	}
	<-run.Ended()
	run.Stop()
	got := run.Summary()
	if got.Sent != count || got.Done != count || got.Failed != 1 {
		t.Errorf("sent %d, done %d, failed %d", got.Sent, got.Done, got.Failed)
	}
	if len(got.Failures) != 1 || got.Failures[0].Status != 502 || got.Failures[0].Reason != "no-endpoints" {
		t.Errorf("failures: %+v", got.Failures)
	}
	if c, alone := connections.Load(), own.Load(); alone != count/2 || c <= alone {
		t.Errorf("%d connections for %d requests, %d of these alone: half of them should be", c, count, alone)
	}
}

// What goes wrong below HTTP is named, and without the addresses that would make each failure its own kind.
func TestFailuresBelowHTTP(t *testing.T) {
	closed := httptest.NewServer(nil)
	address := closed.URL
	closed.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "short")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer cut.Close()
	for url, want := range map[string]string{address: "dial: ", cut.URL: "unexpected EOF"} {
		s, err := Once(t.Context(), url, "")
		if err != nil {
			t.Fatal(err)
		}
		if !s.Failed() || !strings.Contains(s.Error, want) || strings.Contains(s.Error, "127.0.0.1") {
			t.Errorf("%s: %+v, want an error with %q", url, s, want)
		}
	}
}

// A request that the client sent again on another connection is told apart: to a client that does not, it failed.
func TestRetriesAreSeen(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 2 {
			connection, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			connection.Close()
		}
	}))
	defer server.Close()
	client := newClient(DefaultTimeout, true)
	defer client.CloseIdleConnections()
	first, second := send(t.Context(), client, server.URL, ""), send(t.Context(), client, server.URL, "")
	if first.Failed() || !second.Retried || second.Status != http.StatusOK || !second.Failed() {
		t.Errorf("first %+v, second %+v", first, second)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{Target: "https://web", Rate: 1}, {Target: "web", Rate: 1}, {Target: "http://web"}, {Target: "http://web", Rate: 1e6},
	} {
		if _, err := Start(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
