package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/naming/k8s/reflector"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

const (
	// diskGrace is how long the API server is waited for before state from disk counts as ready. A failed attempt ends the wait.
	diskGrace = 500 * time.Millisecond
	// rebuildInterval is the least time between two rebuilds: a storm of edits is taken in gulps, a single one at once.
	rebuildInterval = 20 * time.Millisecond
	// snapshotInterval is the least time between two writes of the snapshot.
	snapshotInterval = 5 * time.Second
	// applyRetryMin and applyRetryMax bound the backoff after the application refused a configuration (a port in use).
	applyRetryMin, applyRetryMax = time.Second, 30 * time.Second
)

// Pod is the Pod this proxy runs in, as the downward API tells it.
type Pod struct{ Name, Namespace, UID, Node string }

// ClusterOptions of a Cluster. All are required except where the comment says otherwise.
type ClusterOptions struct {
	REST *rest.Config
	// Namespace and Mesh name the Mesh. MeshUID, when not empty, is the only one that is served: a Mesh that was deleted and made
	// again under its name is another one, with proxies of its own.
	Namespace, Mesh, MeshUID string
	// ConfigDir is where the ConfigMap is mounted, SnapshotDir a writable folder. Either may be empty: none.
	ConfigDir, SnapshotDir string
	Pod                    Pod
	// Version is that of the binary, for the MeshProxy.
	Version string
	// Endpoints is run, saved and restored by the Cluster.
	Endpoints *k8s.Store
	Apply     Apply
	// Health returns dtabs, balancers and totals of the MeshProxy; the other fields are filled in. It may be nil. It is called
	// every 10 s and must not block.
	Health func() v1alpha1.MeshProxyStatus
	Log    logr.Logger
	// Scope gets the gauges config_stale_seconds and refused, the counters reloads, reload_failures, snapshots, snapshot_failures,
	// reports and report_failures, and those of the watches.
	Scope telemetry.Scope
}

// Cluster serves what the API server says, and what is on disk while it says nothing.
type Cluster struct {
	opts                       ClusterOptions
	meshes                     *sink[*v1alpha1.Mesh]
	dtabs                      *sink[*v1alpha1.Dtab]
	watchMesh, watchDtabs      *reflector.Reflector
	report                     *reporter
	accept                     *acceptance
	client                     rest.Interface
	recalled                   string        // the refused generations for which the stored ConfigMap was asked; owned by follow
	changed                    chan struct{} // a generation changed
	dirty                      chan struct{} // what the snapshot should hold may have changed
	reloads, failures          *telemetry.Counter
	snapshots, snapshotFailure *telemetry.Counter

	mu    sync.Mutex
	state state
	saved saved // used by one goroutine at a time
}

// state is what Ready and the reporter read.
type state struct {
	started time.Time
	// served is what the application confirmed; since when; and whether the API server agrees with it.
	served  *config.Config
	since   time.Time
	current bool
	// asOf is when what is served from disk was last known to be current.
	asOf time.Time
	// wanting says why nothing is served yet.
	wanting string
	refused []config.Refusal
	// failed is why the application refused the newest configuration.
	failed *config.Refusal
	// gone says that the Mesh is not in the API, or that another one has its name.
	gone string
}

