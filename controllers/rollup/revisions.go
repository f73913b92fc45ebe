package rollup

import "github.com/fairlead/fairlead/proxy/config"

// maxRevisions is how many revisions of a mesh are remembered.
const maxRevisions = 256

// Revisions remembers the last revisions of a mesh with their members, so that a reported revision answers for each Dtab
// separately. The zero value is empty. It is not safe for concurrent use.
type Revisions struct {
	members map[string]map[string]int64
	order   []string
}

// Add remembers a revision as the newest.
func (r *Revisions) Add(revision string, members []config.Member) {
	if n := len(r.order); n > 0 && r.order[n-1] == revision {
		return
	}
	if r.members == nil {
		r.members = map[string]map[string]int64{}
	}
	if _, ok := r.members[revision]; ok { // an edit was taken back: it is the newest again
		for i, known := range r.order {
			if known == revision {
				r.order = append(r.order[:i], r.order[i+1:]...)
				break
			}
		}
	} else {
		set := make(map[string]int64, len(members))
		for _, m := range members {
			set[m.UID] = m.Generation
		}
		r.members[revision] = set
	}
	r.order = append(r.order, revision)
	if len(r.order) > maxRevisions {
		delete(r.members, r.order[0])
		r.order = append(r.order[:0], r.order[1:]...)
	}
}

// Holds reports whether the revision is known and has that generation of the Dtab.
func (r *Revisions) Holds(revision, uid string, generation int64) bool {
	g, ok := r.members[revision][uid]
	return ok && g == generation
}

// Known reports whether the revision is remembered.
func (r *Revisions) Known(revision string) bool {
	_, ok := r.members[revision]
	return ok
}
