//go:build scale

package scale

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/hack/bench/process"
)

const (
	// manyDtabs of perDtab rules each are 200,000.
	manyDtabs, perDtab = 100, 2000
	// proxyMemory and operatorMemory are the soft limits of the default containers: nine tenths of 512 MiB and of 1 GiB.
	proxyMemory, operatorMemory = "460MiB", "920MiB"
	// quiet is how long an endpoint gets no request until its last one is taken for the last. It would have had more than 50.
	quiet = 500 * time.Millisecond
)

// TestRules takes endpoints away from one proxy, and then gives it 200,000 rules beside an operator.
func TestRules(t *testing.T) {
	p := fromEnvironment(t)
	var results []string
	defer func() {
		fmt.Fprint(os.Stdout, "\n| what | median | p99 | most |\n| --- | --- | --- | --- |\n", strings.Join(results, "\n"), "\n\n")
	}()
	row := table(&results)
	// Both have what their containers are given by default.
	t.Setenv("GOMEMLIMIT", proxyMemory)
	network := newNetwork(t, 1)
	c := newCluster(t, network.address.String())
	for _, version := range []string{"v1", "v2"} {
		if err := c.service(t.Context(), "web-"+version, backend(t, network.address.String(), version), network.address.String()); err != nil {
			t.Fatal(err)
		}
	}
	c.create(t, dtab("v1"))
	one := startProxy(t, c, network.nodes[0], "demo-proxy-0", emptyFolder(t))
	t.Run("removals", func(t *testing.T) { removals(t, c, network, one, p.removals, row) })
	t.Run("rules", func(t *testing.T) { manyRules(t, c, one, p, row) })
}

// counted is a backend that knows when the last request came.
type counted struct {
	slice *discoveryv1.EndpointSlice
	last  atomic.Int64 // Unix nanoseconds
}

// removals takes one of three endpoints of a Service away, again and again, and times the last request to it.
func removals(t *testing.T, c *cluster, network *network, p *proxy, n int, row rows) {
	all := make([]*counted, 3)
	for i := range all {
		all[i] = newCounted(t, c, network.address.String(), i)
	}
	askers, ctx := errgroup.WithContext(t.Context())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for range 4 {
		a := newAsker(t, p)
		a.request = []byte("GET / HTTP/1.1\r\nHost: pool\r\n\r\n")
		if err := p.Answers(t.Context(), 10*time.Millisecond, func() error { _, err := a.ask(); return err }); err != nil {
			t.Fatal(err)
		}
		askers.Go(func() error {
			for ctx.Err() == nil {
				if _, err := a.ask(); err != nil {
					return err
				}
				time.Sleep(2 * time.Millisecond) // the rate of the load
			}
			return nil
		})
	}
	var fromWrite, fromAnswer []float64
	for i := range n {
		b := all[i%len(all)]
		b.await(ctx, t)
		begin := time.Now()
		if err := c.admin.Delete(t.Context(), b.slice); err != nil {
			t.Fatal(err)
		}
		answered := time.Now()
		last := b.awaitQuiet(ctx, t, begin)
		fromWrite = append(fromWrite, millis(max(0, last.Sub(begin))))
		fromAnswer = append(fromAnswer, millis(max(0, last.Sub(answered))))
		b.slice.ResourceVersion, b.slice.UID = "", ""
		c.create(t, b.slice)
	}
	stop()
	if err := askers.Wait(); err != nil {
		t.Errorf("a request failed: %v", err)
	}
	row("EndpointSlice deleted to the last request to its endpoint", "ms", 0, fromWrite)
	row("the API server's answer to that, to the last request", "ms", 0, fromAnswer)
}

// newCounted makes one more slice of the Service pool, with an endpoint of its own.
func newCounted(t *testing.T, c *cluster, address string, i int) *counted {
	t.Helper()
	b := &counted{}
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.last.Store(time.Now().UnixNano())
		_, _ = io.WriteString(w, strconv.Itoa(i))
	})}
	go s.Serve(l) //nolint:errcheck // it ends by Close
	t.Cleanup(func() { _ = s.Close() })
	port := int32(l.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
	if i == 0 {
		if err := c.service(t.Context(), "pool", port, address); err != nil {
			t.Fatal(err)
		}
		b.slice = &discoveryv1.EndpointSlice{}
		if err := c.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "pool"}, b.slice); err != nil {
			t.Fatal(err)
		}
		return b
	}
	name, ready := "http", true
	b.slice = &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprintf("pool-%d", i), Labels: map[string]string{discoveryv1.LabelServiceName: "pool"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	c.create(t, b.slice)
	return b
}

// await waits until the endpoint gets requests.
func (b *counted) await(ctx context.Context, t *testing.T) {
	t.Helper()
	for begin := time.Now(); b.last.Load() < begin.UnixNano(); wait(t, time.Millisecond) {
		if ctx.Err() != nil || time.Since(begin) > time.Minute {
			t.Fatalf("an endpoint gets no requests: %v", ctx.Err())
		}
	}
}

