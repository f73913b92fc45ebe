//go:build scale

package scale

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/hack/bench/process"
)

// parameters come from the environment; hack/scale -h lists them.
type parameters struct {
	proxies, edits, starts, services, removals int
	idle, pause, poll                          time.Duration
}

func fromEnvironment(t *testing.T) parameters {
	t.Helper()
	number := func(name string, value int) int {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil || n < 1 || n > 10000 {
				t.Fatalf("%s: expected a number from 1 to 10000, found %q", name, s)
			}
			return n
		}
		return value
	}
	duration := func(name string, value time.Duration) time.Duration {
		if s := os.Getenv(name); s != "" {
			d, err := time.ParseDuration(s)
			if err != nil || d <= 0 {
				t.Fatalf("%s: expected a duration, found %q", name, s)
			}
			return d
		}
		return value
	}
	return parameters{
		proxies: number("PROXIES", 50), edits: number("EDITS", 200), starts: number("STARTS", 20), services: number("SERVICES", 1000),
		removals: number("REMOVALS", 200),
		idle:     duration("IDLE", time.Minute), pause: duration("PAUSE", 500*time.Millisecond), poll: duration("POLL", 10*time.Millisecond),
	}
}

// TestScale runs its parts in order: each measures on what the one before left.
func TestScale(t *testing.T) {
	p := fromEnvironment(t)
	var results []string
	defer func() {
		fmt.Fprint(os.Stdout, "\n| what | median | p99 | most |\n| --- | --- | --- | --- |\n", strings.Join(results, "\n"), "\n\n")
	}()
	row := table(&results)
	t.Run("standalone", func(t *testing.T) { standalone(t, p, row) })
	network := newNetwork(t, p.proxies)
	c := newCluster(t, network.address.String())
	for _, version := range []string{"v1", "v2"} {
		port := backend(t, network.address.String(), version)
		if err := c.service(t.Context(), "web-"+version, port, network.address.String()); err != nil {
			t.Fatal(err)
		}
	}
	c.create(t, dtab("v1"))
	t.Run("start", func(t *testing.T) { starts(t, c, network, p.starts, row) })

	proxies := make([]*proxy, p.proxies)
	defer stop(proxies)
	config := emptyFolder(t)
	for i, n := range network.nodes {
		proxies[i] = startProxy(t, c, n, fmt.Sprintf("demo-proxy-%d", i), config)
	}
	t.Run("edits", func(t *testing.T) { edits(t, c, proxies, p, row) })
	t.Run("idle", func(t *testing.T) { idle(t, "proxy of a cluster, idle", proxies, p.idle, row) })
	t.Run("services", func(t *testing.T) {
		fill(t, c, proxies, p.services)
		idle(t, fmt.Sprintf("proxy of a cluster, %d services x 10 endpoints", p.services), proxies, p.idle, row)
	})
	t.Run("operator", func(t *testing.T) { operator(t, c, p.idle, row) })
}

// stop ends all at once: each drains for some seconds.
func stop(proxies []*proxy) {
	var all sync.WaitGroup
	for _, p := range proxies {
		if p != nil {
			all.Go(p.Stop)
		}
	}
	all.Wait()
}

// table returns what adds a row to the results.
func table(results *[]string) rows {
	return func(what, unit string, digits int, values []float64) {
		slices.Sort(values)
		at := func(q float64) string {
			return fmt.Sprintf("%.*f %s", digits, values[min(len(values)-1, int(q*float64(len(values))))], unit)
		}
		p99 := "-"
		if len(values) >= 100 {
			p99 = at(0.99)
		}
		*results = append(*results, fmt.Sprintf("| %s (%d) | %s | %s | %s |", what, len(values), at(0.5), p99, at(1)))
	}
}

type rows func(what, unit string, digits int, values []float64)

// backend answers every request with its name, and returns its port.
func backend(t *testing.T, address, name string) int32 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) }
	s := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: time.Minute}
	go s.Serve(l) //nolint:errcheck // it ends by Close
	t.Cleanup(func() { _ = s.Close() })
	return int32(l.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
}

