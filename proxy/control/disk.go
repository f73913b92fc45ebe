package control

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// saved is what the snapshot on disk holds.
type saved struct {
	config    *config.Config
	endpoints uint64
	at        time.Time
	// broken is why the last write did not work, so that it is logged once.
	broken string
}

// startFromDisk serves the snapshot, or else the mounted ConfigMap. What both hold is also remembered as accepted: an object whose
// newest generation turns out to be refused is served from there.
func (c *Cluster) startFromDisk(ctx context.Context) {
	snapped, asOf := c.loadSnapshot()
	mounted := c.loadMounted()
	if snapped != nil {
		c.mu.Lock()
		c.state.asOf = asOf
		c.mu.Unlock()
		if c.serveDocuments(ctx, snapped) {
			return
		}
	}
	if mounted != nil {
		c.serveDocuments(ctx, mounted)
	}
}

// loadSnapshot restores endpoints and remembers the objects of the snapshot. One that is broken, or of another Mesh, is as good as
// none.
func (c *Cluster) loadSnapshot() (*config.Documents, time.Time) {
	if c.opts.SnapshotDir == "" {
		return nil, time.Time{}
	}
	removeLeftovers(c.opts.SnapshotDir)
	snap, err := readSnapshot(c.opts.SnapshotDir)
	if err == nil && c.opts.MeshUID != "" && snap.MeshUID != c.opts.MeshUID {
		err = errors.New("snapshot: it is of another mesh")
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.opts.Log.Info("Snapshot ignored", "error", err.Error())
		}
		return nil, time.Time{}
	}
	c.opts.Endpoints.Import(snap.Endpoints)
	docs, bad := config.Decode(snapshotName, []byte(snap.Config), config.Cluster)
	if bad != nil {
		c.opts.Log.Info("Documents of the snapshot ignored", "error", message(bad))
	}
	c.accept.remember(docs)
	return docs, snap.Written
}

// loadMounted remembers the objects of the mounted ConfigMap and returns them if they may be served.
func (c *Cluster) loadMounted() *config.Documents {
	if c.opts.ConfigDir == "" {
		return nil
	}
	m, err := readMounted(c.opts.ConfigDir)
	if m.incomplete {
		c.mu.Lock()
		c.state.wanting = "the mounted configuration is incomplete: waiting for the API server"
		c.mu.Unlock()
	}
	if err != nil {
		if !m.incomplete || !errors.Is(err, fs.ErrNotExist) {
			c.opts.Log.Info("Mounted configuration ignored", "error", err.Error())
		}
		return nil
	}
	docs, bad := config.Decode(v1alpha1.ConfigKey, m.data, config.Cluster)
	if bad != nil {
		c.opts.Log.Info("Mounted documents ignored", "error", message(bad))
	}
	c.accept.remember(docs)
	if m.incomplete {
		return nil
	}
	return docs
}

// serveDocuments serves the Mesh among docs with the Dtabs among them, and reports whether it could.
func (c *Cluster) serveDocuments(ctx context.Context, docs *config.Documents) bool {
	mesh := c.ownMesh(docs)
	if mesh == nil {
		return false
	}
	cfg, refused := c.accept.build(mesh, docs.Dtabs)
	c.setRefused(cfg, refused)
	// An error of serve is recorded and logged there; the API server may bring something better.
	return cfg != nil && c.serve(ctx, cfg, false) == nil
}

// ownMesh finds the Mesh this proxy belongs to.
func (c *Cluster) ownMesh(docs *config.Documents) *v1alpha1.Mesh {
	for _, m := range docs.Meshes {
		if m.Namespace == c.opts.Namespace && m.Name == c.opts.Mesh && (c.opts.MeshUID == "" || string(m.UID) == c.opts.MeshUID) {
			return m
		}
	}
	return nil
}

// keepSnapshot writes the snapshot after changes, at most every snapshotInterval, until ctx is done.
func (c *Cluster) keepSnapshot(ctx context.Context) {
	tick := time.NewTicker(snapshotInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.dirty:
			// The first write waits for endpoints, so that it is worth something; the tick comes in any case.
			if !c.opts.Endpoints.Synced() || time.Since(c.saved.at) < snapshotInterval {
				continue
			}
		case <-tick.C:
		}
		c.saveSnapshot()
	}
}

// saveSnapshot writes what is served, if the disk does not hold it already. What is served was accepted and applied: nothing else
// may ever come back from a snapshot.
func (c *Cluster) saveSnapshot() {
	cfg, version := c.Served(), c.opts.Endpoints.Version()
	if c.opts.SnapshotDir == "" || cfg == nil || c.saved.config == cfg && c.saved.endpoints == version {
		return
	}
	c.saved.at = time.Now()
	if err := c.writeServed(cfg); err != nil {
		c.snapshotFailure.Incr(0)
		if err.Error() != c.saved.broken {
			c.opts.Log.Info("Snapshot not written", "error", err.Error())
		}
		c.saved.broken = err.Error()
		return
	}
	c.snapshots.Incr(0)
	c.saved.config, c.saved.endpoints, c.saved.broken = cfg, version, ""
}

func (c *Cluster) writeServed(cfg *config.Config) error {
	dtabs := make([]*v1alpha1.Dtab, len(cfg.Dtabs))
	for i, d := range cfg.Dtabs {
		dtabs[i] = d.Object
	}
	stream, err := config.Encode(cfg.Mesh.Object, dtabs)
	if err != nil {
		return err
	}
	return writeSnapshot(c.opts.SnapshotDir, &snapshot{
		MeshUID: cfg.Mesh.UID, Written: time.Now(), Config: string(stream), Endpoints: c.opts.Endpoints.Export(),
	})
}
