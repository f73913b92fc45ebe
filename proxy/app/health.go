package app

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/transformer"
	"github.com/fairlead/fairlead/proxy/naming/utility"
	"github.com/fairlead/fairlead/proxy/pace"
	"github.com/fairlead/fairlead/proxy/route"
)

const (
	// maxFollowed bounds the leaves of Dtab objects that are kept bound without traffic.
	maxFollowed = 1000
	// maxReported and maxBalancers bound a report, as the schema of MeshProxy does.
	maxReported  = 200
	maxBalancers = 20
	// Requests are counted over windows*windowLength.
	windows      = 6
	windowLength = 10 * time.Second
)

// States of a destination in a report.
const (
	stateBound   = "bound"
	stateNeg     = "neg"
	statePending = "pending"
	stateFailed  = "failed"
	stateLoop    = "loop"
	// statePartial is a leaf that names only the front of a bound name: what it leads to depends on the request.
	statePartial = "partial"
)

// health knows how the destinations of the rules fare, whether requests ask for them or not.
type health struct {
	app  *App
	quit chan struct{}
	done chan struct{}

	mu       sync.Mutex // guards what follows
	followed map[followKey]*naming.Name
	wanted   []destination
	// counts of requests per destination: totals seen last, and what was added in each of the last windows.
	seen    map[seenKey]int64
	added   [windows]map[seenKey]int64
	current int
}

type followKey struct{ router, path string }

type seenKey struct {
	router string
	key    route.DestinationKey
}

// destination is one leaf of one rule of a Dtab.
type destination struct {
	dtab   string
	router string
	index  int
	path   dtab.Path
}

func newHealth(a *App) *health {
	h := &health{
		app: a, quit: make(chan struct{}), done: make(chan struct{}),
		followed: make(map[followKey]*naming.Name), seen: make(map[seenKey]int64),
	}
	for i := range h.added {
		h.added[i] = make(map[seenKey]int64)
	}
	go h.run()
	return h
}

func (h *health) close() {
	close(h.quit)
	<-h.done
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.followed {
		n.Close()
	}
}

func (h *health) run() {
	defer close(h.done)
	t := time.NewTicker(windowLength)
	defer t.Stop()
	for {
		select {
		case <-h.quit:
			return
		case <-t.C:
			h.mu.Lock()
			h.current = (h.current + 1) % windows
			h.added[h.current] = make(map[seenKey]int64)
			h.count()
			h.mu.Unlock()
		}
	}
}

// count adds what was requested since the last count to the current window. h.mu is held.
func (h *health) count() {
	seen := make(map[seenKey]int64)
	for name, r := range h.app.snapshotRouters() {
		for key, total := range r.routes.Requests() {
			k := seenKey{name, key}
			seen[k] = total
			if before := h.seen[k]; total >= before {
				total -= before
			}
			if total > 0 {
				h.added[h.current][k] += total
			}
		}
	}
	h.seen = seen
}

func (a *App) snapshotRouters() map[string]*router {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.routers
}

// follow keeps the leaves of the configuration's Dtabs bound, and no others.
func (h *health) follow(cfg *config.Config, routers map[string]*router) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wanted = nil
	names := make(map[followKey]*naming.Name)
	var p pace.Pace
	for _, d := range cfg.Dtabs {
		r := routers[d.Router]
		for i, e := range d.Dentries.All() {
			if r == nil || len(h.wanted) == maxFollowed {
				break
			}
			p.Step()
			for _, path := range leaves(nil, &e.Dst) {
				if len(h.wanted) == maxFollowed {
					break
				}
				h.wanted = append(h.wanted, destination{dtab: d.Namespace + "/" + d.Name, router: d.Router, index: i, path: path})
				key := followKey{d.Router, path.String()}
				switch {
				case names[key] != nil:
				case h.followed[key] != nil:
					names[key] = h.followed[key]
				default:
					names[key] = r.routes.Follow(path)
				}
			}
		}
	}
	for key, n := range h.followed {
		if names[key] == nil {
			n.Close()
		}
	}
	h.followed = names
}

