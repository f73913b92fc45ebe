//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/test/testkit/load/openloop"
)

// testOutage: with the API server away nothing fails, and a proxy that is killed meanwhile is soon back with all it knew, also of
// a Service that nobody had called before.
func testOutage(t *testing.T, e *environment) {
	const victim = "n3"
	e.ready(t)
	pod := e.proxies(t)[victim]
	pids := e.pids(t, pod.Name)
	fleet := e.fleet(t)
	fleet.start(t, "web", 0)
	fleet.sent(t, rate/4)

	gone := time.Now()
	e.run(t, "hack/cluster/apiserver", "stop")
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = e.restartAPIServer() // the next steps have a chance
		}
	})
	fleet.sent(t, rate*int(e.sizes.apiServerAway/time.Second)/2)
	killed := time.Now()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	e.backAfter(t, pids, &pod)
	back := time.Now()
	if s := fleet.once(t, victim, ownNode, "quiet.e2e"); s.Failed() || s.Version != "quiet" {
		t.Errorf("a Service that had no traffic before: %+v", s)
	}
	if left := e.sizes.apiServerAway - time.Since(gone); left > 0 {
		fleet.sent(t, int(rate*left.Seconds()))
	}
	e.run(t, "hack/cluster/apiserver", "start")
	e.note("API server away for %.0f s", time.Since(gone).Seconds())
	fleet.sent(t, rate*5) // the watches come back under traffic
	all := fleet.stop(t)
	var unexcused []openloop.Sample
	for _, s := range all[victim].Failures {
		if ended := s.Start.Add(s.Latency); ended.Before(killed) || s.Start.After(back) {
			unexcused = append(unexcused, s)
		}
	}
	if len(unexcused) > 0 {
		t.Errorf("%s: failed while its proxy was up, killed at %s and ready at %s:\n%s", victim, killed.Format(clock), back.Format(clock),
			failures(unexcused))
	}
	e.note("on the node of the killed proxy %d of %d failed", all[victim].Failed, all[victim].Sent)
	delete(all, victim)
	e.note("on the others 0 of %d failed", noneFailed(t, all))
	begin := time.Now()
	e.setRuleAndWait(t, allV2)
	e.note("API server back and seen to be to an edit programmed: %.1f s", time.Since(begin).Seconds())
	e.ready(t)
}

func (e *environment) restartAPIServer() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return e.tryIn(ctx, "hack/cluster/apiserver", "start")
}

// backAfter waits until a killed proxy is ready again. Two seconds are the promise, of which
// the kubelet, which looks once a second, may take one and a bit; what is ours is bounded in any case.
func (e *environment) backAfter(t *testing.T, killed []int, pod *corev1.Pod) {
	t.Helper()
	const promised, ours, kubelets = 2 * time.Second, time.Second, 1200 * time.Millisecond
	begin := time.Now()
	started := eventually(t, settle, "the kubelet starts the proxy again", func() error {
		for _, pid := range proxyProcesses(t, string(pod.UID)) {
			if !slices.Contains(killed, pid) {
				return nil
			}
		}
		return errors.New("no new process")
	})
	eventually(t, settle, "the killed proxy is ready", func() error {
		status, body, err := e.get(t, "http://"+pod.Status.PodIP+":9990/admin/ready")
		if err == nil && status != http.StatusOK {
			err = errors.New(body)
		}
		return err
	})
	took := time.Since(begin)
	e.note("kill -9 to ready again, without the API server: %s, of which the kubelet took %s", took.Round(time.Millisecond),
		started.Round(time.Millisecond))
	if took > promised && started <= kubelets || took-started > ours {
		t.Errorf("the killed proxy was started after %s and ready after %s; %s are promised", started, took, promised)
	}
}

