//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func testInstall(t *testing.T, e *environment) {
	e.run(t, "hack/deploy", "images", "operator", "load")
	e.kubectl(t, "apply", "-f", "test/e2e/testdata/backends.yaml")
	// A run that was interrupted may have left its own mesh.
	e.kubectl(t, "-n", namespace, "delete", "mesh,dtab", "--all", "--timeout=60s")
}

// testApply: a Mesh of nothing but defaults gives its children, a ready proxy on every node, and an answer on both ways in.
func testApply(t *testing.T, e *environment) {
	begin := time.Now()
	e.kubectl(t, "apply", "-k", "config/samples")
	e.ready(t)
	e.note("apply to ready: %.1f s", time.Since(begin).Seconds())
	for name, o := range map[string]client.Object{
		"demo-proxy": &corev1.ServiceAccount{}, "demo-config": &corev1.ConfigMap{},
	} {
		if err := e.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			t.Error(err)
		}
	}
	for _, o := range []client.Object{&corev1.Service{}, &appsv1.DaemonSet{}, &rbacv1.RoleBinding{}} {
		if err := e.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "demo-proxy"}, o); err != nil {
			t.Error(err)
		}
	}
	e.proxies(t)
	e.kubectl(t, "-n", "e2e", "rollout", "status", "deployment/roll", "deployment/quiet", "--timeout=60s")
	fleet := e.fleet(t)
	for node := range fleet.addresses {
		for _, target := range []string{ownNode, service} {
			eventually(t, settle, "an answer through "+target, func() error { // the rules of Services follow with a delay
				if s := fleet.once(t, node, target, "web"); s.Failed() || !strings.Contains(s.Body, "host=web ") {
					return fmt.Errorf("from %s: %+v", node, s)
				}
				return nil
			})
		}
	}
}

func testHosts(t *testing.T, e *environment) {
	e.setRuleAndWait(t, allV2)
	fleet := e.fleet(t)
	for host, want := range map[string]string{
		"web": "v2", "WEB": "v2", "web:80": "v2", "web.default": "v2", "web.default.svc.cluster.local": "v2",
		"web-v1": "v1", "web-v1.default.svc": "v1", "web-v2": "v2", "roll.e2e": "0", "roll.e2e.svc.cluster.local:80": "0",
		"roll": "", "nowhere": "", "web.nowhere": "", "a.b.c": "",
	} {
		for node := range fleet.addresses {
			for range 5 {
				s := fleet.once(t, node, ownNode, host)
				switch {
				case want != "" && (s.Failed() || s.Version != want):
					t.Errorf("%s from %s: status %d %q from %q, want %q", host, node, s.Status, s.Reason, s.Version, want)
				case want == "" && (s.Status < 400 || s.Reason == "" || s.Version != ""):
					t.Errorf("%s from %s: status %d, l5d-err %q, version %q; want an error with its reason", host, node, s.Status, s.Reason, s.Version)
				}
			}
		}
	}
}

func (e *environment) setRuleAndWait(t *testing.T, dst string) {
	t.Helper()
	e.programmed(t, e.setRule(t, dst))
}

// testSplit: of 10,000 requests each version gets its weight, within 3 % of all.
func testSplit(t *testing.T, e *environment) {
	const requests = 10_000
	e.setRuleAndWait(t, "7 * "+allV1+" & 3 * "+allV2)
	fleet := e.fleet(t)
	each := requests/nodeCount + 1
	fleet.startAt(t, 3*rate, "web", each) // nothing else is going on
	fleet.all(t, each)
	all := fleet.stop(t)
	noneFailed(t, all)
	byVersion, total := versions(all)
	share := float64(byVersion["v1"]) / float64(total)
	e.note("70:30 asked, %.1f:%.1f seen of %d requests", share*100, 100-share*100, total)
	if total < requests || byVersion["v1"]+byVersion["v2"] != total || math.Abs(share-0.7) > 0.03 {
		t.Errorf("%v of %d requests, want 70 %% and 30 %%", byVersion, total)
	}
}

// testCutover: once Programmed is true, no request that begins follows the old rule.
func testCutover(t *testing.T, e *environment) {
	e.setRuleAndWait(t, allV1)
	fleet := e.fleet(t)
	rules, names := []string{allV1, allV2}, []string{"v1", "v2"}
	var took []time.Duration
	for i := range e.sizes.cutovers {
		from, to := i%2, (i+1)%2
		fleet.start(t, "web", 0)
		fleet.sent(t, rate/4)
		written := time.Now()
		at := e.programmed(t, e.setRule(t, rules[to]))
		took = append(took, at.Sub(written))
		fleet.sent(t, rate/2)
		all := fleet.stop(t)
		noneFailed(t, all)
		for node, s := range all {
			old, now := s.Versions[names[from]], s.Versions[names[to]]
			if old.Last.After(at) {
				t.Errorf("%s: programmed at %s, and a request of %s followed the old rule", node, at, old.Last)
			}
			if now.Count == 0 || now.First.Before(written.Add(-time.Second)) {
				t.Errorf("%s: %d requests followed the new rule, the first at %s; written at %s", node, now.Count, now.First, written)
			}
		}
	}
	e.note("write to Programmed=True: %s", quantiles(took))
}

