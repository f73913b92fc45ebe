package controllers

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/desired"
	"github.com/fairlead/fairlead/controllers/rollup"
	"github.com/fairlead/fairlead/proxy/config"
)

// meshState is what the operator knows of one Mesh beyond the cache: the accepted generations above all. They only ever move
// forward, whatever an old cache shows, and are read back from the ConfigMap after a restart.
type meshState struct {
	uid types.UID
	// loaded is set once the ConfigMap was read, and stored is the resourceVersion it had then or got by our last write.
	loaded bool
	stored string
	// foreign is set where a ConfigMap of the name exists that is not ours.
	foreign bool
	// content is what the ConfigMap should hold, and written what was last written to it (nil: unknown).
	content desired.Content
	written *desired.Content

	// tried is the last judged generation of the Mesh with its refusal; accepted is the newest accepted one.
	tried    int64
	triedAs  *config.Mesh
	refusal  *config.Error
	conflict *rollup.Refusal
	accepted *config.Mesh

	dtabs     map[types.NamespacedName]*dtabState
	config    *config.Config
	tail      map[string]*config.Error
	revisions rollup.Revisions

	children map[string]applied
	pace     pace[v1alpha1.MeshStatus]
	// newsSince is since when only what is new is not served yet (grace).
	newsSince time.Time
	lastPass  time.Time
	// failures counts passes that failed in a row.
	failures int
	// blocked is why Pods cannot be created, as of blockedAt.
	blocked   string
	blockedAt time.Time
}

// dtabState is what the operator knows of one Dtab.
type dtabState struct {
	uid types.UID
	// seen is set once the cache showed the Dtab: from then on its absence means that it was deleted.
	seen bool
	// tried is the last judged generation with its refusal, under the mesh triedFor.
	tried    int64
	triedFor *config.Mesh
	refusal  *config.Error
	// document is the newest accepted generation, and current the same compiled for the present mesh (nil: it does not fit it).
	document *v1alpha1.Dtab
	current  *config.Dtab
	leaves   []rollup.Leaf
}

func newMeshState(mesh *v1alpha1.Mesh) *meshState {
	return &meshState{uid: mesh.UID, dtabs: map[types.NamespacedName]*dtabState{}, children: map[string]applied{}}
}

// stale reports whether the cache shows a generation older than one that was accepted already.
func (s *meshState) stale(in *inputs) bool {
	return s.accepted != nil && in.mesh.Generation < s.accepted.Generation
}

// decide judges the Mesh and its Dtabs. It is pure but for the state it keeps.
func (s *meshState) decide(in *inputs) error {
	s.conflict = portConflict(in.mesh, in.meshes)
	before := s.accepted
	s.catchUp(in)
	s.judgeMesh(in.mesh)
	changed := s.config == nil || s.accepted != before
	if s.accepted == nil {
		return nil
	}
	for i := range in.dtabs {
		if s.judge(&in.dtabs[i]) {
			changed = true
		}
	}
	for key, d := range s.dtabs {
		if in.present[key] == nil && (d.seen || !in.unseen[key]) {
			delete(s.dtabs, key)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return s.build()
}

// judgeMesh decides about a generation of the Mesh.
func (s *meshState) judgeMesh(mesh *v1alpha1.Mesh) {
	if s.tried != mesh.Generation {
		s.triedAs, s.refusal = config.AcceptMesh(mesh, config.Cluster)
		s.tried = mesh.Generation
	}
	if s.refusal == nil && s.conflict == nil {
		s.accepted = s.triedAs
	}
}

// judge decides about one Dtab and reports whether anything changed.
func (s *meshState) judge(object *v1alpha1.Dtab) bool {
	key := client.ObjectKeyFromObject(object)
	d, ok := s.dtabs[key]
	if !ok || d.uid != object.UID {
		d = &dtabState{uid: object.UID}
		s.dtabs[key] = d
	}
	d.seen = true
	if d.document != nil && object.Generation < d.document.Generation {
		object = d.document // an old cache never takes back what was accepted
	}
	if d.tried == object.Generation && d.triedFor == s.accepted {
		return false
	}
	d.tried, d.triedFor = object.Generation, s.accepted
	d.current, d.refusal = config.AcceptDtab(s.accepted, object)
	switch {
	case d.refusal == nil:
		d.document = d.current.Object
	case d.document != nil:
		if d.current, _ = config.AcceptDtab(s.accepted, d.document); d.current == nil {
			d.leaves = nil
			return true
		}
	default:
		return true
	}
	d.leaves = rollup.Leaves(d.current.Dentries)
	return true
}

// build puts together what proxies should serve and what the ConfigMap should hold.
func (s *meshState) build() error {
	var serve []*config.Dtab
	var keep []*v1alpha1.Dtab
	for _, d := range s.dtabs {
		if d.current != nil {
			serve = append(serve, d.current)
		}
		if d.document != nil {
			keep = append(keep, d.document)
		}
	}
	var tail []config.Refusal
	s.config, tail = config.Build(s.accepted, serve)
	s.tail = map[string]*config.Error{}
	for _, t := range tail {
		s.tail[t.UID] = t.Err
	}
	members := make([]config.Member, 0, len(s.config.Dtabs))
	for _, d := range s.config.Dtabs {
		members = append(members, config.Member{UID: d.UID, Generation: d.Generation})
	}
	s.revisions.Add(s.config.Revision, members)

	all, err := config.Encode(s.accepted.Object, keep)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	alone, err := config.Encode(s.accepted.Object, nil)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	s.content, err = desired.NewContent(all, alone)
	return err
}

// restore takes over the documents of a ConfigMap, where they are newer than what is known.
func (s *meshState) restore(docs *config.Documents) {
	for _, m := range docs.Meshes {
		if m.UID != s.uid || s.accepted != nil && s.accepted.Generation >= m.Generation {
			continue
		}
		if got, err := config.AcceptMesh(m, config.Cluster); err == nil {
			s.accepted = got
			s.config = nil
		}
	}
	for _, doc := range docs.Dtabs {
		key := client.ObjectKeyFromObject(doc)
		d, ok := s.dtabs[key]
		switch {
		case !ok:
			s.dtabs[key] = &dtabState{uid: doc.UID, document: doc}
		case d.uid == doc.UID && (d.document == nil || d.document.Generation < doc.Generation):
			d.document, d.tried, d.triedFor = doc, 0, nil
		default:
			continue
		}
		s.config = nil
	}
}

// portConflict returns why the Mesh may not run: an older one takes a port of it on nodes that both may use.
func portConflict(mesh *v1alpha1.Mesh, meshes []v1alpha1.Mesh) *rollup.Refusal {
	spec := mesh.Spec.WithDefaults()
	ports := desired.HostPorts(spec)
	for i := range meshes {
		other := &meshes[i]
		if other.UID == mesh.UID || !older(other, mesh) {
			continue
		}
		otherSpec := other.Spec.WithDefaults()
		if desired.Disjoint(spec.Proxy.NodeSelector, otherSpec.Proxy.NodeSelector) {
			continue
		}
		for _, port := range desired.HostPorts(otherSpec) {
			if slices.Contains(ports, port) {
				return &rollup.Refusal{
					Reason: v1alpha1.ReasonPortConflict,
					Message: fmt.Sprintf("port %d of the nodes belongs to the older Mesh %s/%s: choose other ports, "+
						"or nodes apart by spec.proxy.nodeSelector", port, other.Namespace, other.Name),
				}
			}
		}
	}
	return nil
}

func older(a, b *v1alpha1.Mesh) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}
