//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

const (
	// namespace of the mesh of config/samples, and its name.
	namespace, meshName, dtabName = "fairlead", "demo", "web"
	systemNamespace               = "fairlead-system"
	nodeCount                     = 3
	// rate at which each node's client calls, whatever becomes of the calls. On two processors three nodes that start Pods need nearly all
	// of both; at three times the rate calls queue for seconds for want of a processor, which tells nothing of a proxy.
	rate = 100
	// The rules that send all of web's traffic to one version.
	allV1 = "/#/io.l5d.k8s/default/http/web-v1"
	allV2 = "/#/io.l5d.k8s/default/http/web-v2"
	// settle is how long anything may take that is nobody's promise but would be broken if it took longer.
	settle = 90 * time.Second
	// poll is the least time between two looks.
	poll = 50 * time.Millisecond
)

// environment is the cluster, and what the steps found out.
type environment struct {
	sizes    sizes
	root     string
	rest     *rest.Config
	client   client.WithWatch
	http     *http.Client
	outcomes []outcome
}

func newEnvironment(t *testing.T, s sizes) *environment {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	log.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatalf("KUBECONFIG (hack/e2e sets it): %v", err)
	}
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // straight, whatever the environment says
	config.QPS, config.Burst = 200, 400
	return &environment{sizes: s, root: root, rest: config, client: newClient(t, config), http: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

func newClient(t *testing.T, config *rest.Config) client.WithWatch {
	t.Helper()
	if err := v1alpha1.AddToScheme(clientgoscheme.Scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a program of the repository and returns what it printed.
func (e *environment) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := e.try(t, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

func (e *environment) try(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	return e.tryIn(ctx, program, args...)
}

func (e *environment) tryIn(ctx context.Context, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, filepath.Join(e.root, program), args...)
	command.Dir = e.root
	var failed strings.Builder
	command.Stderr = &failed
	out, err := command.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, failed.String())
	}
	return string(out), err
}

func (e *environment) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return e.run(t, "hack/cluster/kubectl", args...)
}

// eventually looks until check is content, and fails the test when it is not in time.
func eventually(t *testing.T, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := check()
		took := time.Since(begin)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, err)
		case <-ticker.C:
		}
	}
}

func (e *environment) get(t *testing.T, url string) (int, string, error) {
	t.Helper()
	return e.call(t, http.MethodGet, url)
}

func (e *environment) call(t *testing.T, method, url string) (int, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := e.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), errors.Join(err, response.Body.Close())
}

// pods returns the running Pods with a label that are not about to end, by node.
func (e *environment) pods(t *testing.T, namespace string, labels client.MatchingLabels) (map[string]corev1.Pod, error) {
	t.Helper()
	var list corev1.PodList
	if err := e.client.List(t.Context(), &list, client.InNamespace(namespace), labels); err != nil {
		return nil, err
	}
	byNode := make(map[string]corev1.Pod)
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			byNode[pod.Spec.NodeName] = pod
		}
	}
	return byNode, nil
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func proxyLabels() client.MatchingLabels {
	return client.MatchingLabels{"app.kubernetes.io/name": "fairlead-proxy", "app.kubernetes.io/instance": meshName}
}

// proxies returns the proxy Pods by node, once each node has one that is ready.
func (e *environment) proxies(t *testing.T) map[string]corev1.Pod {
	t.Helper()
	var found map[string]corev1.Pod
	eventually(t, settle, "a ready proxy on every node", func() error {
		pods, err := e.pods(t, namespace, proxyLabels())
		if err != nil {
			return err
		}
		for node, pod := range pods {
			if !podReady(&pod) {
				return fmt.Errorf("%s on %s is not ready", pod.Name, node)
			}
		}
		if len(pods) != nodeCount {
			return fmt.Errorf("%d Pods", len(pods))
		}
		found = pods
		return nil
	})
	return found
}

func (e *environment) mesh(t *testing.T) (*v1alpha1.Mesh, error) {
	t.Helper()
	mesh := &v1alpha1.Mesh{}
	return mesh, e.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: meshName}, mesh)
}

