//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/test/testkit/load/openloop"
)

const (
	// ownNode is the proxy of the client's node, and service the one of any, as clients name them.
	ownNode = "http://$HOST_IP:4140/"
	service = "http://demo-proxy.fairlead:4140/"
	// clock is the form of times in messages.
	clock = "15:04:05.000"
)

// fleet is a client on every node.
type fleet struct {
	e         *environment
	addresses map[string]string // by node
}

func (e *environment) fleet(t *testing.T) *fleet {
	t.Helper()
	pods, err := e.pods(t, "fairlead-load", client.MatchingLabels{"app": "load"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{e: e, addresses: map[string]string{}}
	for node, pod := range pods {
		f.addresses[node] = "http://" + pod.Status.PodIP + ":8090"
	}
	if len(f.addresses) != nodeCount {
		t.Fatalf("%d clients, want one on each of %d nodes", len(f.addresses), nodeCount)
	}
	return f
}

func (f *fleet) ask(t *testing.T, method, node, path string, query url.Values, into any) {
	t.Helper()
	status, body, err := f.e.call(t, method, f.addresses[node]+path+"?"+query.Encode())
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	if err == nil && into != nil {
		err = json.Unmarshal([]byte(body), into)
	}
	if err != nil {
		t.Fatalf("client on %s: %v", node, err)
	}
}

// start begins to call a host from every node, through the proxy of the node. count 0 is until stop.
func (f *fleet) start(t *testing.T, host string, count int) {
	t.Helper()
	f.startAt(t, rate, host, count)
}

func (f *fleet) startAt(t *testing.T, rate int, host string, count int) {
	t.Helper()
	for node := range f.addresses {
		f.ask(t, http.MethodPost, node, "/start", url.Values{
			"target": {ownNode}, "host": {host}, "rate": {strconv.Itoa(rate)}, "count": {strconv.Itoa(count)},
		}, nil)
	}
}

// sent waits until every node has sent more requests, so that what follows happens under traffic, or after enough of it.
func (f *fleet) sent(t *testing.T, more int) {
	t.Helper()
	for node, was := range f.collect(t, http.MethodGet, "/results") {
		f.done(t, node, was.Done+more)
	}
}

// all waits until every node has sent what it was told to.
func (f *fleet) all(t *testing.T, count int) {
	t.Helper()
	for node := range f.addresses {
		f.done(t, node, count)
	}
}

func (f *fleet) done(t *testing.T, node string, count int) {
	t.Helper()
	eventually(t, settle+time.Duration(count/rate)*time.Second, "traffic from "+node, func() error {
		var now openloop.Summary
		f.ask(t, http.MethodGet, node, "/results", nil, &now)
		if now.Done < count {
			return fmt.Errorf("%d requests ended, want %d", now.Done, count)
		}
		return nil
	})
}

// stop ends the calls, waits for those under way and returns what became of all.
func (f *fleet) stop(t *testing.T) map[string]openloop.Summary {
	t.Helper()
	return f.collect(t, http.MethodPost, "/stop")
}

func (f *fleet) collect(t *testing.T, method, path string) map[string]openloop.Summary {
	t.Helper()
	all := map[string]openloop.Summary{}
	for node := range f.addresses {
		var s openloop.Summary
		f.ask(t, method, node, path, nil, &s)
		all[node] = s
	}
	return all
}

// once sends one request from a node.
func (f *fleet) once(t *testing.T, node, target, host string) openloop.Sample {
	t.Helper()
	var s openloop.Sample
	f.ask(t, http.MethodGet, node, "/get", url.Values{"target": {target}, "host": {host}}, &s)
	return s
}

// noneFailed is the check that counts: every request of these nodes was answered well, the first time.
func noneFailed(t *testing.T, all map[string]openloop.Summary) (sent int) {
	t.Helper()
	for node, s := range all {
		sent += s.Sent
		if s.Sent == 0 || s.Done != s.Sent {
			t.Errorf("%s: %d sent, %d ended", node, s.Sent, s.Done)
		}
		if s.Failed > 0 {
			t.Errorf("%s: %d of %d failed:\n%s", node, s.Failed, s.Sent, failures(s.Failures))
		}
	}
	return sent
}

// failures shows the first ones.
func failures(samples []openloop.Sample) string {
	var b strings.Builder
	for i, s := range samples {
		if i == 15 {
			fmt.Fprintf(&b, "  and %d more\n", len(samples)-i)
			break
		}
		fmt.Fprintf(&b, "  %s after %s: status %d version %q l5d-err %q error %q kept %t retried %t\n", s.Start.Format(clock), s.Latency,
			s.Status, s.Version, s.Reason, s.Error, s.Kept, s.Retried)
	}
	return b.String()
}

// versions sums up how many requests each version answered.
func versions(all map[string]openloop.Summary) (byVersion map[string]int, total int) {
	byVersion = map[string]int{}
	for _, s := range all {
		for version, span := range s.Versions {
			byVersion[version] += span.Count
			total += span.Count
		}
	}
	return byVersion, total
}
