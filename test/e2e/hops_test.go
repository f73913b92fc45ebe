//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// incoming is the proxy of the client's node, asked as other proxies ask it.
const incoming = "http://$HOST_IP:4141/"

// counters returns metrics of a proxy, 0 where they are not there.
func (e *environment) counters(t *testing.T, pod *corev1.Pod, names ...string) []int64 {
	t.Helper()
	status, body, err := e.get(t, "http://"+pod.Status.PodIP+":9990/metrics.json?q=rt")
	if err != nil || status != http.StatusOK {
		t.Fatalf("metrics of %s: status %d, %v", pod.Name, status, err)
	}
	all := map[string]json.Number{}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err)
	}
	out := make([]int64, len(names))
	for i, name := range names {
		out[i], _ = all["rt/"+name].Int64()
	}
	return out
}

// counted sums metrics over proxies.
func (e *environment) counted(t *testing.T, proxies map[string]corev1.Pod, names ...string) []int64 {
	t.Helper()
	sums := make([]int64, len(names))
	for _, pod := range proxies {
		for i, n := range e.counters(t, &pod, names...) {
			sums[i] += n
		}
	}
	return sums
}

// testHops: every request passes two proxies, and the second goes where the first chose; also to a Service that has no endpoint on the
// client's node.
func testHops(t *testing.T, e *environment) {
	const each = 300
	e.setRuleAndWait(t, "1 * "+allV1+" & 1 * "+allV2) // a rule that incoming does not have
	proxies, fleet := e.proxies(t), e.fleet(t)
	names := []string{"outgoing/hops/taken", "outgoing/hops/missing", "incoming/chosen/obeyed", "incoming/chosen/remote",
		"incoming/chosen/unknown", "incoming/chosen/elsewhere", "incoming/chosen/unavailable", "incoming/chosen/refused"}
	for _, host := range []string{"web", "quiet.e2e"} {
		before := e.counted(t, proxies, names...)
		fleet.start(t, host, each)
		fleet.all(t, each)
		sent := int64(noneFailed(t, fleet.stop(t)))
		want := []int64{sent, 0, sent, 0, 0, 0, 0, 0}
		eventually(t, settle, "each request is counted at both proxies", func() error {
			got := e.counted(t, proxies, names...)
			for i := range got {
				if got[i]-before[i] != want[i] {
					return fmt.Errorf("%s: %s counts %d, want %d", host, names[i], got[i]-before[i], want[i])
				}
			}
			return nil
		})
		e.note("%s: %d requests, each through two proxies to the endpoint that the first chose", host, sent)
	}
	// Whoever asks a node without an endpoint directly is answered by one of another node.
	before := e.counted(t, proxies, "incoming/chosen/remote")
	for node := range fleet.addresses {
		if s := fleet.once(t, node, incoming, "quiet.e2e"); s.Failed() || s.Version != "quiet" {
			t.Errorf("incoming of %s: %+v", node, s)
		}
	}
	if after := e.counted(t, proxies, "incoming/chosen/remote"); after[0]-before[0] != nodeCount-1 {
		t.Errorf("%d of %d nodes went to another one, want %d", after[0]-before[0], nodeCount, nodeCount-1)
	}
}

// readyOn counts the ready endpoints of a Service by node, as proxies are told of them.
func (e *environment) readyOn(t *testing.T, namespace, service string) map[string]int {
	t.Helper()
	var slices discoveryv1.EndpointSliceList
	if err := e.client.List(t.Context(), &slices, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		t.Fatal(err)
	}
	ready := map[string]int{}
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			if e.NodeName != nil && e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready[*e.NodeName]++
			}
		}
	}
	return ready
}

// withoutProxy: while no proxy of a node is ready, the others go to its endpoints directly.
func (e *environment) withoutProxy(t *testing.T, victim string, proxies map[string]corev1.Pod) {
	t.Helper()
	eventually(t, settle, "the slices say that the proxy is not ready", func() error {
		if n := e.readyOn(t, namespace, "demo-proxy")[victim]; n > 0 {
			return fmt.Errorf("%d ready on %s", n, victim)
		}
		return nil
	})
	fleet := e.fleet(t)
	delete(fleet.addresses, victim)
	delete(proxies, victim)
	before := e.counted(t, proxies, "outgoing/hops/missing")
	fleet.start(t, "roll.e2e", rate)
	for node := range fleet.addresses {
		fleet.done(t, node, rate)
	}
	sent := noneFailed(t, fleet.stop(t))
	direct := e.counted(t, proxies, "outgoing/hops/missing")[0] - before[0]
	if direct == 0 {
		t.Errorf("none of %d requests went directly to an endpoint on %s", sent, victim)
	}
	e.note("without the proxy of %s: 0 of %d requests of the others failed, %d went directly", victim, sent, direct)
}
