package k8s

import (
	"slices"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Namer answers names below one prefix from a Store.
type Namer struct {
	store  *Store
	prefix dtab.Path
}

// Namer returns the namer of prefix, which is that of the bound names: /#/io.l5d.k8s. It costs nothing; a reload makes a new one
// and keeps the Store.
func (s *Store) Namer(prefix dtab.Path) *Namer { return &Namer{store: s, prefix: prefix} }

// Lookup implements naming.Namer for /<namespace>/<port>/<service>[/<residual>]. A shorter path, and a Service or port that does
// not exist, is Neg. The tree is Pending while nothing is known. Names are lowercased.
func (n *Namer) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	if len(p) < 3 {
		return naming.Fixed(naming.Neg())
	}
	ns, port, svc := strings.ToLower(p[0]), strings.ToLower(p[1]), strings.ToLower(p[2])
	return n.store.lookup(name{ns, svc}, port, leafKey{
		id:       n.prefix.Append(ns, port, svc),
		residual: slices.Clone(p[3:]),
	})
}

// leafKey is what tells two leaves of one target apart.
type leafKey struct{ id, residual dtab.Path }

func (k leafKey) String() string { return k.id.String() + " " + k.residual.String() }

// target is one port of one Service while somebody uses it.
type target struct {
	addrs *naming.Var[naming.Addrs]
	// settled is false until the first answer; last and exists are that answer.
	settled bool
	exists  bool
	last    []naming.Endpoint
	leaves  map[string]*leaf
}

// leaf is one live tree that users share.
type leaf struct {
	key    leafKey
	shared *naming.Shared[naming.Tree]
}

func (s *Store) lookup(svc name, port string, key leafKey) naming.Live[naming.Tree] {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[svc][port]
	if t == nil {
		t = &target{addrs: naming.NewVar[naming.Addrs](), leaves: map[string]*leaf{}}
		if s.targets[svc] == nil {
			s.targets[svc] = map[string]*target{}
		}
		s.targets[svc][port] = t
		s.refreshTarget(svc, port, t)
	}
	id := key.String()
	if l := t.leaves[id]; l != nil {
		if live, ok := l.shared.Acquire(); ok {
			return live
		}
	}
	l := &leaf{key: key}
	l.shared = naming.NewShared(naming.NewVar[naming.Tree](), func() { s.release(svc, port, id, l) })
	t.leaves[id] = l
	t.show(l)
	live, _ := l.shared.Acquire()
	return live
}

// release forgets a leaf that nobody uses, unless a new one took its place.
func (s *Store) release(svc name, port, id string, l *leaf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[svc][port]
	if t == nil || t.leaves[id] != l {
		return
	}
	delete(t.leaves, id)
	if len(t.leaves) > 0 {
		return
	}
	delete(s.targets[svc], port)
	if len(s.targets[svc]) == 0 {
		delete(s.targets, svc)
	}
}

// refresh brings the names of the given Services up to date. The caller holds mu.
func (s *Store) refresh(services ...name) {
	for _, svc := range services {
		for port, t := range s.targets[svc] {
			s.refreshTarget(svc, port, t)
		}
	}
}

// refreshAll brings all names in use up to date. The caller holds mu.
func (s *Store) refreshAll() {
	for svc := range s.targets {
		s.refresh(svc)
	}
}

// refreshTarget looks one port up and tells its users only what changed. The caller holds mu.
func (s *Store) refreshTarget(svc name, port string, t *target) {
	if !s.known() {
		return
	}
	endpoints, exists := s.table.resolve(svc, port)
	if !t.settled || !slices.Equal(endpoints, t.last) {
		t.last = endpoints
		t.addrs.Set(naming.Addrs{Endpoints: endpoints})
	}
	if t.settled && exists == t.exists {
		return
	}
	t.settled, t.exists = true, exists
	for _, l := range t.leaves {
		t.show(l)
	}
}

// show sets the tree of a leaf.
func (t *target) show(l *leaf) {
	switch {
	case !t.settled:
	case t.exists:
		l.shared.Set(naming.BoundLeaf(&naming.Bound{ID: l.key.id, Residual: l.key.residual, Addrs: t.addrs}))
	default:
		l.shared.Set(naming.Neg())
	}
}
