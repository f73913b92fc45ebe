package route

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Reasons why a name leads nowhere.
const (
	ReasonNoBinding      = "no-binding"
	ReasonBindingFailed  = "binding-failed"
	ReasonBindingError   = "binding-error"
	ReasonBindingTimeout = "binding-timeout"
	ReasonEmpty          = "empty-binding"
	ReasonTooManyClients = "too-many-clients"
	ReasonTooManyNames   = "too-many-names"
	ReasonMaxDepth       = "max-depth"
	ReasonMaxLookups     = "too-many-lookups"
	// A request's time was over before its name was bound. The protocols have these reasons as well.
	ReasonTotalTimeout = "total-timeout"
	ReasonDeadline     = "deadline-exceeded"

	// The rules that a request brought lead to an address, are followed too far, or are one of too many such sets at a time.
	ReasonOverrideAddress = "dtab-override-address"
	ReasonOverrideLookups = "dtab-override-too-many-lookups"
	ReasonOverrideNames   = "dtab-override-too-many-names"
)

// Error is why a name leads nowhere. Reason is a stable token, Message is for people.
type Error struct {
	Reason  string
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Reason + ": " + e.Message }

// Name is one name that requests ask for, bound and kept up to date.
type Name struct {
	router  *Router
	key     string
	path    dtab.Path
	current atomic.Pointer[distribution]
	// service and bound are there once started is closed; service is also there in build.
	service *service
	// local holds the rules the requests brought with them; they travel on as l5d-ctx-dtab.
	local dtab.Dtab
	// chosen says that another proxy chose where the requests go: a rule of its own leads there, which does not travel on.
	chosen  bool
	bound   *naming.Name
	started chan struct{}
	// used is when the name was last asked for, in ticks.
	used atomic.Int64
}

// distribution is what a bound tree comes to for requests: leaves with the share of each. It is immutable.
type distribution struct {
	leaves []*Leaf
	// passed are leaves without a live endpoint that are kept to be tried. fallen says that others were taken in their place.
	passed []*Leaf
	fallen bool
	// cumulative shares of leaves; nil where there is one leaf.
	cumulative []float64
	// err says why there is no leaf.
	err *Error
	// pending means that no namer has answered yet.
	pending bool
	// replaced is closed when another distribution takes the place of this one.
	replaced chan struct{}
}

func (n *Name) touch() {
	if now := n.router.now.Load(); n.used.Load() != now {
		n.used.Store(now)
	}
}

// worth orders names for eviction: those that lead nowhere go first.
func (n *Name) worth() int64 {
	if n.isLost() {
		return n.used.Load() - int64(IdleTTL/tick)
	}
	return n.used.Load()
}

func (n *Name) isBound() bool {
	select {
	case <-n.started:
		return true
	default:
		return false
	}
}

func (n *Name) refused() bool {
	d := n.current.Load()
	return d.err != nil && d.err.Reason == ReasonTooManyClients
}

// Path returns the logical name.
func (n *Name) Path() dtab.Path { return n.path }

// Choose returns the leaf for one request, drawn by weight. It waits for a name or an endpoint set that no namer has told yet, up to the
// binding timeout, the total timeout of the name, or until the request's own deadline (in nanoseconds of Options.Clock, 0 for none).
func (n *Name) Choose(deadlineNs int64) (*Leaf, *Error) {
	d := n.current.Load()
	if d.pending || d.unready() {
		return n.wait(deadlineNs)
	}
	l, err := d.draw()
	return l.orTrial(), err
}

func (d *distribution) unready() bool {
	for _, l := range d.leaves {
		if l != nil && !l.ready() {
			return true
		}
	}
	return false
}

func (n *Name) wait(deadlineNs int64) (*Leaf, *Error) {
	timeout, late := n.patience(deadlineNs)
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		d := n.current.Load()
		leaf, err := (*Leaf)(nil), (*Error)(nil)
		var ready <-chan struct{}
		if !d.pending {
			if leaf, err = d.draw(); err != nil || leaf.ready() {
				return leaf.orTrial(), err
			}
			ready = leaf.client.readied
		}
		select {
		case <-d.replaced:
		case <-ready:
			return leaf, nil
		case <-deadline.C:
			return nil, late
		}
	}
}

// patience is how long a request may wait for its name, and what it means that this is over.
func (n *Name) patience(deadlineNs int64) (time.Duration, *Error) {
	s := n.router.settings.Load()
	timeout := s.bindingTimeout
	late := &Error{ReasonBindingTimeout, "exceeded " + timeout.String() + " binding timeout while resolving name: " + n.path.String()}
	if total := s.router.ServiceFor(n.path).TotalTimeout; total > 0 && total < timeout {
		timeout, late = total, &Error{ReasonTotalTimeout, "exceeded " + total.String() + " total timeout while resolving name: " + n.path.String()}
	}
	if deadlineNs > 0 && !s.router.ForwardsDeadlines {
		if left := time.Duration(deadlineNs - n.router.options.Clock()); left < timeout {
			timeout, late = left, &Error{ReasonDeadline, "the deadline of the request passed while resolving name: " + n.path.String()}
		}
	}
	return timeout, late
}

func (d *distribution) draw() (*Leaf, *Error) {
	if d.err != nil {
		return nil, d.err
	}
	i := 0
	if d.cumulative != nil {
		x := rand.Float64() * d.cumulative[len(d.cumulative)-1]
		i = min(sort.Search(len(d.cumulative), func(i int) bool { return d.cumulative[i] > x }), len(d.leaves)-1)
	}
	if d.leaves[i] == nil {
		return nil, errEmpty
	}
	return d.leaves[i], nil
}

