package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func parseAddr(ip string, port int32) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}

// checkAddresses refuses addresses that cannot be read, and two listeners that cannot both be bound: one address and port twice,
// or all addresses and a single one on the same port. The admin server comes first, so a clash names the router's server.
func checkAddresses(ps *problems, spec *v1alpha1.MeshSpec) {
	type listener struct {
		field string
		addr  netip.AddrPort
	}
	var all []listener
	add := func(field, ip string, port int32) {
		addr, err := parseAddr(ip, port)
		if err != nil {
			if len(ip) <= 45 { // else the rule of the schema says so
				ps.at(field+".ip", "expected an IP address, found %s", shown(ip))
			}
			return
		}
		if port < 1 || port > 65535 {
			return
		}
		for _, other := range all {
			if Clash(addr, other.addr) {
				ps.at(field+".port", "%s is already taken by %s (%s)", addr, other.field, other.addr)
				return
			}
		}
		all = append(all, listener{field, addr})
	}
	add("spec.admin", spec.Admin.IP, spec.Admin.Port)
	for i := range spec.Routers {
		for j, s := range spec.Routers[i].Servers {
			add(fmt.Sprintf("spec.routers[%d].servers[%d]", i, j), s.IP, s.Port)
		}
	}
}

// Clash reports whether two listeners exclude each other. All addresses of one family count as all of both, as they do on Linux
// where IPv6 sockets take IPv4 connections too.
func Clash(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}
