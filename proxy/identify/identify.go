// Package identify finds the logical name of a request. It reads a request's head through a small interface and knows no protocol.
// It does not route: what a name leads to is the work of package route.
//
// It works in two steps, since most requests repeat a name. AppendKey picks the raw bytes that decide the name, without allocating;
// a router uses them as the key of its cache. Name computes the logical name of a key, once for each distinct one.
package identify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// MaxKeyBytes bounds what decides a name, and with it the memory that a name takes for as long as it is kept.
const MaxKeyBytes = 4 << 10

// ErrTooLong means that more than MaxKeyBytes would decide the name of a request.
var ErrTooLong = fmt.Errorf("the name of the request is longer than %d bytes", MaxKeyBytes)

// Request is what identifiers read of a request. The bytes returned belong to the request and are not changed. None holds a NUL.
type Request interface {
	// Method returns the method, in the case it was sent.
	Method() []byte
	// Target returns path and query, or "*".
	Target() []byte
	// Minor returns the minor version of HTTP/1.
	Minor() int
	// Host returns the Host header (HTTP/1.1: that of the target where it has an authority), or nil.
	Host() []byte
	// HeaderValue returns the value of the first header of that name, whatever the case, without blanks around it, or nil.
	HeaderValue(name string) []byte
}

// Set is the identifiers of a router, in order. It is immutable.
type Set struct {
	identifiers []identifier
	dstPrefix   dtab.Path
	// unidentified says why none of them could name a request.
	unidentified error
}

// Match says which identifier of a Set names a request.
type Match struct {
	// Index is its place in the list.
	Index int
	// Consume is how many bytes at the front of the target went into the name and are not sent on.
	Consume int
}

// New returns the identifiers of a router of an accepted Mesh, whose names begin with dstPrefix.
func New(identifiers []config.Identifier, dstPrefix dtab.Path) *Set {
	s := &Set{dstPrefix: dstPrefix, identifiers: make([]identifier, 0, len(identifiers))}
	whys := make([]string, 0, len(identifiers))
	for _, c := range identifiers {
		id := identifier{
			kind: c.Kind, header: c.Header, host: isHost(c.Header), normalize: c.Normalize == v1alpha1.NormalizeKubernetesHost,
			segments: c.Segments, consume: c.Consume, uri: c.HTTPURIInDst,
		}
		if c.Path != "" {
			id.path, _ = dtab.ParsePath(c.Path) // config.AcceptMesh has parsed it
		}
		s.identifiers = append(s.identifiers, id)
		whys = append(whys, id.absent())
	}
	s.unidentified = errors.New("unknown destination: " + strings.Join(whys, "; "))
	return s
}

// AppendKey appends the bytes that decide the name of a request: those of the first identifier that can name it. The error says why
// none can (HTTP: 400). It does not allocate where dst has room.
func (s *Set) AppendKey(dst []byte, req Request) ([]byte, Match, error) {
	for i := range s.identifiers {
		key, consume, ok := s.identifiers[i].appendKey(dst, req)
		if !ok {
			continue
		}
		if len(key)-len(dst) > MaxKeyBytes {
			return dst, Match{}, ErrTooLong
		}
		return key, Match{Index: i, Consume: consume}, nil
	}
	return dst, Match{}, s.unidentified
}

// Name returns the logical name of what AppendKey appended. The error says why it has none: Linkerd stops at it too, and does not
// try the identifiers that follow. The name shares no memory with key.
func (s *Set) Name(index int, key []byte) (dtab.Path, error) {
	if index < 0 || index >= len(s.identifiers) {
		return nil, fmt.Errorf("identifier %d: there are %d", index, len(s.identifiers))
	}
	path, err := s.identifiers[index].name(string(key))
	if err != nil {
		return nil, err
	}
	return s.dstPrefix.Append(path...), nil
}