// leaves appends the paths of the tree's leaves, in the order they are written.
func leaves(out []dtab.Path, t *dtab.Tree) []dtab.Path {
	if t.Kind == dtab.Leaf {
		return append(out, t.Path)
	}
	for i := range t.Branches {
		out = leaves(out, &t.Branches[i].Tree)
	}
	return out
}

// Health returns what the proxy says of itself: versions and revisions are for the caller to add.
func (a *App) Health() v1alpha1.MeshProxyStatus {
	h := a.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count()
	var s v1alpha1.MeshProxyStatus
	s.ProxyVersion = a.options.Version
	balancers := make(map[string]v1alpha1.ProxyBalancer)
	requests := h.requests()
	for _, r := range a.snapshotRouters() {
		for _, c := range r.routes.Clients() {
			if name, ok := reported(c.ID); c.InUse && ok {
				merge(balancers, v1alpha1.ProxyBalancer{Client: name, Endpoints: int32(len(c.Endpoints)), Available: int32(c.Available), Ejected: int32(c.Ejected)})
			}
		}
	}
	for i := range h.wanted {
		d := h.report(&h.wanted[i], balancers)
		d.Requests = requests[i]
		if len(s.Dtabs) < maxReported {
			s.Dtabs = append(s.Dtabs, d)
		}
	}
	summarize(&s, balancers)
	for _, window := range h.added {
		for _, n := range window {
			s.Totals.Requests += n
		}
	}
	return s
}

// requests returns the requests of the last minute for each wanted destination. A request is attributed to the longest leaf of its
// rule that it went by. h.mu is held.
func (h *health) requests() []int64 {
	type ruleKey struct {
		router, object string
		index          int
	}
	rules := make(map[ruleKey][]int)
	for i, d := range h.wanted {
		key := ruleKey{d.router, d.dtab, d.index}
		rules[key] = append(rules[key], i)
	}
	out := make([]int64, len(h.wanted))
	for _, window := range h.added {
		for k, n := range window {
			path, err := dtab.ParsePath(k.key.Path)
			if err != nil {
				continue // printed by String, so it parses
			}
			best := -1
			for _, i := range rules[ruleKey{k.router, k.key.Object, k.key.Index}] {
				if path.HasPrefix(h.wanted[i].path) && (best < 0 || len(h.wanted[i].path) > len(h.wanted[best].path)) {
					best = i
				}
			}
			if best >= 0 {
				out[best] += n
			}
		}
	}
	return out
}

// report says how one destination fares, and adds its bound names to balancers. h.mu is held.
func (h *health) report(d *destination, balancers map[string]v1alpha1.ProxyBalancer) v1alpha1.ProxyDestination {
	out := v1alpha1.ProxyDestination{Dtab: d.dtab, Dentry: int32(d.index), Dst: d.path.String(), State: statePending}
	name := h.followed[followKey{d.router, out.Dst}]
	tree, state, err := name.Load()
	unset := state == naming.Failed && tree.Kind == dtab.Leaf && tree.Bound == nil
	switch {
	case state == naming.Pending:
	case errors.Is(err, naming.ErrMaxDepth):
		out.State = stateLoop
	case (unset || tree.Kind == dtab.Neg) && h.app.isPartial(d.path):
		out.State = statePartial
	case unset:
		out.State = stateFailed
	case tree.Kind == dtab.Leaf || tree.Kind == dtab.Union:
		out.State = stateBound
		addBound(&out, &tree, balancers)
	default:
		out.State = stateNeg
	}
	return out
}

