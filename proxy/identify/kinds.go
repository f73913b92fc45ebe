package identify

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// identifier is one of a list. kind says which of the other fields count.
type identifier struct {
	kind   string
	header string
	// host says that the header is Host, which a request may have elsewhere than among its headers.
	host bool
	// normalize says that the value is the host of a Kubernetes Service.
	normalize bool
	segments  int
	consume   bool
	uri       bool
	path      dtab.Path
}

func isHost(header string) bool { return toLower(header) == "host" }

// absent says what a request lacks that the identifier cannot name.
func (id *identifier) absent() string {
	switch id.kind {
	case v1alpha1.KindIdentifierPath:
		return fmt.Sprintf("the path has fewer segments than %d", id.segments)
	case v1alpha1.KindIdentifierMethodAndHost:
		return "the HTTP/1.1 request has no host"
	}
	return "header " + id.header + " is absent or empty"
}

// appendKey appends what decides the name. ok is false where the identifier cannot name the request. consume is as in Match.
func (id *identifier) appendKey(dst []byte, req Request) (key []byte, consume int, ok bool) {
	switch id.kind {
	case v1alpha1.KindIdentifierStatic:
		return dst, 0, true
	case v1alpha1.KindIdentifierPath:
		target := req.Target()
		end := cutSegments(pathOf(target), id.segments)
		if end < 0 {
			return dst, 0, false
		}
		if id.consume {
			consume = end
		}
		return append(dst, target[:end]...), consume, true
	case v1alpha1.KindIdentifierMethodAndHost:
		return id.appendMethodAndHost(dst, req)
	}
	value := req.Host()
	if !id.host {
		value = req.HeaderValue(id.header)
	}
	return append(dst, value...), 0, len(value) > 0
}

// name returns the name of a key, without dstPrefix.
func (id *identifier) name(key string) (dtab.Path, error) {
	switch id.kind {
	case v1alpha1.KindIdentifierStatic:
		return id.path, nil
	case v1alpha1.KindIdentifierPath:
		return segmentsOf(key)
	case v1alpha1.KindIdentifierMethodAndHost:
		return id.methodAndHost(key)
	case v1alpha1.KindIdentifierHeader:
		return parsePath("header "+id.header, key)
	}
	if !id.normalize {
		return dtab.Path{key}, nil
	}
	host := KubernetesHost(key)
	if host == "" {
		return nil, fmt.Errorf("header %s: expected a host, found %q", id.header, key)
	}
	return dtab.Path{host}, nil
}

// pathOf returns the target without its query.
func pathOf(target []byte) []byte {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i]
	}
	return target
}

// cutSegments returns the length of the first n segments of a path, or -1 if it has fewer. Slashes at the end begin no segment, but an
// empty one in the middle counts: Linkerd takes what Java's split gives.
func cutSegments(path []byte, n int) int {
	path = bytes.TrimRight(path, "/")
	if len(path) > 0 && path[0] != '/' {
		return -1 // "*"
	}
	end := 0
	for range n {
		if end == len(path) {
			return -1
		}
		next := bytes.IndexByte(path[end+1:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += 1 + next
		}
	}
	return end
}

// segmentsOf makes one element of each segment. Escapes stay what they are: a name is made of the bytes that were sent.
func segmentsOf(path string) (dtab.Path, error) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if s == "" {
			return nil, fmt.Errorf("the path: segment %d is empty", i+1)
		}
	}
	return segments, nil
}

// partEnd separates the parts of a key that has more than one. No part holds it.
const partEnd = 0

// appendMethodAndHost appends version, method, host (lower case; empty for HTTP/1.0, whose names have none) and path.
func (id *identifier) appendMethodAndHost(dst []byte, req Request) (key []byte, consume int, ok bool) {
	host := req.Host()
	version := byte('1')
	switch {
	case req.Minor() == 0:
		version, host = '0', nil
	case len(host) == 0:
		return dst, 0, false
	}
	key = append(dst, version, partEnd)
	key = append(key, req.Method()...)
	key = append(key, partEnd)
	for _, c := range host {
		key = append(key, lower(c))
	}
	key = append(key, partEnd)
	if id.uri {
		key = append(key, pathOf(req.Target())...)
	}
	return key, 0, true
}

func (id *identifier) methodAndHost(key string) (dtab.Path, error) {
	parts := strings.SplitN(key, string(rune(partEnd)), 4)
	if len(parts) != 4 || parts[1] == "" {
		return nil, errors.New("the request has no method")
	}
	name := dtab.Path{"1." + parts[0], parts[1]}
	if parts[2] != "" {
		name = append(name, parts[2])
	}
	if !id.uri {
		return name, nil
	}
	path, err := parsePath("the path", parts[3])
	if err != nil {
		return nil, err
	}
	return append(name, path...), nil
}

// parsePath reads a path as a dtab has it. what says where it stood.
func parsePath(what, text string) (dtab.Path, error) {
	path, err := dtab.ParsePath(text)
	var e *dtab.Error
	if errors.As(err, &e) {
		return nil, fmt.Errorf("%s:%d:%d: %s", what, e.Line, e.Column, e.Detail())
	}
	return path, err
}
