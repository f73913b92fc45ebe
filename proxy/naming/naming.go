// Package naming turns logical names into bound names and their endpoints, and keeps both live.
//
// This package is the contract and the delegation; each namer is a child package. It knows no Kubernetes client.
package naming

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// State says how far a Live value has come.
type State uint8

const (
	// Pending means that no answer has arrived yet.
	Pending State = iota
	// Ok means that the value is the newest known.
	Ok
	// Failed means that the source of the value broke. The last good value, if there was one, is still returned.
	Failed
)

// Live is a value that changes under its readers. All methods may be called from any goroutine.
type Live[T any] interface {
	// Load returns the last good value, the state, and with Failed the reason. v is the zero value until the first Ok.
	Load() (v T, s State, err error)
	// Changed returns a channel that is closed at the next change. To miss none, call Changed before Load.
	Changed() <-chan struct{}
	// Close releases this user's share. The last Close ends the watch behind the value.
	Close()
}

// Tree is a name tree whose leaves are bound names, or paths that re-enter the dtab.
type Tree struct {
	// Kind says which other fields count. A namer's Leaf has either Bound or Path.
	Kind  dtab.Kind
	Bound *Bound
	// Path of a bound Leaf that delegation made is the leaf of the Dtab rule that led here, with what that rule appended to it.
	Path     dtab.Path
	Branches []Weighted
	// Unwell are the alternates of this tree that have no live endpoint. Fallback says that they come before it: it was taken in their
	// place. Otherwise it comes first, and was taken since none has one. Only delegation sets them, where Health is given.
	Unwell   []Tree
	Fallback bool
	// Source is the rule of a Dtab object that led here last; rules of the Mesh itself count only where no Dtab's did.
	Source dtab.Source
}

// Weighted is one branch of an Alt (weight unused) or a Union.
type Weighted struct {
	Weight float64
	Tree   Tree
}

// Neg is the tree of a name that does not exist.
func Neg() Tree { return Tree{Kind: dtab.Neg} }

// BoundLeaf returns the tree of one bound name.
func BoundLeaf(b *Bound) Tree { return Tree{Kind: dtab.Leaf, Bound: b} }

// PathLeaf returns the tree of one path that re-enters the dtab.
func PathLeaf(p dtab.Path) Tree {
	if p == nil {
		p = dtab.Path{} // the root is an answer, and the zero Tree is none
	}
	return Tree{Kind: dtab.Leaf, Path: p}
}

// Namer looks names up below its prefix.
type Namer interface {
	// Lookup returns the live tree of the path, which has lost the namer's prefix (/#/io.l5d.fs/web is asked for as /web). It does
	// not block. The caller closes what it was given.
	Lookup(p dtab.Path) Live[Tree]
}

// Bound is a name that a namer took responsibility for.
type Bound struct {
	// ID is the whole bound name with any transformer prefixes: the key of the client that serves it.
	ID dtab.Path
	// Residual is the part of the path that the namer did not use.
	Residual dtab.Path
	// Status, when it is not 0, is the HTTP status that answers every request in place of endpoints: 100 to 599.
	Status int
	// Addrs is the live set of endpoints. Its Close is never called through Bound: the Live[Tree] that holds the leaf owns it.
	Addrs Live[Addrs]
}

// Addrs is the set of endpoints of a bound name. A name may be bound and have no endpoints.
type Addrs struct {
	Endpoints []Endpoint
	// None says in words why there are no endpoints, where that is known.
	None string
}

// Endpoint is one address that serves a bound name. Addr is its identity for load, circuit and metrics.
type Endpoint struct {
	Addr netip.AddrPort
	// Hop, when not nil, is the place of the proxy on the endpoint's node: what is sent to the endpoint goes through it, while there
	// is one.
	Hop    *Hop
	Host   string
	Node   string
	Zone   string
	Weight float64
	// Serving is false for an endpoint that is known but gets no new requests.
	Serving     bool
	Terminating bool
	// ReadySince is when the endpoint became ready, or the zero time where that is not known.
	ReadySince time.Time
}

// Hop is the place of the proxy on one node. It stays the same while proxies come and go there, so that neither a set of endpoints nor
// a balancer changes with them. Whoever keeps the table of hops sets it; all others read. Its methods take no lock and do not allocate,
// but for Set.
type Hop struct {
	// Node is the name of the node.
	Node  string
	state atomic.Pointer[hopState]
}

type hopState struct{ via, lost netip.AddrPort }

// Via returns the address of the proxy that is ready on the node, or the zero value where there is none.
func (h *Hop) Via() netip.AddrPort {
	if s := h.state.Load(); s != nil {
		return s.via
	}
	return netip.AddrPort{}
}

// Lost reports whether the proxy at an address was the last to leave the place, and without an announcement: it may never answer what it
// was sent.
func (h *Hop) Lost(via netip.AddrPort) bool {
	s := h.state.Load()
	return s != nil && via.IsValid() && s.lost == via
}

// Set makes via, which may be the zero value, the address of the node's proxy. lost says that the one before does not merely end.
func (h *Hop) Set(via netip.AddrPort, lost bool) {
	next := &hopState{via: via}
	if lost {
		next.lost = h.Via()
	}
	h.state.Store(next)
}