// testEdits: edits under traffic fail nothing and restart nothing, and each is served by every node soon.
func testEdits(t *testing.T, e *environment) {
	before := e.proxies(t)
	fleet := e.fleet(t)
	fleet.start(t, "web", 0)
	fleet.sent(t, rate/4)
	took := make([]time.Duration, 0, e.sizes.edits)
	var generation int64
	for i := range e.sizes.edits {
		written := time.Now()
		generation = e.setRule(t, fmt.Sprintf("%d * %s & %d * %s", 1+i%9, allV1, 9-i%9, allV2))
		took = append(took, e.served(t, before, generation).Sub(written))
	}
	e.programmed(t, generation)
	sent := noneFailed(t, fleet.stop(t))
	e.note("%d edits, 0 of %d requests failed", e.sizes.edits, sent)
	e.note("write to served on all nodes, under traffic: %s", quantiles(took))
	after := e.proxies(t)
	for node, pod := range after {
		if pod.UID != before[node].UID || pod.Status.ContainerStatuses[0].RestartCount != before[node].Status.ContainerStatuses[0].RestartCount {
			t.Errorf("%s: the proxy was restarted: %s, before %s", node, pod.Name, before[node].Name)
		}
	}
}

// served returns when the last proxy was seen to serve a generation of the Dtab.
func (e *environment) served(t *testing.T, proxies map[string]corev1.Pod, generation int64) time.Time {
	t.Helper()
	deadline := time.Now().Add(settle)
	times := make(chan time.Time, len(proxies))
	var wg sync.WaitGroup
	for node, pod := range proxies {
		wg.Go(func() {
			ticker := time.NewTicker(5 * time.Millisecond)
			defer ticker.Stop()
			for range ticker.C {
				if now := time.Now(); e.serves(t, pod.Status.PodIP, generation) {
					times <- now
					return
				} else if now.After(deadline) {
					t.Errorf("%s does not serve generation %d", node, generation)
					return
				}
			}
		})
	}
	wg.Wait()
	close(times)
	var last time.Time
	for at := range times {
		if at.After(last) {
			last = at
		}
	}
	return last
}

func (e *environment) serves(t *testing.T, ip string, generation int64) bool {
	t.Helper()
	status, body, err := e.get(t, "http://"+ip+":9990/config.json")
	if err != nil || status != http.StatusOK {
		return false
	}
	var view struct {
		Dtabs []struct {
			Name       string
			Generation int64
		}
	}
	if err := json.Unmarshal([]byte(body), &view); err != nil {
		t.Errorf("config.json: %v", err)
		return false
	}
	for _, d := range view.Dtabs {
		if d.Name == namespace+"/"+dtabName {
			return d.Generation >= generation
		}
	}
	return false
}

func quantiles(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	slices.Sort(d)
	at := func(q float64) time.Duration {
		return d[max(0, int(math.Ceil(q*float64(len(d))))-1)].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s (n=%d)", at(0.5), at(0.99), at(1), len(d))
}

// testRollouts: all four Pods of a backend are replaced, again and again, and nobody notices.
func testRollouts(t *testing.T, e *environment) {
	fleet := e.fleet(t)
	fleet.start(t, "roll.e2e", 0)
	fleet.sent(t, rate/4)
	for i := 1; i <= e.sizes.rollouts; i++ {
		e.kubectl(t, "-n", "e2e", "set", "env", "deployment/roll", fmt.Sprintf("VERSION=%d", i))
		e.kubectl(t, "-n", "e2e", "rollout", "status", "deployment/roll", "--timeout=120s")
	}
	eventually(t, settle, "the last old Pods end", func() error {
		var pods corev1.PodList
		if err := e.client.List(t.Context(), &pods, client.InNamespace("e2e"), client.MatchingLabels{"app": "roll"}); err != nil {
			return err
		}
		if len(pods.Items) != 4 {
			return fmt.Errorf("%d Pods", len(pods.Items))
		}
		return nil
	})
	fleet.sent(t, rate/4)
	all := fleet.stop(t)
	sent := noneFailed(t, all)
	for node, s := range all {
		if got := len(s.Versions); got != e.sizes.rollouts+1 {
			t.Errorf("%s: %d versions answered, want %d", node, got, e.sizes.rollouts+1)
		}
	}
	e.note("%d rollouts of 4 Pods, 0 of %d requests failed", e.sizes.rollouts, sent)
	e.kubectl(t, "-n", "e2e", "set", "env", "deployment/roll", "VERSION=0")
}

// testOperatorRestart: the operator is no part of the data path.
func testOperatorRestart(t *testing.T, e *environment) {
	fleet := e.fleet(t)
	fleet.start(t, "web", 0)
	fleet.sent(t, rate/4)
	e.kubectl(t, "-n", systemNamespace, "delete", "pod", "-l", "app.kubernetes.io/name=fairlead-operator", "--timeout=60s")
	e.kubectl(t, "-n", systemNamespace, "rollout", "status", "deployment/fairlead-operator", "--timeout=120s")
	begin := time.Now()
	e.setRuleAndWait(t, "9 * "+allV1+" & 1 * "+allV2) // it works again
	e.note("new operator available to an edit programmed: %.1f s", time.Since(begin).Seconds())
	e.ready(t)
	fleet.sent(t, rate/4)
	e.note("0 of %d requests failed", noneFailed(t, fleet.stop(t)))
}