// NewCluster returns a Cluster that does nothing until Run.
func NewCluster(o ClusterOptions) (*Cluster, error) {
	client, err := meshClient(o.REST)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", v1alpha1.GroupVersion, err)
	}
	c := &Cluster{
		opts: o, accept: newAcceptance(), client: client,
		changed: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		reloads: o.Scope.Counter("reloads"), failures: o.Scope.Counter("reload_failures"),
		snapshots: o.Scope.Counter("snapshots"), snapshotFailure: o.Scope.Counter("snapshot_failures"),
	}
	c.state.started = time.Now()
	c.state.wanting = "waiting for the API server"
	c.meshes = newSink(stripMesh, func() { poke(c.changed) })
	c.dtabs = newSink(stripDtab, func() { poke(c.changed) })
	c.watchMesh = reflector.New(reflector.Options{
		Client: client, Resource: "meshes", Namespace: o.Namespace, Object: &v1alpha1.Mesh{}, Store: c.meshes,
		FieldSelector: fields.OneTermEqualSelector("metadata.name", o.Mesh).String(),
		Log:           o.Log, Scope: o.Scope.Scope("meshes"),
	})
	c.watchDtabs = reflector.New(reflector.Options{
		Client: client, Resource: "dtabs", Object: &v1alpha1.Dtab{}, Store: c.dtabs,
		FieldSelector: fields.OneTermEqualSelector("spec.meshRef.name", o.Mesh).String(),
		Log:           o.Log, Scope: o.Scope.Scope("dtabs"),
	})
	c.report = newReporter(o.Pod, meshProxyWriter(client, o.Namespace), c.status, o.Log, o.Scope)
	o.Scope.GaugeFunc("config_stale_seconds", func() float64 { return c.stale().Seconds() })
	o.Scope.GaugeFunc("refused", func() float64 { return float64(len(c.Refused())) })
	return c, nil
}

// poke wakes the reader of ch, once however often it is called before that.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Run serves until ctx is done, and writes the last snapshot then.
func (c *Cluster) Run(ctx context.Context) error {
	c.startFromDisk(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.opts.Endpoints.Run(ctx) })
	wg.Go(func() { c.watchMesh.Run(ctx) })
	wg.Go(func() { c.watchDtabs.Run(ctx) })
	wg.Go(func() { c.report.run(ctx) })
	wg.Go(func() { c.keepSnapshot(ctx) })
	c.follow(ctx)
	wg.Wait()
	c.saveSnapshot()
	return nil
}

// follow rebuilds after changes: at once after the first, and at most every rebuildInterval.
func (c *Cluster) follow(ctx context.Context) {
	retry := time.NewTimer(0)
	<-retry.C
	pause := time.NewTimer(0)
	<-pause.C
	backoff := applyRetryMin
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		case <-retry.C:
		}
		if err := c.rebuild(ctx); err != nil {
			retry.Reset(backoff)
			backoff = min(2*backoff, applyRetryMax)
		} else {
			retry.Stop()
			backoff = applyRetryMin
		}
		pause.Reset(rebuildInterval)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// rebuild serves what the API server says, once it has said all of it: a Mesh without its Dtabs would drop every rule. An error
// is the application's, or of the ConfigMap that could not be read, so it is worth another try.
func (c *Cluster) rebuild(ctx context.Context) error {
	meshes, meshSynced := c.meshes.list()
	dtabs, dtabsSynced := c.dtabs.list()
	if !meshSynced || !dtabsSynced {
		return nil
	}
	if len(meshes) == 0 {
		c.setGone(fmt.Sprintf("mesh %s/%s not found", c.opts.Namespace, c.opts.Mesh))
		return nil
	}
	mesh := meshes[0]
	if c.opts.MeshUID != "" && string(mesh.UID) != c.opts.MeshUID {
		c.setGone(fmt.Sprintf("mesh %s/%s has another UID than the one this proxy belongs to", c.opts.Namespace, c.opts.Mesh))
		return nil
	}
	cfg, refused := c.accept.build(mesh, dtabs)
	c.accept.forget(mesh, dtabs)
	remembered, recallErr := c.recall(ctx, refused)
	if remembered {
		cfg, refused = c.accept.build(mesh, dtabs)
	}
	c.setRefused(cfg, refused)
	if cfg == nil {
		return recallErr
	}
	return errors.Join(c.serve(ctx, cfg, true), recallErr)
}

// serve hands a configuration to the application. current says that it comes from the API server.
func (c *Cluster) serve(ctx context.Context, cfg *config.Config, current bool) error {
	if same(cfg, c.Served()) {
		c.confirm(nil, current)
		return nil
	}
	if err := c.opts.Apply(ctx, cfg); err != nil {
		c.failures.Incr(0)
		c.setFailed(cfg, err)
		return err
	}
	c.reloads.Incr(0)
	c.confirm(cfg, current)
	c.opts.Log.Info("Configuration served", "meshGeneration", cfg.Mesh.Generation, "dtabRevision", cfg.Revision,
		"dtabs", len(cfg.Dtabs), "fromDisk", !current)
	return nil
}