// reported returns the name by which a client is reported: that of the service, whatever transformers it went through. Clients that
// see a part of the endpoints alone are none of a report's: what is missing there is not lost.
func reported(client string) (name string, ok bool) {
	id, err := dtab.ParsePath(client)
	if err != nil || transformer.Narrows(id) {
		return "", false
	}
	return id.Untransformed().String(), true
}

// addBound counts the endpoints that a bound name has, also where the router keeps a part of them.
func addBound(out *v1alpha1.ProxyDestination, t *naming.Tree, balancers map[string]v1alpha1.ProxyBalancer) {
	if t.Bound != nil && t.Bound.Status == 0 {
		addrs, _, _ := naming.Whole(t.Bound.Addrs).Load()
		b := v1alpha1.ProxyBalancer{Client: t.Bound.ID.Untransformed().String(), Endpoints: int32(len(addrs.Endpoints))}
		for i := range addrs.Endpoints {
			if addrs.Endpoints[i].Serving {
				b.Available++
			}
		}
		if seen, ok := balancers[b.Client]; ok {
			b.Available = min(b.Available, seen.Available) // what only the proxies see to fail
		}
		out.Endpoints += b.Endpoints
		out.Available += b.Available
		merge(balancers, b)
	}
	for i := range t.Branches {
		addBound(out, &t.Branches[i].Tree, balancers)
	}
}

func merge(balancers map[string]v1alpha1.ProxyBalancer, b v1alpha1.ProxyBalancer) {
	if before, ok := balancers[b.Client]; ok {
		b.Endpoints, b.Available = max(b.Endpoints, before.Endpoints), min(b.Available, before.Available)
		b.Ejected = max(b.Ejected, before.Ejected)
	}
	balancers[b.Client] = b
}

func summarize(s *v1alpha1.MeshProxyStatus, balancers map[string]v1alpha1.ProxyBalancer) {
	var endpoints, available int32
	for _, b := range balancers {
		endpoints += b.Endpoints
		available += b.Available
		s.Totals.Balancers++
		if b.Available == b.Endpoints && b.Endpoints > 0 {
			s.Totals.HealthyBalancers++
		}
		s.Balancers = append(s.Balancers, b)
	}
	s.Totals.Endpoints = fmt.Sprintf("%d/%d", available, endpoints)
	slices.SortFunc(s.Balancers, func(a, b v1alpha1.ProxyBalancer) int {
		lost := cmp.Compare(b.Endpoints-b.Available, a.Endpoints-a.Available)
		return cmp.Or(lost, cmp.Compare(a.Available, b.Available), strings.Compare(a.Client, b.Client))
	})
	s.Balancers = s.Balancers[:min(len(s.Balancers), maxBalancers)]
}

// nameElements returns how many elements a name of a namer has at least, or 0 where that is its own to know.
func nameElements(n *v1alpha1.Namer) int {
	elements := 0
	switch n.Kind {
	case v1alpha1.KindNamerK8s, v1alpha1.KindNamerK8sExternal:
		elements = 3 // namespace, port, service
	case v1alpha1.KindNamerK8sNs:
		elements = 2
	case v1alpha1.KindNamerFs, v1alpha1.KindNamerDNSSRV:
		elements = 1
	}
	if n.LabelSelector != "" {
		elements++
	}
	return elements
}

// isPartial reports whether a leaf is too short to name anything by itself.
func (a *App) isPartial(p dtab.Path) bool {
	if len(p) > 0 && p[0] == "$" {
		return utility.IsPartial(p[1:])
	}
	if len(p) == 0 || p[0] != "#" {
		return len(p) <= 1
	}
	cfg := a.Config()
	for _, n := range cfg.Mesh.Spec.Namers {
		prefix, err := dtab.ParsePath("/#" + n.Prefix)
		if err != nil || !p.HasPrefix(prefix) {
			continue
		}
		elements := nameElements(&n)
		// Of a pattern nothing is known: a shorter name says nothing yet.
		return elements == 0 || len(p)-len(prefix) < elements
	}
	return false
}