// String returns the leaves with their shares, for people; "" where there is only one.
func (d *distribution) String() string {
	if d.cumulative == nil {
		return ""
	}
	var text strings.Builder
	before, total := 0.0, d.cumulative[len(d.cumulative)-1]
	for i, l := range d.leaves {
		if i > 0 {
			text.WriteString(" & ")
		}
		to := "$"
		switch {
		case l == nil:
		case l.client == nil:
			to = strconv.Itoa(l.status)
		default:
			to = l.client.id.String()
		}
		fmt.Fprintf(&text, "%.3g * %s", (d.cumulative[i]-before)/total, to)
		before = d.cumulative[i]
	}
	return text.String()
}

var errEmpty = &Error{ReasonEmpty, "the rules send this share of the requests to nothing ($)"}

// build makes the distribution of a new tree. It is called by one goroutine at a time.
func (n *Name) build(t naming.Tree, s naming.State, err error) {
	d := &distribution{replaced: make(chan struct{})}
	switch {
	case s == naming.Pending:
		d.pending = true
	case s == naming.Failed && t.Kind == dtab.Leaf && t.Bound == nil:
		d.err = &Error{reasonOf(err), err.Error()}
	default:
		d.add(n, t, 1)
		d.finish(n)
	}
	old := n.current.Swap(d)
	switch {
	case d.lost() && !old.lost():
		n.router.lost.Add(1)
	case !d.lost() && old.lost():
		n.router.lost.Add(-1)
	}
	n.fell(old, d)
	close(old.replaced)
	n.release(old)
}

// reasonOf tells the limits of a delegation apart from what its namers and rules may say otherwise.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, naming.ErrMaxDepth):
		return ReasonMaxDepth
	case errors.Is(err, naming.ErrMaxLookups):
		return ReasonMaxLookups
	case errors.Is(err, naming.ErrLocalAddress):
		return ReasonOverrideAddress
	case errors.Is(err, naming.ErrMaxLocalLookups):
		return ReasonOverrideLookups
	}
	return ReasonBindingError
}

// lost reports whether the rules lead to no endpoint.
func (d *distribution) lost() bool { return d.err != nil }

// isLocal reports whether the requests brought rules of their own.
func (n *Name) isLocal() bool { return n.chosen || len(n.local) > 0 }

func (n *Name) isLost() bool { return n.current.Load().lost() }

// add collects the leaves below t, whose share is share. All weights zero means equal shares.
func (d *distribution) add(n *Name, t naming.Tree, share float64) {
	before := len(d.leaves)
	switch t.Kind {
	case dtab.Leaf:
		leaf, err := n.leaf(t)
		if err != nil {
			d.err = err
			return
		}
		d.append(leaf, share)
	case dtab.Empty:
		d.append(nil, share)
	case dtab.Fail:
		d.err = &Error{ReasonBindingFailed, "the rules stop " + n.service.path.String() + " (!)"}
	case dtab.Neg:
		d.err = &Error{ReasonNoBinding, "no rule leads " + n.service.path.String() + " to a name that exists"}
	case dtab.Union:
		total := 0.0
		for _, b := range t.Branches {
			total += b.Weight
		}
		for _, b := range t.Branches {
			part := 1 / float64(len(t.Branches))
			if total > 0 {
				part = b.Weight / total
			}
			d.add(n, b.Tree, share*part)
		}
	}
	d.pass(n, &t, before)
}

func (d *distribution) append(l *Leaf, share float64) {
	if share == 0 && len(d.leaves) > 0 {
		if l != nil {
			l.release()
		}
		return
	}
	sum := share
	if len(d.cumulative) > 0 {
		sum += d.cumulative[len(d.cumulative)-1]
	}
	d.leaves = append(d.leaves, l)
	d.cumulative = append(d.cumulative, sum)
}

func (d *distribution) finish(n *Name) {
	if d.err != nil {
		n.release(d)
		d.leaves, d.passed, d.fallen, d.cumulative = nil, nil, false, nil
		return
	}
	if len(d.leaves) == 1 {
		d.cumulative = nil
	}
}

func (n *Name) release(d *distribution) {
	for _, l := range d.leaves {
		if l != nil {
			l.release()
		}
	}
	for _, l := range d.passed {
		l.release()
	}
}

func (n *Name) close() {
	<-n.started
	n.bound.Close()
	if n.isLost() {
		n.router.lost.Add(-1)
	}
	if n.isLocal() {
		n.router.local.Add(-1)
	}
	d := n.current.Load()
	if d.fallen {
		n.service.falls.Load().active.Add(-1)
	}
	if d.pending || d.unready() {
		// It made room for another before it was bound. Nothing will be told any more to the requests that wait for it.
		n.current.Store(&distribution{err: n.evicted(), replaced: make(chan struct{})})
		close(d.replaced)
	}
	n.release(d)
	n.router.releaseService(n.service)
}

func (n *Name) evicted() *Error {
	if n.isLocal() {
		return &Error{ReasonOverrideNames, "as many names with rules of requests as this proxy keeps came before this one was bound"}
	}
	return &Error{ReasonTooManyNames, "as many names as this proxy keeps came before this one was bound"}
}
