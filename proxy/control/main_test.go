package control

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/test/testkit/apiserver"
)

// api is the API server that all tests of the package share; each test has a namespace of its own.
var api *apiserver.Server

func TestMain(m *testing.M) {
	code := apiserver.Run("../..", nil, func(s *apiserver.Server) (int, error) {
		api = s
		return m.Run(), nil
	})
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// namespace makes a namespace for one test.
func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	create(t, ns)
	return ns.Name
}

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := api.Client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, o client.Object) {
	t.Helper()
	if err := api.Client.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, o client.Object) {
	t.Helper()
	if err := api.Client.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// wire is a TCP relay to the API server that can be cut, or hold its tongue.
type wire struct {
	addr, upstream string
	silent         atomic.Bool
	mu             sync.Mutex
	listener       net.Listener
	conns          map[net.Conn]bool
	wg             sync.WaitGroup
}

// newWire returns a relay and the way through it.
func newWire(t *testing.T) (*wire, *rest.Config) {
	t.Helper()
	target, err := url.Parse(api.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{upstream: target.Host, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	if target.Host == "" {
		w.upstream = api.Config.Host
	}
	w.mend(t)
	t.Cleanup(func() { w.cut(); w.wg.Wait() })
	cfg := rest.CopyConfig(api.Config)
	cfg.Host = "https://" + w.addr
	return w, cfg
}

// cut breaks every connection and refuses new ones.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener != nil {
		_ = w.listener.Close()
		w.listener = nil
	}
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

// mend lets connections through again.
func (w *wire) mend(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addr, w.listener = l.Addr().String(), l
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.relay(c) })
		}
	})
}

func (w *wire) relay(c net.Conn) {
	up, err := net.Dial("tcp", w.upstream)
	if err != nil {
		_ = c.Close()
		return
	}
	w.mu.Lock()
	cut := w.listener == nil
	w.conns[c], w.conns[up] = true, true
	w.mu.Unlock()
	end := func() { _ = c.Close(); _ = up.Close() }
	if cut {
		end()
	}
	var both sync.WaitGroup
	if w.silent.Load() {
		_, _ = io.Copy(io.Discard, c)
		end()
		return
	}
	both.Go(func() { _, _ = io.Copy(up, c); end() })
	both.Go(func() { _, _ = io.Copy(c, up); end() })
	both.Wait()
}

// app stands in for the application: it records what it was told to serve.
type app struct {
	mu      sync.Mutex
	served  []*config.Config
	err     error
	changed chan struct{}
}

func (a *app) apply(_ context.Context, cfg *config.Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	a.served = append(a.served, cfg)
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

func (a *app) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func newApp() *app { return &app{changed: make(chan struct{})} }

// rules shows the rules of the last configuration's router outgoing that come from Dtabs, or "nothing".
func (a *app) rules() (string, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.served) == 0 {
		return "nothing", a.changed
	}
	out := ""
	for _, d := range a.served[len(a.served)-1].Dtabs {
		out += d.Name + ":" + d.Dentries.Dtab().String() + " "
	}
	return out, a.changed
}

// await returns when the rules are as wanted, and how long that took.
func (a *app) await(t *testing.T, want string) time.Duration {
	t.Helper()
	began := time.Now()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		got, changed := a.rules()
		if got == want {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("serves %q, want %q", got, want)
		}
	}
}

// proxy is one running Cluster with its application.
type proxy struct {
	*Cluster
	*app
	store *k8s.Store
	tree  *telemetry.Tree
	stop  func()
}

// start runs a Cluster. It stops at the end of the test, or when stop is called.
func start(t *testing.T, o ClusterOptions) *proxy {
	t.Helper()
	a, tree := newApp(), telemetry.New()
	store, err := k8s.New(k8s.Options{REST: o.REST, Log: logr.Discard(), Scope: tree.Scope("k8s")})
	if err != nil {
		t.Fatal(err)
	}
	o.Endpoints, o.Scope = store, tree.Scope("control")
	if o.Apply == nil {
		o.Apply = a.apply
	}
	c, err := NewCluster(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return &proxy{Cluster: c, app: a, store: store, tree: tree, stop: stop}
}

// eventually polls, for what has no channel to wait on.
func eventually(t *testing.T, what string, within time.Duration, ok func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(within)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}
