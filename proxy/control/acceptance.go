package control

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// acceptance turns objects into a configuration and remembers, per UID, the newest generation that was accepted: it is served in
// place of one that is refused. It is used by one goroutine.
type acceptance struct {
	env    config.Environment
	mesh   *config.Mesh
	meshes map[types.UID]*v1alpha1.Mesh
	dtabs  map[types.UID]*v1alpha1.Dtab
	cache  map[types.UID]verdict
}

// verdict is what became of one generation of a Dtab under one generation of the Mesh.
type verdict struct {
	mesh       *config.Mesh
	generation int64
	accepted   *config.Dtab
	err        *config.Error
}

func newAcceptance() *acceptance {
	return &acceptance{
		env:    config.Cluster,
		meshes: map[types.UID]*v1alpha1.Mesh{}, dtabs: map[types.UID]*v1alpha1.Dtab{}, cache: map[types.UID]verdict{},
	}
}

// remember takes objects that were accepted earlier, by this process or another. Of one UID the newest generation counts.
func (a *acceptance) remember(docs *config.Documents) {
	for _, m := range docs.Meshes {
		if old := a.meshes[m.UID]; old == nil || old.Generation < m.Generation {
			a.meshes[m.UID] = m
		}
	}
	for _, d := range docs.Dtabs {
		if old := a.dtabs[d.UID]; old == nil || old.Generation < d.Generation {
			a.dtabs[d.UID] = d
			delete(a.cache, d.UID)
		}
	}
}

// build returns the configuration of a Mesh and the Dtabs that refer to it, and every object whose given generation is not in it.
// The configuration is nil when no generation of the Mesh was ever accepted.
func (a *acceptance) build(mesh *v1alpha1.Mesh, dtabs []*v1alpha1.Dtab) (*config.Config, []config.Refusal) {
	m, refused := a.acceptMesh(mesh)
	if m == nil {
		return nil, refused
	}
	accepted := make([]*config.Dtab, 0, len(dtabs))
	for _, d := range dtabs {
		if !refersTo(d, mesh) {
			continue
		}
		ok, err := a.acceptDtab(m, d)
		if err != nil {
			refused = append(refused, config.Refusal{
				Kind: "Dtab", Namespace: d.Namespace, Name: d.Name, UID: string(d.UID), Generation: d.Generation, Err: err,
			})
		}
		if ok != nil {
			accepted = append(accepted, ok)
		}
	}
	cfg, tail := config.Build(m, accepted)
	return cfg, append(refused, tail...)
}

// refersTo reports whether d is meant for the mesh. The watch selects by name alone.
func refersTo(d *v1alpha1.Dtab, mesh *v1alpha1.Mesh) bool {
	namespace := d.Spec.MeshRef.Namespace
	if namespace == "" {
		namespace = d.Namespace
	}
	return d.Spec.MeshRef.Name == mesh.Name && namespace == mesh.Namespace
}

func (a *acceptance) acceptMesh(mesh *v1alpha1.Mesh) (*config.Mesh, []config.Refusal) {
	if a.mesh != nil && a.mesh.UID == string(mesh.UID) && a.mesh.Generation == mesh.Generation {
		return a.mesh, nil
	}
	m, err := config.AcceptMesh(mesh, a.env)
	if err == nil {
		a.mesh, a.meshes[mesh.UID] = m, m.Object
		return m, nil
	}
	refused := []config.Refusal{{
		Kind: "Mesh", Namespace: mesh.Namespace, Name: mesh.Name, UID: string(mesh.UID), Generation: mesh.Generation, Err: err,
	}}
	good := a.meshes[mesh.UID]
	if good == nil {
		return nil, refused
	}
	if a.mesh != nil && a.mesh.UID == string(good.UID) && a.mesh.Generation == good.Generation {
		return a.mesh, refused
	}
	if m, err := config.AcceptMesh(good, a.env); err == nil {
		a.mesh = m
		return m, refused
	}
	return nil, refused
}

// acceptDtab returns what is served of d, which is nil or an earlier generation when there is an error.
func (a *acceptance) acceptDtab(m *config.Mesh, d *v1alpha1.Dtab) (*config.Dtab, *config.Error) {
	if v, ok := a.cache[d.UID]; ok && v.mesh == m && v.generation == d.Generation {
		return v.accepted, v.err
	}
	accepted, err := config.AcceptDtab(m, d)
	if err == nil {
		a.dtabs[d.UID] = accepted.Object
	} else if good := a.dtabs[d.UID]; good != nil {
		// The Mesh may have changed, so what was good must be so again.
		accepted, _ = config.AcceptDtab(m, good)
	}
	a.cache[d.UID] = verdict{mesh: m, generation: d.Generation, accepted: accepted, err: err}
	return accepted, err
}

// forget drops what is kept of objects that are not among these. Only the API server knows that.
func (a *acceptance) forget(mesh *v1alpha1.Mesh, dtabs []*v1alpha1.Dtab) {
	present := make(map[types.UID]bool, len(dtabs)+1)
	present[mesh.UID] = true
	for _, d := range dtabs {
		present[d.UID] = true
	}
	gone := func(uid types.UID) bool { return !present[uid] }
	maps.DeleteFunc(a.meshes, func(uid types.UID, _ *v1alpha1.Mesh) bool { return gone(uid) })
	maps.DeleteFunc(a.dtabs, func(uid types.UID, _ *v1alpha1.Dtab) bool { return gone(uid) })
	maps.DeleteFunc(a.cache, func(uid types.UID, _ verdict) bool { return gone(uid) })
}

// message is an error on one line of bounded length, for a status.
func message(err error) string {
	const limit = 512
	s := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-3], "") + "..."
	}
	return s
}
