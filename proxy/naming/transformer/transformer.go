// Package transformer makes the transformers of Linkerd (linkerd1.md section 5.2): each changes what names are bound to, and puts
// /%/<kind>/<params> before the bound name.
package transformer

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Kinds of transformers.
const (
	KindLocalhost    = "io.l5d.localhost"
	KindSpecificHost = "io.l5d.specificHost"
	KindPort         = "io.l5d.port"
	KindConst        = "io.l5d.const"
	KindReplace      = "io.l5d.replace"
	KindDaemonSet    = "io.l5d.k8s.daemonset"
	KindLocalNode    = "io.l5d.k8s.localnode"
)

func prefix(kind string, params ...string) dtab.Path {
	return dtab.Path{"%", kind}.Append(params...)
}

// Narrows reports whether a bound name went through a transformer that keeps a part of the endpoints: its set tells nothing of the
// service as a whole.
func Narrows(id dtab.Path) bool {
	for _, kind := range id.Transformers() {
		switch kind {
		case KindLocalhost, KindSpecificHost, KindLocalNode:
			return true
		}
	}
	return false
}

// Invents reports whether a bound name went through a transformer that makes addresses which nobody discovered.
func Invents(id dtab.Path) bool {
	for _, kind := range id.Transformers() {
		switch kind {
		case KindLocalhost, KindSpecificHost, KindLocalNode, KindDaemonSet, KindConst, KindReplace:
			// They keep addresses, or lead to a name that is judged by its own namer.
		default:
			return true
		}
	}
	return false
}

// Localhost keeps the endpoints whose address is one of an interface of this host. The interfaces are looked at after each change of
// the endpoints; while they cannot be read there are none.
func Localhost() *naming.Transformer {
	return &naming.Transformer{Prefix: prefix(KindLocalhost), Change: func(all []naming.Endpoint) []naming.Endpoint {
		own := addresses()
		return keep(all, func(e *naming.Endpoint) bool { return own[e.Addr.Addr()] })
	}}
}

func addresses() map[netip.Addr]bool {
	own := make(map[netip.Addr]bool)
	interfaces, err := net.Interfaces()
	if err != nil {
		return own
	}
	for _, i := range interfaces {
		found, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range found {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				own[p.Addr().Unmap().WithZone("")] = true
			}
		}
	}
	return own
}

// SpecificHost keeps the endpoints of one address.
func SpecificHost(host netip.Addr) *naming.Transformer {
	host = host.Unmap()
	return &naming.Transformer{Prefix: prefix(KindSpecificHost), Change: func(all []naming.Endpoint) []naming.Endpoint {
		return keep(all, func(e *naming.Endpoint) bool { return e.Addr.Addr() == host })
	}}
}

// Port replaces the port of every endpoint. Of endpoints that become the same the first is kept.
func Port(port uint16) *naming.Transformer {
	p := prefix(KindPort, strconv.Itoa(int(port)))
	return &naming.Transformer{Prefix: p, Change: func(all []naming.Endpoint) []naming.Endpoint {
		out := make([]naming.Endpoint, 0, len(all))
		seen := make(map[netip.Addr]bool, len(all))
		for _, e := range all {
			if a := e.Addr.Addr(); !seen[a] {
				seen[a] = true
				e.Addr = netip.AddrPortFrom(a, port)
				out = append(out, e)
			}
		}
		return out
	}}
}

// Const leads every name to path.
func Const(path dtab.Path) *naming.Transformer {
	return &naming.Transformer{Prefix: prefix(KindConst), Path: path, Always: true}
}

// Replace leads every name that is bound to path.
func Replace(path dtab.Path) *naming.Transformer {
	return &naming.Transformer{Prefix: prefix(KindReplace), Path: path}
}

// LocalNode keeps the endpoints on a node. With fallback it keeps all where none on the node serves.
func LocalNode(node string, fallback bool) *naming.Transformer {
	return &naming.Transformer{Prefix: prefix(KindLocalNode, node), Change: func(all []naming.Endpoint) []naming.Endpoint {
		local := keep(all, func(e *naming.Endpoint) bool { return e.Node == node })
		if !fallback {
			return local
		}
		for i := range local {
			if local[i].Serving {
				return local
			}
		}
		return all
	}}
}

func keep(all []naming.Endpoint, wanted func(*naming.Endpoint) bool) []naming.Endpoint {
	var out []naming.Endpoint
	for i := range all {
		if wanted(&all[i]) {
			out = append(out, all[i])
		}
	}
	return out
}
