package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/proxy/admin"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/control"
	"github.com/fairlead/fairlead/proxy/handover"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/protocol/http1"
	"github.com/fairlead/fairlead/proxy/telemetry"
	"github.com/fairlead/fairlead/proxy/telemetry/prometheus"
)

// For how long a proxy goes on accepting after it was told to end: until then those who send requests may not know yet. In a cluster they
// are told by way of the API server, elsewhere by a health check or a restart of their own.
const (
	clusterLameDuck = 3 * time.Second
	lameDuck        = time.Second
)

// adminTimeout bounds the end of the admin server, which has nothing to lose.
const adminTimeout = time.Second

// ErrInterrupted is the cause of the end of Run's context where somebody at a terminal waits for it: nothing new is accepted then.
var ErrInterrupted = errors.New("interrupted")

// errDraining is why a process that ends is not ready.
var errDraining = errors.New("draining")

// RunOptions of Run.
type RunOptions struct {
	Version string
	// Config is a file standalone, and the folder of the mounted ConfigMap in a cluster.
	Config string
	// Cluster is nil standalone.
	Cluster *ClusterOptions
	// Drain bounds how long requests under way may take to end.
	Drain    time.Duration
	Log      logr.Logger
	LogLevel func(string)
	// Upgrade asks for another process in place of this one; nil: nothing does.
	Upgrade <-chan os.Signal
}

// ClusterOptions say which Mesh a proxy in a cluster serves, and where it runs.
type ClusterOptions struct {
	// Kubeconfig is "" for the Pod's service account.
	Kubeconfig string
	// Mesh is namespace/name.
	Mesh, MeshUID string
	SnapshotDir   string
	Pod           control.Pod
	// Own are addresses of the Pod and its node.
	Own []netip.Addr
}

// source is where configurations come from.
type source interface {
	Run(ctx context.Context) error
	Ready() error
}

// proxy is a process: an App, what feeds it and what shows it.
type proxy struct {
	options RunOptions
	metrics *telemetry.Tree
	app     *App
	source  source
	// refused returns why a file is not what is served; nil in a cluster.
	refused func() error
	store   *k8s.Store
	// inherited is what this process took over from another one; nil: there was none.
	inherited *handover.Inherited
	// applying is full while a configuration is applied, or none may be.
	applying chan struct{}
	serving  sync.Once // the first configuration is served

	mu    sync.Mutex // guards what follows
	admin *admin.Server
	at    string
	ended error
	// took says that a configuration is served that the source has not told of yet.
	took bool
}

// Run serves until ctx ends, goes on accepting for a while, unless the cause is ErrInterrupted, and then drains. It returns an error when it
// cannot start, and when draining cut requests or tunnels.
func Run(ctx context.Context, o RunOptions) error {
	warnOfDescriptors(o.Log)
	inherited, err := handover.Take()
	if err != nil {
		return err
	}
	p := &proxy{options: o, metrics: telemetry.New(), inherited: inherited, applying: make(chan struct{}, 1)}
	background, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if err := p.assemble(); err != nil {
		return err
	}
	running.Go(func() { p.metrics.Run(background) })
	upgrades := newUpgrader(p)
	running.Go(func() { upgrades.run(ctx, background) })
	failed := make(chan error, 1)
	running.Go(func() { failed <- p.source.Run(background) })
	select {
	case err := <-failed:
		return errors.Join(err, p.stop())
	case pid := <-upgrades.replaced:
		o.Log.Info("Draining: another process has taken over", "pid", pid)
		err = p.stopAdmin() // first, for the other one is ready
	case <-ctx.Done():
		accepting := p.lameDuck(ctx)
		o.Log.Info("Draining", "accepting", accepting.String(), "atMost", o.Drain.String())
		p.end(errDraining)
		wait(accepting, failed)
	}
	err = errors.Join(err, p.stop())
	cancel()
	return errors.Join(err, <-failed)
}

// lameDuck returns for how long new connections are served after ctx ended.
func (p *proxy) lameDuck(ctx context.Context) time.Duration {
	p.mu.Lock()
	took := p.took
	p.mu.Unlock()
	switch {
	case p.options.Cluster != nil:
		return clusterLameDuck
	case errors.Is(context.Cause(ctx), ErrInterrupted) || !took: // without a configuration nobody was served
		return 0
	}
	return lameDuck
}