// confirm records what is served from now on; nil: what was served before.
func (c *Cluster) confirm(cfg *config.Config, current bool) {
	c.mu.Lock()
	if cfg != nil {
		c.state.served, c.state.since = cfg, time.Now()
	}
	c.state.failed = nil
	c.state.gone = ""
	c.state.current = current
	c.mu.Unlock()
	c.report.poke()
	poke(c.dirty)
}

func (c *Cluster) setGone(why string) {
	c.mu.Lock()
	changed := c.state.gone != why
	c.state.gone = why
	c.mu.Unlock()
	if changed {
		c.opts.Log.Info("Mesh is gone, the last configuration is still served", "reason", why)
	}
}

// setFailed records that the application refused cfg. What was served still is.
func (c *Cluster) setFailed(cfg *config.Config, err error) {
	m := cfg.Mesh
	why := &config.Error{Reason: v1alpha1.ReasonInvalid, Problems: []config.Problem{{Message: err.Error()}}}
	c.mu.Lock()
	changed := c.state.failed == nil || c.state.failed.Err.Error() != why.Error()
	c.state.failed = &config.Refusal{
		Kind: "Mesh", Namespace: m.Namespace, Name: m.Name, UID: m.UID, Generation: m.Generation, Err: why,
	}
	c.mu.Unlock()
	if changed {
		text := "Configuration not applied, retrying; nothing is served yet"
		if c.Served() != nil {
			text = "Configuration not applied, retrying; the one before is still served"
		}
		c.opts.Log.Error(errors.New(message(err)), text)
		c.report.poke()
	}
}

// setRefused records the objects whose newest generation is not served, and logs each generation once. cfg is what is served in place
// of them, or nil.
func (c *Cluster) setRefused(cfg *config.Config, refused []config.Refusal) {
	type key struct {
		uid        string
		generation int64
	}
	c.mu.Lock()
	old := make(map[key]bool, len(c.state.refused))
	for _, r := range c.state.refused {
		old[key{r.UID, r.Generation}] = true
	}
	changed := len(refused) != len(c.state.refused)
	c.state.refused = refused
	c.mu.Unlock()
	for _, r := range refused {
		if !old[key{r.UID, r.Generation}] {
			changed = true
			text := "Object refused, no generation of it is served"
			served := generationIn(cfg, r.UID)
			if served != 0 {
				text = "Object refused, its last good generation is served"
			}
			c.opts.Log.Error(errors.New(message(r.Err)), text, "kind", r.Kind, "namespace", r.Namespace, "name", r.Name,
				"generation", r.Generation, "servedGeneration", served)
		}
	}
	if changed {
		c.report.poke()
	}
}

// generationIn returns the generation of an object that a configuration has, or 0.
func generationIn(cfg *config.Config, uid string) int64 {
	if cfg == nil {
		return 0
	}
	if cfg.Mesh.UID == uid {
		return cfg.Mesh.Generation
	}
	for _, d := range cfg.Dtabs {
		if d.UID == uid {
			return d.Generation
		}
	}
	return 0
}

// Served returns what is served, or nil.
func (c *Cluster) Served() *config.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.served
}

// Refused returns the objects whose newest generation is not served.
func (c *Cluster) Refused() []config.Refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := c.state.refused
	if c.state.failed != nil {
		refused = append([]config.Refusal{*c.state.failed}, refused...)
	}
	return refused
}

// contacts returns when the API server was last heard on every watch (the oldest), and what is wrong with any of them.
func (c *Cluster) contacts() (time.Time, error) {
	oldest, broken := c.opts.Endpoints.Contact()
	for _, w := range []*reflector.Reflector{c.watchMesh, c.watchDtabs} {
		at, err := w.Contact()
		if at.Before(oldest) {
			oldest = at
		}
		broken = errors.Join(broken, err)
	}
	return oldest, broken
}
