// Package identify finds the logical name of a request. It reads a request's head through a small interface and knows no protocol.
// It does not route: what a name leads to is the work of package route.
//
// It works in two steps, since most requests repeat a name. Token picks the raw bytes that decide the name, without allocating; a
// router uses them as the key of its cache. Name computes the logical name of a token, once for each distinct one.
package identify

import (
	"fmt"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// Request is what identifiers read of a request. The bytes returned belong to the request and are not changed.
type Request interface {
	// Host returns the Host header (HTTP/1.1: that of the target where it has an authority), or nil.
	Host() []byte
	// HeaderValue returns the value of the first header of that name, whatever the case, without blanks around it, or nil.
	HeaderValue(name string) []byte
}

// Set is the identifiers of a router, in order. It is immutable.
type Set struct {
	identifiers []identifier
	dstPrefix   dtab.Path
}

// identifier is io.l5d.header.token (Linkerd: HeaderTokenIdentifier): the value of a header, as one element of raw bytes.
type identifier struct {
	header string
	// host says that the header is Host, which a request may have elsewhere than among its headers.
	host bool
	// normalize says that the value is the host of a Kubernetes Service.
	normalize bool
}

// New returns the identifiers of a router of an accepted Mesh, whose names begin with dstPrefix. io.l5d.header.token is the one
// kind there is, which config.AcceptMesh has checked.
func New(identifiers []config.Identifier, dstPrefix dtab.Path) *Set {
	s := &Set{dstPrefix: dstPrefix, identifiers: make([]identifier, 0, len(identifiers))}
	for _, id := range identifiers {
		s.identifiers = append(s.identifiers, identifier{
			header:    id.Header,
			host:      isHost(id.Header),
			normalize: id.Normalize == v1alpha1.NormalizeKubernetesHost,
		})
	}
	return s
}

func isHost(header string) bool {
	const host = "host"
	if len(header) != len(host) {
		return false
	}
	for i := range len(host) {
		if lower(header[i]) != host[i] {
			return false
		}
	}
	return true
}

// Token returns the bytes that decide the name of a request, and which identifier they are for: the first whose header is there
// and not empty. They belong to the request. ok is false where no identifier can name the request (HTTP: 400). It does not
// allocate.
func (s *Set) Token(req Request) (token []byte, which int, ok bool) {
	for i := range s.identifiers {
		id := &s.identifiers[i]
		if id.host {
			token = req.Host()
		} else {
			token = req.HeaderValue(id.header)
		}
		if len(token) > 0 {
			return token, i, true
		}
	}
	return nil, 0, false
}

// Name returns the logical name of what Token returned. The error says why it has none. The name shares no memory with token.
func (s *Set) Name(which int, token []byte) (dtab.Path, error) {
	if which < 0 || which >= len(s.identifiers) {
		return nil, fmt.Errorf("identifier %d: there are %d", which, len(s.identifiers))
	}
	id := &s.identifiers[which]
	value := string(token)
	if id.normalize {
		value = KubernetesHost(value)
	}
	if value == "" {
		return nil, fmt.Errorf("header %s: expected a host, found %q", id.header, token)
	}
	return s.dstPrefix.Append(value), nil
}
