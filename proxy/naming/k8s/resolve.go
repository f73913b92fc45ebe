package k8s

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

// external returns the addresses of a Service's load balancer at a port, and whether there are any.
func (t *table) external(svc name, port string) ([]dns.Target, bool) {
	service := t.services[svc]
	if service == nil {
		return nil, false
	}
	for _, p := range service.Ports {
		if p.Name != port && strconv.Itoa(int(p.Port)) != port || port == "" {
			continue
		}
		out := make([]dns.Target, len(service.External))
		for i, host := range service.External {
			out[i] = dns.Target{Host: host, Port: p.Port, Weight: 1}
		}
		return out, len(out) > 0
	}
	return nil, false
}

// resolve returns the endpoints of a port, sorted by address, and whether the port exists. A port exists when the Service does
// and one of its slices has the port: a Service scaled to zero has none, so it is Neg and an alternate takes over, as in
// Linkerd. port is the name of a port, or the number of a port of the Service. Where v has a label, only slices that carry it with the
// value count; those of a Service carry the labels of the Service.
func (t *table) resolve(svc name, v view) ([]naming.Endpoint, bool) {
	service := t.services[svc]
	if service == nil {
		return nil, false
	}
	port, ok := service.portName(v.port)
	if !ok {
		return nil, false
	}
	exists := false
	found := map[netip.AddrPort]Address{}
	for _, s := range t.byService[svc] {
		if value, has := s.Labels[v.label]; v.label != "" && (!has || !strings.EqualFold(value, v.value)) {
			continue // names are small, as in Linkerd; values may not be
		}
		for _, p := range s.Ports {
			if p.Name != port {
				continue
			}
			exists = true
			for _, a := range s.Addresses {
				merge(found, netip.AddrPortFrom(a.IP, p.Port), a)
			}
		}
	}
	return usable(oneFamily(found)), exists
}

// portName translates the number of a Service's port to its name, which is also its name in the slices. A name has a letter, so
// the two cannot be confused.
func (s *Service) portName(port string) (string, bool) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return port, port != ""
	}
	for _, p := range s.Ports {
		if p.Port == uint16(n) {
			return p.Name, true
		}
	}
	return "", false
}

// merge keeps one entry per address. While an endpoint moves between slices it stands in both; the better one counts, and of
// equals one that does not depend on the order of slices.
func merge(found map[netip.AddrPort]Address, at netip.AddrPort, a Address) {
	old, dup := found[at]
	if !dup || compare(a, old) > 0 {
		found[at] = a
	}
}

func compare(a, b Address) int {
	return cmp.Or(compareBool(a.Ready, b.Ready), compareBool(a.lastResort(), b.lastResort()),
		compareBool(b.Terminating, a.Terminating), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Zone, b.Zone))
}

// lastResort reports whether the endpoint may be used when none is ready.
func (a Address) lastResort() bool { return a.Serving && a.Terminating }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// oneFamily drops IPv6 where there is IPv4: the slices of a dual stack Service name each Pod once per family.
func oneFamily(found map[netip.AddrPort]Address) map[netip.AddrPort]Address {
	v4 := false
	for at := range found {
		v4 = v4 || at.Addr().Is4()
	}
	if v4 {
		for at := range found {
			if !at.Addr().Is4() {
				delete(found, at)
			}
		}
	}
	return found
}

// usable decides who gets new requests: the ready, or if none is ready, those that still serve while they terminate (as
// kube-proxy does). The others are known and counted, and get none.
func usable(found map[netip.AddrPort]Address) []naming.Endpoint {
	if len(found) == 0 {
		return nil
	}
	anyReady := false
	for _, a := range found {
		anyReady = anyReady || a.Ready
	}
	out := make([]naming.Endpoint, 0, len(found))
	for at, a := range found {
		out = append(out, naming.Endpoint{
			Addr: at, Node: a.Node, Zone: a.Zone, Weight: 1,
			Serving:     a.Ready || !anyReady && a.lastResort(),
			Terminating: a.Terminating,
		})
	}
	slices.SortFunc(out, func(x, y naming.Endpoint) int { return x.Addr.Compare(y.Addr) })
	return out
}