// standalone starts a proxy with a file again and again; the last one stays idle for a while.
func standalone(t *testing.T, p parameters, row rows) {
	dir := t.TempDir()
	file := filepath.Join(dir, "proxy.yaml")
	text := `apiVersion: fairlead.dev/v1alpha1
kind: Mesh
metadata: {name: scale}
spec:
  admin: {port: 19990}
  routers:
  - name: outgoing
    servers: [{port: 14140}]
    dtab: [{prefix: /svc, dst: /$/inet/127.0.0.1/18080}]
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var times []float64
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range p.starts {
		begin := time.Now()
		one, err := process.Start(dir, "standalone", process.AnyCore, nil, binary(t, "proxy"), "--config", file)
		if err != nil {
			t.Fatal(err)
		}
		defer one.Stop()
		if err := one.Answers(t.Context(), time.Millisecond, func() error { return ready(t.Context(), c, "127.0.0.1:19990") }); err != nil {
			t.Fatal(err)
		}
		times = append(times, millis(time.Since(begin)))
		if i == p.starts-1 {
			memory(t, "standalone proxy, idle", []*process.Process{one}, p.idle, row)
		}
		one.Kill()
	}
	row("standalone proxy, start to ready", "ms", 0, times)
}

// starts starts one proxy after the other on a machine that does nothing else, without a snapshot.
func starts(t *testing.T, c *cluster, network *network, n int, row rows) {
	var times []float64
	config := emptyFolder(t)
	for i := range n {
		p := startProxy(t, c, network.nodes[0], fmt.Sprintf("start-%d", i), config)
		times = append(times, millis(p.started))
		p.Kill()
	}
	row("proxy of a cluster, start to ready", "ms", 0, times)
}

// edits writes the Dtab and asks every proxy until it serves what was written.
func edits(t *testing.T, c *cluster, proxies []*proxy, p parameters, row rows) {
	askers := make([]*asker, len(proxies))
	for i, proxy := range proxies {
		askers[i] = newAsker(t, proxy)
		if got, err := askers[i].ask(); err != nil || got != "v1" {
			t.Fatalf("proxy %d before the edits: %q, %v", i, got, err)
		}
	}
	var last, middle, writes, after []float64
	for edit := range p.edits {
		version := fmt.Sprintf("v%d", (edit+1)%2+1)
		took, wrote := oneEdit(t, c, askers, version, p.poll)
		slices.Sort(took)
		last, middle, writes = append(last, took[len(took)-1]), append(middle, took[len(took)/2]), append(writes, wrote)
		after = append(after, took[len(took)-1]-wrote)
		// Edits come at any moment of whatever the proxies do at intervals.
		wait(t, p.pause/2+rand.N(p.pause))
	}
	row(fmt.Sprintf("Dtab edit to the last of %d proxies serves it", len(proxies)), "ms", 0, last)
	row("Dtab edit to the median proxy serves it", "ms", 0, middle)
	row("the API server's answer to the write", "ms", 0, writes)
	row(fmt.Sprintf("from that answer until the last of %d proxies serves it", len(proxies)), "ms", 0, after)
}

// oneEdit returns for each proxy how long after the beginning of the write it served what was written, in milliseconds.
func oneEdit(t *testing.T, c *cluster, askers []*asker, version string, poll time.Duration) (took []float64, wrote float64) {
	t.Helper()
	took = make([]float64, len(askers))
	limit, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all, ctx := errgroup.WithContext(limit)
	begin := time.Now()
	all.Go(func() error {
		o := dtab(version)
		err := c.admin.Patch(ctx, o, client.Merge)
		wrote = millis(time.Since(begin))
		return err
	})
	for i, a := range askers {
		all.Go(func() error {
			// Not all at once: that would be load of its own.
			next := time.NewTimer(rand.N(poll))
			defer next.Stop()
			for {
				select {
				case <-ctx.Done():
					return fmt.Errorf("proxy %d does not serve %s: %w", i, version, ctx.Err())
				case <-next.C:
				}
				got, err := a.ask()
				if err != nil {
					return fmt.Errorf("proxy %d: %w", i, err)
				}
				if got == version {
					took[i] = millis(time.Since(begin))
					return nil
				}
				next.Reset(poll)
			}
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, a := range askers {
		if got, err := a.ask(); err != nil || got != version {
			t.Fatalf("proxy %d went back to %q after it served %s: %v", i, got, version, err)
		}
	}
	return took, wrote
}

// fill makes services and waits until every proxy knows them.
func fill(t *testing.T, c *cluster, proxies []*proxy, services int) {
	all, ctx := errgroup.WithContext(t.Context())
	all.SetLimit(8)
	for i := range services {
		all.Go(func() error {
			var addresses []string
			for j := range 10 {
				addresses = append(addresses, fmt.Sprintf("10.%d.%d.%d", 128+i/250, i%250, j+1))
			}
			return c.service(ctx, fmt.Sprintf("service-%d", i), 8080, addresses...)
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		err := p.Answers(t.Context(), 100*time.Millisecond, func() error {
			known, err := p.gauge(t.Context(), "namer/io.l5d.k8s/endpoints")
			if err == nil && known < float64(10*services) {
				err = fmt.Errorf("it knows %v endpoints", known)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func idle(t *testing.T, what string, proxies []*proxy, d time.Duration, row rows) {
	all := make([]*process.Process, len(proxies))
	for i, p := range proxies {
		all[i] = p.Process
	}
	memory(t, what, all, d, row)
}

// memory reports what processes hold after a while without traffic, and what they did meanwhile.
func memory(t *testing.T, what string, all []*process.Process, d time.Duration, row rows) {
	t.Helper()
	before := make([]process.Usage, len(all))
	for i, p := range all {
		before[i] = must(p.Usage())(t)
	}
	wait(t, d)
	var bytes, cpu []float64
	for i, p := range all {
		cpu = append(cpu, float64(must(p.Usage())(t).CPU-before[i].CPU)/float64(d)*1000)
		bytes = append(bytes, float64(must(p.Memory())(t))/(1<<20))
	}
	row(what+", resident memory after "+d.String(), "MB", 1, bytes)
	row(what+", CPU over that time", "millicores", 2, cpu)
}

// operator runs the operator on the API server as it is by now.
func operator(t *testing.T, c *cluster, d time.Duration, row rows) {
	begin := time.Now()
	p := startOperator(t, c)
	row("operator, start to ready", "ms", 0, []float64{millis(time.Since(begin))})
	memory(t, "operator, idle", []*process.Process{p}, d, row)
}

// startOperator runs the operator and waits until it says that it is ready.
func startOperator(t *testing.T, c *cluster) *process.Process {
	t.Helper()
	p, err := process.Start(t.TempDir(), "operator", process.AnyCore, []string{"KUBECONFIG=" + c.adminKubeconfig(t)},
		binary(t, "operator"), "--leader-elect=false", "--metrics-bind-address=127.0.0.1:18443", "--health-probe-bind-address=127.0.0.1:18081",
		"--proxy-image=fairlead.dev/fairlead:dev")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	probe := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	err = p.Answers(t.Context(), time.Millisecond, func() error {
		_, err := get(t.Context(), probe, "http://127.0.0.1:18081/readyz")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// wait passes time: it is what is measured here, not a way to wait for something.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// must returns what ends the test on an error.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
