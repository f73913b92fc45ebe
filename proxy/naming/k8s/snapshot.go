package k8s

import (
	"cmp"
	"slices"
)

// Snapshot is all that a Store knows, in a form that can be kept on disk.
type Snapshot struct {
	Services []*Service `json:"services"`
	Slices   []*Slice   `json:"slices"`
	// Labels are those that the slices have if they have any.
	Labels []string `json:"labels,omitempty"`
}

// Export returns what the Store knows. The records are shared and must not be changed.
func (s *Store) Export() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Snapshot{
		Services: make([]*Service, 0, len(s.table.services)),
		Slices:   make([]*Slice, 0, len(s.table.slices)),
		Labels:   s.knownLabels,
	}
	for _, svc := range s.table.services {
		out.Services = append(out.Services, svc)
	}
	for _, es := range s.table.slices {
		out.Slices = append(out.Slices, es)
	}
	slices.SortFunc(out.Services, func(a, b *Service) int { return compareNames(a.key(), b.key()) })
	slices.SortFunc(out.Slices, func(a, b *Slice) int { return compareNames(a.key(), b.key()) })
	return out
}

func compareNames(a, b name) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}

// Import fills in what the API server has not answered yet: names are served from it until the first complete list of each
// resource, which then replaces it.
func (s *Store) Import(in Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.servicesSynced {
		for _, svc := range in.Services {
			if svc != nil {
				s.putService(svc)
			}
		}
	}
	if !s.slicesSynced {
		s.knownLabels = in.Labels
		for _, es := range in.Slices {
			if es != nil {
				s.putSlice(es)
			}
		}
	}
	s.imported = true
	s.version++
	s.refreshAll()
}
