package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves on a free port. stop is SIGTERM, the lameduck time lasts until grace is closed, and done gives serve's result.
func start(t *testing.T, grace <-chan time.Time) (url string, stop context.CancelFunc, done <-chan error) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	result := make(chan error, 1)
	go func() {
		result <- serve(ctx, listener, identity{"web", "v1", "web-1", "n1"}, func() <-chan time.Time { return grace })
	}()
	return "http://" + listener.Addr().String(), cancel, result
}

// over is a lameduck time of nothing.
func over() <-chan time.Time {
	grace := make(chan time.Time)
	close(grace)
	return grace
}

func call(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // read below
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestServerSaysWhoItIs(t *testing.T) {
	url, stop, done := start(t, over())
	response, body := call(t, http.MethodPost, url+"/any")
	if want := "name=web version=v1 pod=web-1 node=n1 from="; !strings.HasPrefix(body, want) {
		t.Errorf("body %q, want %q first", body, want)
	}
	if got := response.Header.Get("X-Version"); got != "v1" {
		t.Errorf("X-Version %q", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReadinessIsToggled(t *testing.T) {
	url, stop, done := start(t, over())
	for _, want := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		call(t, http.MethodPost, url+"/toggle")
		if response, _ := call(t, http.MethodGet, url+"/ready"); response.StatusCode != want {
			t.Errorf("/ready: %d, want %d", response.StatusCode, want)
		}
		if response, _ := call(t, http.MethodGet, url); response.StatusCode != http.StatusOK {
			t.Errorf("a server that is not ready answers %d", response.StatusCode)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A lameduck server answers, keeps ready, and gives its connections up, until its time is over.
func TestLameduckKeepsServing(t *testing.T) {
	grace := make(chan time.Time)
	url, stop, done := start(t, grace)
	call(t, http.MethodGet, url)
	stop()
	for closed := false; !closed; { // the signal is noticed some time after it was sent
		response, body := call(t, http.MethodGet, url)
		if response.StatusCode != http.StatusOK || !strings.Contains(body, "version=v1") {
			t.Fatalf("lameduck answers %d %q", response.StatusCode, body)
		}
		closed = response.Close
	}
	if response, _ := call(t, http.MethodGet, url+"/ready"); response.StatusCode != http.StatusOK {
		t.Errorf("lameduck is not ready: %d", response.StatusCode)
	}
	select {
	case err := <-done:
		t.Fatalf("it ended in its lameduck time: %v", err)
	default:
	}
	close(grace)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestClientCommands(t *testing.T) {
	url, stop, done := start(t, over())
	var out bytes.Buffer
	if err := run(t.Context(), []string{"get", url + "/p", "other.example"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "host=other.example path=/p") {
		t.Errorf("get printed %q", out.String())
	}
	call(t, http.MethodPost, url+"/toggle")
	if err := run(t.Context(), []string{"get", url + "/ready"}, io.Discard); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("get of a 503: %v", err)
	}
	out.Reset()
	if err := run(t.Context(), []string{"lookup", "localhost"}, &out); err != nil || !strings.Contains(out.String(), "127.0.0.1") {
		t.Errorf("lookup printed %q, %v", out.String(), err)
	}
	for _, args := range [][]string{{"get"}, {"lookup"}, {"put", url}, {"get", url, "h", "more"}} {
		if err := run(t.Context(), args, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "usage:") {
			t.Errorf("%q: %v", args, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGrace(t *testing.T) {
	if got, err := graceOf("1500"); err != nil || got != 1500*time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"-1", "1s", "99999999999"} {
		if _, err := graceOf(text); err == nil {
			t.Errorf("GRACE_MS=%s is taken", text)
		}
	}
}
