package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// maxWitnessed bounds what is kept of one Mesh between two passes; of more, the oldest is forgotten.
const maxWitnessed = 4096

// witness keeps every generation that events showed between two passes. A proxy sees each of them: of a good edit followed at once
// by a bad one it serves the good one, and an operator that looked at the last alone would call that unknown.
type witness struct {
	mu   sync.Mutex
	seen map[types.NamespacedName][]client.Object // by Mesh; Meshes and Dtabs, in the order of their events
}

// see keeps an object of the cache. It must not be changed.
func (w *witness) see(mesh types.NamespacedName, o client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[types.NamespacedName][]client.Object{}
	}
	list := w.seen[mesh]
	if len(list) >= maxWitnessed {
		list = list[1:]
	}
	w.seen[mesh] = append(list, o)
}

// take returns what was seen of a Mesh and its Dtabs since the last time, and forgets it.
func (w *witness) take(mesh types.NamespacedName) []client.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.seen[mesh]
	delete(w.seen, mesh)
	return list
}

// catchUp judges the generations between the last pass and this one.
func (s *meshState) catchUp(in *inputs) {
	for _, o := range in.witnessed {
		switch o := o.(type) {
		case *v1alpha1.Mesh:
			if o.UID == in.mesh.UID && o.Generation < in.mesh.Generation && o.Generation > s.tried {
				s.judgeMesh(o)
			}
		case *v1alpha1.Dtab:
			now, ok := in.present[client.ObjectKeyFromObject(o)]
			if s.accepted != nil && ok && now.UID == o.UID && o.Generation < now.Generation {
				s.judge(o)
			}
		}
	}
}