func (e *environment) dtab(t *testing.T) (*v1alpha1.Dtab, error) {
	t.Helper()
	dtab := &v1alpha1.Dtab{}
	return dtab, e.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: dtabName}, dtab)
}

// condition returns an error unless the condition is of this generation and has this status.
func condition(o client.Object, conditions []metav1.Condition, kind string, status metav1.ConditionStatus) error {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return fmt.Errorf("%s has no condition %s", o.GetName(), kind)
	}
	if c.ObservedGeneration != o.GetGeneration() || c.Status != status {
		return fmt.Errorf("%s: generation %d, %s=%s of generation %d (%s: %s), want %s", o.GetName(), o.GetGeneration(), kind, c.Status,
			c.ObservedGeneration, c.Reason, c.Message, status)
	}
	return nil
}

// ready waits until the mesh and its Dtab are, and every proxy serves both.
func (e *environment) ready(t *testing.T) {
	t.Helper()
	defer func() {
		if t.Failed() {
			e.tellOfProxies(t)
		}
	}()
	eventually(t, 2*settle, "mesh and dtab ready", func() error {
		mesh, err := e.mesh(t)
		if err != nil {
			return err
		}
		dtab, err := e.dtab(t)
		if err != nil {
			return err
		}
		return errors.Join(condition(mesh, mesh.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue),
			condition(dtab, dtab.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue))
	})
}

// tellOfProxies logs what the proxies report and say, where waiting for them was in vain.
func (e *environment) tellOfProxies(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "-o", "wide"},
		{"get", "meshproxies", "-o", "yaml"},
		{"logs", "-l", "app.kubernetes.io/name=fairlead-proxy", "--prefix", "--tail=40"},
		{"logs", "-l", "app.kubernetes.io/name=fairlead-proxy", "--prefix", "--tail=40", "--previous"},
	} {
		out, err := e.try(t, "hack/cluster/kubectl", append([]string{"-n", namespace}, args...)...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// setRule writes the one rule of the Dtab and returns its generation.
func (e *environment) setRule(t *testing.T, dst string) int64 {
	t.Helper()
	dtab, err := e.dtab(t)
	if err != nil {
		t.Fatal(err)
	}
	patch := client.MergeFrom(dtab.DeepCopy())
	dtab.Spec.Dentries = []v1alpha1.Dentry{{Prefix: "/svc/web", Dst: dst}}
	if err := e.client.Patch(t.Context(), dtab, patch); err != nil {
		t.Fatal(err)
	}
	return dtab.Generation
}

// programmed waits until the Dtab says that every proxy serves a generation, and returns when it was seen to say so.
func (e *environment) programmed(t *testing.T, generation int64) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*settle)
	defer cancel()
	last := errors.New("nothing seen")
	look := func(dtab *v1alpha1.Dtab) bool {
		if dtab.Name == dtabName && dtab.Generation == generation {
			last = condition(dtab, dtab.Status.Conditions, v1alpha1.ConditionProgrammed, metav1.ConditionTrue)
		}
		return last == nil
	}
	for ctx.Err() == nil { // a watch may end at any time, above all after the API server was away
		var list v1alpha1.DtabList
		if err := e.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if look(&list.Items[i]) {
				return time.Now()
			}
		}
		w, err := e.client.Watch(ctx, &v1alpha1.DtabList{}, client.InNamespace(namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
		if err != nil {
			t.Fatal(err)
		}
		for event := range w.ResultChan() {
			if dtab, ok := event.Object.(*v1alpha1.Dtab); ok && look(dtab) {
				w.Stop()
				return time.Now()
			}
		}
		w.Stop()
	}
	t.Fatalf("generation %d is not programmed: %v", generation, last)
	return time.Time{}
}

// pids returns the processes of the proxy in a Pod, as this machine numbers them.
func (e *environment) pids(t *testing.T, pod string) []int {
	t.Helper()
	var pids []int
	for _, field := range strings.Fields(e.run(t, "hack/cluster/pod-pids", namespace, pod, "proxy")) {
		var pid int
		if _, err := fmt.Sscan(field, &pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		t.Fatalf("pod %s has no process", pod)
	}
	return pids
}