func wait(d time.Duration, failed chan error) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case err := <-failed:
		failed <- err
	}
}

// assemble makes the rooms and ties them together. Nothing is served before the source runs.
func (p *proxy) assemble() error {
	o := Options{Version: p.options.Version, Log: p.options.Log, Metrics: p.metrics, LogLevel: p.options.LogLevel, Inherited: p.inherited}
	if p.options.Cluster == nil {
		p.app = New(o)
		file := control.NewFile(control.FileOptions{
			Path: p.options.Config, Env: config.Standalone, Apply: p.apply,
			Log: p.options.Log.WithName("control"), Scope: p.metrics.Scope("control"),
		})
		p.source, p.refused = file, file.LastError
		return nil
	}
	c := p.options.Cluster
	policy, err := ClusterPolicy(c.Own...)
	if err != nil {
		return err
	}
	namespace, name, ok := strings.Cut(c.Mesh, "/")
	if !ok {
		return fmt.Errorf("--mesh: expected NAMESPACE/NAME, found %q", c.Mesh)
	}
	rest, err := control.REST(c.Kubeconfig, "fairlead-proxy/"+p.options.Version)
	if err != nil {
		return err
	}
	p.store, err = k8s.New(k8s.Options{REST: rest, Log: p.options.Log.WithName("k8s"), Scope: p.metrics.Scope("namer", "io.l5d.k8s")})
	if err != nil {
		return err
	}
	o.Policy = policy
	o.Kubernetes = p.store.Namer
	o.Node = c.Pod.Node
	p.app = New(o)
	p.source, err = control.NewCluster(control.ClusterOptions{
		REST: rest, Namespace: namespace, Mesh: name, MeshUID: c.MeshUID, ConfigDir: p.options.Config, SnapshotDir: c.SnapshotDir,
		Pod: c.Pod, Version: p.options.Version, Endpoints: p.store, Apply: p.apply, Health: p.app.Health,
		Log: p.options.Log.WithName("control"), Scope: p.metrics.Scope("control"),
	})
	return err
}

// apply is the app's Apply, with the admin server opened by the first configuration: its address stands in the Mesh.
func (p *proxy) apply(ctx context.Context, cfg *config.Config) error {
	if err := p.hold(ctx); err != nil {
		return err
	}
	defer p.release()
	if err := p.serve(ctx, cfg); err != nil {
		return err
	}
	p.serving.Do(p.begun)
	return nil
}

func (p *proxy) pages() admin.Options {
	extra := map[string]func() any{
		"/client_state.json": func() any { return p.app.Clients() },
		"/bound-names.json":  func() any { return p.app.Names() },
		"/health.json":       func() any { return p.app.Health() },
		"/names.json":        func() any { return p.app.Uses() },
	}
	return admin.Options{
		Metrics: p.metrics, Prometheus: prometheus.New(p.metrics, prometheus.Options{}), Ready: p.ready,
		Config: func() any { return p.view() }, Extra: extra, Questions: p.app.Questions(), Log: p.options.Log.WithName("admin"),
	}
}

// view returns what is served, and why the file is not; nil where nothing is.
func (p *proxy) view() *View {
	v := p.app.View()
	if v != nil && p.refused != nil {
		if err := p.refused(); err != nil {
			v.Refused = err.Error()
		}
	}
	return v
}

func (p *proxy) ready() error {
	p.mu.Lock()
	ended, took := p.ended, p.took
	p.mu.Unlock()
	if ended != nil || took && p.options.Cluster == nil {
		return ended
	}
	return p.source.Ready()
}

func (p *proxy) end(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = why
}

func (p *proxy) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.options.Drain)
	defer cancel()
	err := p.app.Shutdown(ctx)
	var cut *http1.CutError
	if errors.As(err, &cut) {
		err = fmt.Errorf("%s: still under way %v after draining began; see --drain", cut.Error(), p.options.Drain)
	}
	return errors.Join(err, p.stopAdmin())
}

// stopAdmin ends the admin server, if there is one that has not ended.
func (p *proxy) stopAdmin() error {
	p.mu.Lock()
	server := p.admin
	p.admin = nil
	p.mu.Unlock()
	if server == nil {
		return nil
	}
	return shutdownAdmin(server)
}

func shutdownAdmin(s *admin.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	return s.Shutdown(ctx)
}
