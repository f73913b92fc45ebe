package k8s

import (
	"slices"
	"strings"
	"sync"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

// Namer answers names below one prefix from a Store.
type Namer struct {
	store  *Store
	prefix dtab.Path
	// namespace, where it is not "", is that of all names, which do not begin with one.
	namespace string
	// label, where it is not "", is one that the last element of a name has the value of.
	label string
	close sync.Once
	// external, where it is not nil, resolves the hosts of load balancers, whose addresses take the place of endpoints.
	external *dns.Resolver
}

// Namer returns the namer of prefix, which is that of the bound names: /#/io.l5d.k8s. It costs nothing; a reload makes a new one
// and keeps the Store.
func (s *Store) Namer(prefix dtab.Path) *Namer { return &Namer{store: s, prefix: prefix} }

// InNamespace makes the names of n those of one namespace, /<port>/<service>, and returns n. It is called before n is used, as are the
// other two.
func (n *Namer) InNamespace(namespace string) *Namer {
	n.namespace = namespace
	return n
}

// Selecting makes the names of n end in the value of a label, /<namespace>/<port>/<service>/<value>: only EndpointSlices with that
// value count. The label is kept of all slices until Close.
func (n *Namer) Selecting(label string) *Namer {
	n.label = label
	n.store.labels.want(label)
	return n
}

// External makes n answer with the addresses of the load balancers of Services, whose host names are resolved by r.
func (n *Namer) External(r *dns.Resolver) *Namer {
	n.external = r
	return n
}

// Close ends what the namer needs of the Store. Names that are in use stay.
func (n *Namer) Close() {
	if n.label != "" {
		n.close.Do(func() { n.store.labels.unwant(n.label) })
	}
}

// Lookup implements naming.Namer for /<namespace>/<port>/<service>[/<residual>], or the form that the other methods made it. A shorter
// path, and a Service or port that does not exist, is Neg. The tree is Pending while nothing is known. Names are lowercased.
func (n *Namer) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	used := 3
	if n.namespace != "" {
		used--
	}
	if n.label != "" {
		used++
	}
	if len(p) < used {
		return naming.Fixed(naming.Neg())
	}
	id := make(dtab.Path, used)
	for i := range id {
		id[i] = strings.ToLower(p[i])
	}
	rest, ns := id, n.namespace
	if ns == "" {
		ns, rest = id[0], id[1:]
	}
	v := view{port: rest[0], label: n.label, external: n.external}
	if n.label != "" {
		v.value = rest[2]
	}
	return n.store.lookup(name{ns, rest[1]}, v, leafKey{id: n.prefix.Append(id...), residual: slices.Clone(p[used:])})
}

// view is what a name asks for of a Service.
type view struct {
	// port is a name or number.
	port         string
	label, value string
	external     *dns.Resolver
}

// leafKey is what tells two leaves of one target apart.
type leafKey struct{ id, residual dtab.Path }

func (k leafKey) String() string { return k.id.String() + " " + k.residual.String() }

// target is one view of one Service while somebody uses it.
type target struct {
	addrs *naming.Var[naming.Addrs]
	// external, where it is not nil, is what sets addrs, and hosts what it was told last.
	external *dns.Endpoints
	hosts    []dns.Target
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

func (s *Store) lookup(svc name, v view, key leafKey) naming.Live[naming.Tree] {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[svc][v]
	if t == nil {
		t = newTarget(v)
		if s.targets[svc] == nil {
			s.targets[svc] = map[view]*target{}
		}
		s.targets[svc][v] = t
		s.refreshTarget(svc, v, t)
	}
	id := key.String()
	if l := t.leaves[id]; l != nil {
		if live, ok := l.shared.Acquire(); ok {
			return live
		}
	}
	l := &leaf{key: key}
	l.shared = naming.NewShared(naming.NewVar[naming.Tree](), func() { s.release(svc, v, id, l) })
	t.leaves[id] = l
	t.show(l)
	live, _ := l.shared.Acquire()
	return live
}

// release forgets a leaf that nobody uses, unless a new one took its place.
func (s *Store) release(svc name, v view, id string, l *leaf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.targets[svc][v]
	if t == nil || t.leaves[id] != l {
		return
	}
	delete(t.leaves, id)
	if len(t.leaves) > 0 {
		return
	}
	if t.external != nil {
		t.external.End()
	}
	delete(s.targets[svc], v)
	if len(s.targets[svc]) == 0 {
		delete(s.targets, svc)
	}
}

// refresh brings the names of the given Services up to date. The caller holds mu.
func (s *Store) refresh(services ...name) {
	for _, svc := range services {
		for v, t := range s.targets[svc] {
			s.refreshTarget(svc, v, t)
		}
	}
}

// refreshAll brings all names in use up to date. The caller holds mu.
func (s *Store) refreshAll() {
	for svc := range s.targets {
		s.refresh(svc)
	}
}

func newTarget(v view) *target {
	t := &target{leaves: map[string]*leaf{}}
	if v.external == nil {
		t.addrs = naming.NewVar[naming.Addrs]()
	} else {
		t.resolve(v.external)
	}
	return t
}

// resolve gives the target a set of endpoints by r of which nothing is known yet.
func (t *target) resolve(r *dns.Resolver) {
	t.external, t.hosts = r.Endpoints(), nil
	t.addrs = t.external.Var
}

// refreshTarget looks one view up and tells its users only what changed. The caller holds mu.
func (s *Store) refreshTarget(svc name, v view, t *target) {
	if !s.known() || v.label != "" && !slices.Contains(s.knownLabels, v.label) {
		return
	}
	exists := false
	if t.external != nil {
		var hosts []dns.Target
		hosts, exists = s.table.external(svc, v.port)
		switch {
		case !exists && t.exists:
			t.external.End()
			t.resolve(v.external)
		case exists && !slices.Equal(hosts, t.hosts):
			t.hosts = hosts
			t.external.Follow(hosts)
		}
	} else {
		var endpoints []naming.Endpoint
		endpoints, exists = s.table.resolve(svc, v)
		if !t.settled || !slices.Equal(endpoints, t.last) {
			t.last = endpoints
			t.addrs.Set(naming.Addrs{Endpoints: endpoints})
		}
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
