package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/test/testkit/load/openloop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func call(t *testing.T, method, url string, into any) int {
	t.Helper()
	status, body := do(t, method, url)
	if into != nil && status == http.StatusOK {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return status
}

func text(t *testing.T, url string) string {
	t.Helper()
	_, body := do(t, http.MethodGet, url)
	return string(body)
}

func do(t *testing.T, method, url string) (int, []byte) {
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
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func TestRunIsDrivenOverHTTP(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Version", "v7") }))
	defer backend.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(backend.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, listener, "127.0.0.1") }()
	base := "http://" + listener.Addr().String()
	target := "&target=" + url.QueryEscape("http://$HOST_IP:"+port+"/") + "&host=web"

	if got := call(t, http.MethodPost, base+"/start?name=a&rate=400"+target, nil); got != http.StatusOK {
		t.Fatalf("start: %d", got)
	}
	var summary openloop.Summary
	for summary.Done < 20 {
		call(t, http.MethodGet, base+"/results?name=a", &summary)
	}
	call(t, http.MethodPost, base+"/stop?name=a", &summary)
	if summary.Sent != summary.Done || summary.Failed != 0 || summary.Versions["v7"].Count != summary.Done {
		t.Errorf("%+v", summary)
	}
	if split := text(t, base+"/split?name=a"); split != fmt.Sprintf("v7 %d\nfailed 0\n", summary.Done) {
		t.Errorf("split: %q", split)
	}
	var sample openloop.Sample
	call(t, http.MethodGet, base+"/get?"+target, &sample)
	if sample.Status != http.StatusOK || sample.Version != "v7" || sample.Failed() {
		t.Errorf("%+v", sample)
	}
	for path, want := range map[string]int{
		"/start?rate=1&target=ftp://x": http.StatusBadRequest, "/start?rate=many" + target: http.StatusBadRequest,
		"/start?rate=1&count=x" + target: http.StatusBadRequest, "/stop?name=none": http.StatusNotFound,
	} {
		if got := call(t, http.MethodPost, base+path, nil); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	// One that still runs when the program ends is stopped: goleak would tell.
	call(t, http.MethodPost, base+"/start?name=b&rate=100"+target, nil)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
