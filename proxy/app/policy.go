package app

import (
	"fmt"
	"net"
	"net/netip"
)

// ClusterPolicy returns the rule for addresses that no discovery told of: a proxy in a cluster is no way into its own node. own
// are further addresses of the node and the Pod, beside those of the interfaces.
func ClusterPolicy(own ...netip.Addr) (func(netip.AddrPort) error, error) {
	refused := make(map[netip.Addr]bool)
	for _, a := range own {
		refused[a.Unmap()] = true
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of this host: %w", err)
	}
	for _, i := range interfaces {
		if prefix, err := netip.ParsePrefix(i.String()); err == nil {
			refused[prefix.Addr().Unmap()] = true
		}
	}
	return func(to netip.AddrPort) error {
		// The check is on the address that is dialled, so no spelling of it and no answer of a name server gets around it.
		a := to.Addr().Unmap().WithZone("")
		switch {
		case a.IsLoopback(), a.IsUnspecified():
			return fmt.Errorf("%s is a loopback address", to)
		case a.IsLinkLocalUnicast(), a.IsMulticast():
			return fmt.Errorf("%s is a link-local or multicast address", to)
		case refused[a]:
			return fmt.Errorf("%s is an address of this node", to)
		}
		return nil
	}, nil
}