// proxyProcesses finds the proxy of a Pod without the API server.
func proxyProcesses(t *testing.T, podUID string) []int {
	t.Helper()
	files, err := filepath.Glob("/sys/fs/cgroup/pids/kube/*/kubepods/*/pod" + podUID + "/*/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		text, _ := os.ReadFile(file) // a cgroup may vanish while it is read
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if program, _ := os.Readlink("/proc/" + field + "/exe"); err == nil && program == "/proxy" {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// testBadInput: a refused Dtab and a refused Mesh say where they are wrong, and the last good ones are served, also by proxies
// that never saw them: those that start when all were deleted at once.
func testBadInput(t *testing.T, e *environment) {
	e.setRuleAndWait(t, allV2)
	e.setBase(t, "/#/io.l5d.k8s/default/http/web-v1")
	e.ready(t)
	fleet := e.fleet(t)
	fleet.start(t, "web", 0)
	fleet.sent(t, rate/4)

	e.setRule(t, allV1+" & & "+allV2)
	e.refused(t, `^spec\.dentries\[0\]\.dst:1:\d+: expected .+, found .+`, func() (client.Object, []metav1.Condition, error) {
		dtab, err := e.dtab(t)
		return dtab, dtab.Status.Conditions, err
	})
	e.setBase(t, "/#/io.l5d.k8s/default/http/web-v1 | ")
	e.refused(t, `^spec\.routers\[0\]\.dtab\[0\]\.dst:1:\d+: expected .+, found .+`, func() (client.Object, []metav1.Condition, error) {
		mesh, err := e.mesh(t)
		return mesh, mesh.Status.Conditions, err
	})
	fleet.sent(t, rate)
	all := fleet.stop(t)
	noneFailed(t, all)
	if byVersion, total := versions(all); byVersion["v2"] != total {
		t.Errorf("versions %v, want v2 alone: the last good rule", byVersion)
	}

	before := e.proxies(t)
	begin := time.Now()
	if err := e.client.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(namespace), proxyLabels()); err != nil {
		t.Fatal(err)
	}
	e.proxies(t)
	e.note("all proxies deleted to all ready: %.1f s", time.Since(begin).Seconds())
	for node, pod := range e.proxies(t) {
		if pod.UID == before[node].UID {
			t.Errorf("%s still has the proxy that was deleted", node)
		}
		for host, want := range map[string]string{"web": "v2", "alias": "v1"} {
			for range 20 {
				if s := fleet.once(t, node, ownNode, host); s.Failed() || s.Version != want {
					t.Errorf("%s on %s after the restart: %+v, want %s", host, node, s, want)
					break
				}
			}
		}
	}
	e.setBase(t, "")
	e.setRuleAndWait(t, allV2)
	e.ready(t)
}

// setBase gives the Mesh a rule of its own for the name alias; "" takes it away.
func (e *environment) setBase(t *testing.T, dst string) {
	t.Helper()
	mesh, err := e.mesh(t)
	if err != nil {
		t.Fatal(err)
	}
	patch := client.MergeFrom(mesh.DeepCopy())
	mesh.Spec.Routers = nil
	if dst != "" {
		mesh.Spec.Routers = mesh.Spec.WithDefaults().Routers
		router := &mesh.Spec.Routers[0]
		router.Dtab = append([]v1alpha1.Dentry{{Prefix: "/alias", Dst: dst}}, router.Dtab...)
		router.Dtab = append(router.Dtab, v1alpha1.Dentry{Prefix: "/svc/alias", Dst: "/alias"})
	}
	if err := e.client.Patch(t.Context(), mesh, patch); err != nil {
		t.Fatal(err)
	}
}

// refused waits for Accepted=False of the newest generation, with a message of this form.
func (e *environment) refused(t *testing.T, form string, get func() (client.Object, []metav1.Condition, error)) {
	t.Helper()
	eventually(t, settle, "Accepted=False", func() error {
		o, conditions, err := get()
		if err != nil {
			return err
		}
		if err := condition(o, conditions, v1alpha1.ConditionAccepted, metav1.ConditionFalse); err != nil {
			return err
		}
		c := meta.FindStatusCondition(conditions, v1alpha1.ConditionAccepted)
		if c.Reason != v1alpha1.ReasonInvalid || !regexp.MustCompile(form).MatchString(c.Message) {
			return fmt.Errorf("reason %s, message %q, want %s", c.Reason, c.Message, form)
		}
		return nil
	})
}

// testFrozen: a proxy that does nothing is not counted as one that serves.
func testFrozen(t *testing.T, e *environment) {
	e.ready(t)
	rolls := map[string]int{}
	eventually(t, 2*settle, "the last rollout is over, and told", func() error { // whoever tells was cut off from the API server too
		rolls = e.readyOn(t, "e2e", "roll")
		total := 0
		for _, n := range rolls {
			total += n
		}
		if total != 4 {
			return fmt.Errorf("ready endpoints %v", rolls)
		}
		return nil
	})
	victim := slices.Sorted(maps.Keys(rolls))[0] // a node that others send requests to
	proxies := e.proxies(t)
	pids := e.pids(t, proxies[victim].Name)
	send := func(signal syscall.Signal) error {
		var err error
		for _, pid := range pids {
			err = errors.Join(err, syscall.Kill(pid, signal))
		}
		return err
	}
	t.Cleanup(func() { _ = send(syscall.SIGCONT) })
	if err := send(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	both := func(check func(client.Object, []metav1.Condition) error) func() error {
		return func() error {
			mesh, err := e.mesh(t)
			if err != nil {
				return err
			}
			dtab, err := e.dtab(t)
			if err != nil {
				return err
			}
			return errors.Join(check(mesh, mesh.Status.Conditions), check(dtab, dtab.Status.Conditions))
		}
	}
	seen := eventually(t, 30*time.Second, "Programmed=False names the node", both(func(o client.Object, conditions []metav1.Condition) error {
		if err := condition(o, conditions, v1alpha1.ConditionProgrammed, metav1.ConditionFalse); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionProgrammed); !strings.HasPrefix(c.Message, "2/3, waiting for "+victim) {
			return fmt.Errorf("message %q", c.Message)
		}
		return nil
	}))
	e.withoutProxy(t, victim, proxies)
	if err := send(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	cleared := eventually(t, 30*time.Second, "Programmed=True again", both(func(o client.Object, conditions []metav1.Condition) error {
		return condition(o, conditions, v1alpha1.ConditionProgrammed, metav1.ConditionTrue)
	}))
	e.note("SIGSTOP to Programmed=False: %.1f s; SIGCONT to True: %.1f s", seen.Seconds(), cleared.Seconds())
}