// awaitQuiet waits until the endpoint gets none, and returns when it got the last.
func (b *counted) awaitQuiet(ctx context.Context, t *testing.T, removed time.Time) time.Time {
	t.Helper()
	for {
		last := time.Unix(0, b.last.Load())
		if time.Since(last) > quiet && time.Since(removed) > quiet {
			return last
		}
		if ctx.Err() != nil || time.Since(removed) > time.Minute {
			t.Fatalf("an endpoint that is gone still gets requests: %v", ctx.Err())
		}
		wait(t, 5*time.Millisecond)
	}
}

// manyRules makes 100 Dtabs of 2,000 rules each, waits until they are served, edits one, and looks at what proxy and operator hold.
func manyRules(t *testing.T, c *cluster, p *proxy, params parameters, row rows) {
	t.Setenv("GOMEMLIMIT", operatorMemory)
	operator := startOperator(t, c)
	a := newAsker(t, p)
	begin := time.Now()
	all, ctx := errgroup.WithContext(t.Context())
	all.SetLimit(4)
	for i := range manyDtabs {
		all.Go(func() error { return c.admin.Create(ctx, manyDtab(i, "v1")) })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	written := time.Now()
	row("100 Dtabs of 2,000 rules, time to write them", "ms", 0, []float64{millis(written.Sub(begin))})
	a.request = []byte("GET / HTTP/1.1\r\nHost: many\r\n\r\n")
	served := func(version string) error {
		got, err := a.ask()
		if err == nil && got != version {
			err = fmt.Errorf("it serves %s", got)
		}
		return err
	}
	for i := range manyDtabs {
		// Each Dtab has a name of its own, so that the answer to it tells that the Dtab is served.
		a.request = []byte(fmt.Sprintf("GET / HTTP/1.1\r\nHost: many-%d\r\n\r\n", i))
		if err := p.Answers(t.Context(), 10*time.Millisecond, func() error { return a.retry(t, p, served("v1")) }); err != nil {
			t.Fatal(err)
		}
	}
	row("the last write to all served", "ms", 0, []float64{millis(time.Since(written))})
	var edits []float64
	for i := range 20 {
		version := fmt.Sprintf("v%d", 2-i%2)
		o := manyDtab(manyDtabs/2, version)
		a.request = []byte(fmt.Sprintf("GET / HTTP/1.1\r\nHost: many-%d\r\n\r\n", manyDtabs/2))
		begin := time.Now()
		if err := c.admin.Patch(t.Context(), o, client.Merge); err != nil {
			t.Fatal(err)
		}
		if err := p.Answers(t.Context(), 2*time.Millisecond, func() error { return served(version) }); err != nil {
			t.Fatal(err)
		}
		edits = append(edits, millis(time.Since(begin)))
	}
	row("edit of one of them to served", "ms", 0, edits)
	begin = time.Now()
	accepted(t, c)
	row("that to Accepted in the status of every Dtab", "ms", 0, []float64{millis(time.Since(begin))})
	memory(t, "proxy with 200,000 rules", []*process.Process{p.Process}, params.idle, row)
	memory(t, "operator with 200,000 rules", []*process.Process{operator}, params.idle, row)
}

// retry dials again after an error: a response that was not what was wanted may have ended the connection.
func (a *asker) retry(t *testing.T, p *proxy, err error) error {
	if err != nil {
		next := newAsker(t, p)
		a.conn, a.in = next.conn, next.in
	}
	return err
}

// manyDtab is one of many: rules of names that nobody asks for, and the last one of its own name.
func manyDtab(i int, version string) *v1alpha1.Dtab {
	o := dtab(version)
	o.Name, o.Spec.Dentries = fmt.Sprintf("many-%d", i), nil
	for k := range perDtab - 1 {
		o.Spec.Dentries = append(o.Spec.Dentries, v1alpha1.Dentry{
			Prefix: fmt.Sprintf("/svc/team-%d/name-%d", i, k),
			Dst:    fmt.Sprintf("9 * /#/io.l5d.k8s/default/http/name-%d & 1 * /#/io.l5d.k8s/default/http/canary", k),
		})
	}
	o.Spec.Dentries = append(o.Spec.Dentries, v1alpha1.Dentry{
		Prefix: fmt.Sprintf("/svc/many-%d", i), Dst: "/#/io.l5d.k8s/default/http/web-" + version,
	})
	return o
}

// accepted waits until the status of every Dtab says that its newest generation is accepted.
func accepted(t *testing.T, c *cluster) {
	t.Helper()
	limit := time.Now().Add(5 * time.Minute)
	for {
		var list v1alpha1.DtabList
		if err := c.admin.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		missing := 0
		for _, d := range list.Items {
			ok := false
			for _, condition := range d.Status.Conditions {
				ok = ok || condition.Type == v1alpha1.ConditionAccepted && condition.Status == metav1.ConditionTrue &&
					condition.ObservedGeneration == d.Generation
			}
			if !ok {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%d of %d Dtabs are not accepted", missing, len(list.Items))
		}
		wait(t, 200*time.Millisecond)
	}
}
