//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/test/testkit/load/openloop"
)

const (
	// machine is this machine's address for Pods and nodes.
	machine = "10.89.0.1"
	// rollEndpoints are replaced in steps of rollSurge, as a Deployment with the default strategy does.
	rollEndpoints, rollSurge = 20, 5
	// rollRate is that of all requests together, over kept connections: with one for each, two processors have no time left for the rest.
	rollRate = 2000
	// noNewAfter is when an endpoint that terminates must have had its last request.
	noNewAfter = 500 * time.Millisecond
	// preStop is the sleep of Pods that have one.
	preStop = time.Second
)

// rolled is a Service whose endpoints are servers of this test, with slices written by hand: twenty Pods, ten times over, are more than two
// processors start.
type rolled struct {
	e       *environment
	next    int
	servers []*rolledServer
}

// rolledServer is one endpoint.
type rolledServer struct {
	slice  *discoveryv1.EndpointSlice
	server *http.Server
	// terminating is when the API server said so, in nanoseconds since 1970, or 0; late counts requests that came too long after it, and
	// latest is when the last one came.
	terminating, late, latest atomic.Int64
}

// ServeHTTP answers as a Pod that works for 2 ms.
func (s *rolledServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	now := time.Now().UnixNano()
	s.latest.Store(now)
	if at := s.terminating.Load(); at > 0 && now-at > int64(noNewAfter) {
		s.late.Add(1)
	}
	t := time.NewTimer(2 * time.Millisecond)
	<-t.C
	_, _ = fmt.Fprintln(w, "ok")
}

// add brings up one endpoint. It is on no node, so that requests go there directly: a second proxy on the way is for testRollouts, and more than
// two processors bear at this rate.
func (r *rolled) add(t *testing.T) *rolledServer {
	t.Helper()
	l, err := net.Listen("tcp", machine+":0")
	if err != nil {
		t.Fatal(err)
	}
	r.next++
	s := &rolledServer{slice: &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "e2e", Name: fmt.Sprintf("rolled-%d", r.next), Labels: map[string]string{discoveryv1.LabelServiceName: "rolled"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(l.Addr().(*net.TCPAddr).Port)), Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{machine},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
		}},
	}}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go s.server.Serve(l) //nolint:errcheck // it ends by Shutdown
	if err := r.e.client.Create(t.Context(), s.slice); err != nil {
		t.Fatal(err)
	}
	r.servers = append(r.servers, s)
	return s
}

// end takes an endpoint out as Kubernetes ends a Pod: its slice says so while its server sleeps, or closes at once.
func (s *rolledServer) end(ctx context.Context, c client.Client, sleep time.Duration) error {
	closed := make(chan error, 1)
	go func() {
		t := time.NewTimer(sleep)
		<-t.C
		closed <- s.server.Shutdown(ctx)
	}()
	conditions := &s.slice.Endpoints[0].Conditions
	conditions.Ready, conditions.Terminating = ptr.To(false), ptr.To(true)
	if err := c.Update(ctx, s.slice); err != nil {
		return err
	}
	s.terminating.Store(time.Now().UnixNano())
	if err := <-closed; err != nil {
		return err
	}
	return c.Delete(ctx, s.slice)
}

// roll replaces all endpoints.
func (r *rolled) roll(t *testing.T, sleep time.Duration) {
	t.Helper()
	old := r.servers
	r.servers = nil
	for len(old) > 0 {
		step := old[:min(rollSurge, len(old))]
		old = old[len(step):]
		for range step {
			r.add(t)
		}
		var ending sync.WaitGroup
		for _, s := range step {
			ending.Go(func() {
				if err := s.end(t.Context(), r.e.client, sleep); err != nil {
					t.Error(err)
				}
			})
		}
		ending.Wait()
		for _, s := range step {
			if n := s.late.Load(); n > 0 {
				t.Errorf("%s: %d requests came more than %v after it was terminating, the last after %v", s.slice.Name, n, noNewAfter,
					time.Duration(s.latest.Load()-s.terminating.Load()))
			}
		}
	}
}

// testRolling: endpoints are replaced again and again under traffic, by Pods that sleep before they end and by such that do not; no request fails
// or is reset, and who terminates is left alone soon.
func testRolling(t *testing.T, e *environment) {
	// A server that closes resets what waits to be accepted: that is sent again, as a Mesh may ask for.
	e.configure(t, func(spec *v1alpha1.MeshSpec) {
		spec.Routers = spec.WithDefaults().Routers
		spec.Routers[0].Services = []v1alpha1.Service{{
			Prefix: "/", ResponseClassifier: &v1alpha1.ResponseClassifier{Kind: v1alpha1.KindRetryableRead5XX},
		}}
	})
	defer e.configure(t, func(spec *v1alpha1.MeshSpec) { spec.Routers = nil })
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "e2e", Name: "rolled"},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	if err := e.client.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	r := &rolled{e: e}
	defer func() {
		ctx := context.WithoutCancel(t.Context())
		for _, s := range r.servers {
			_ = s.server.Close()
			_ = e.client.Delete(ctx, s.slice)
		}
		_ = e.client.Delete(ctx, service)
	}()
	for range rollEndpoints {
		r.add(t)
	}
	proxies := e.proxies(t)
	var runs []*openloop.Run
	for node := range proxies {
		var target string
		eventually(t, settle, "an answer of the new Service", func() error {
			pod := proxies[node]
			target = "http://" + pod.Status.HostIP + ":4140/"
			s, err := openloop.Once(t.Context(), target, "rolled.e2e")
			if err != nil || s.Failed() {
				return fmt.Errorf("%+v, %w", s, err)
			}
			return nil
		})
		run, err := openloop.Start(openloop.Options{Target: target, Host: "rolled.e2e", Rate: rollRate / nodeCount, Kept: true})
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run)
	}
	for range e.sizes.rolls {
		r.roll(t, preStop)
		r.roll(t, 0)
	}
	all := make(map[string]openloop.Summary)
	for i, run := range runs {
		run.Stop()
		all[fmt.Sprint(i)] = run.Summary()
	}
	sent := noneFailed(t, all)
	e.note("%d times %d endpoints at %d requests a second, half of them without a preStop sleep: 0 of %d requests failed",
		2*e.sizes.rolls, rollEndpoints, rollRate, sent)
}
