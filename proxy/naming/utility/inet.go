package utility

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

// Inet is the namer of /$/inet/<host>/<port>[/residual] and /$/inet/<port>[/residual], the latter on the local host: a host by DNS or an IP literal. A host that does not
// exist is bound without endpoints, so it does not fall over to an alternate.
type Inet struct {
	Resolver *dns.Resolver
}

// Lookup implements naming.Namer.
func (n *Inet) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	whole := dtab.Path{"$", "inet"}.Append(p...)
	host, port, used := "", "", 0
	switch {
	case len(p) == 0:
		return broken(whole, fmt.Errorf("expected /$/inet/<host>/<port>"))
	case len(p) == 1 || !isNumber(p[1]) && isNumber(p[0]):
		host, port, used = "localhost", p[0], 1
	default:
		host, port, used = p[0], p[1], 2
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return broken(whole, fmt.Errorf("expected a port number from 1 to 65535, found %q", port))
	}
	if host == "" || len(host) > 255 {
		return broken(whole, fmt.Errorf("expected a host name of 1 to 255 bytes"))
	}
	addrs := &addresses{hosts: n.Resolver.Resolve(host), host: host, port: uint16(number)}
	return &inetName{
		Var:   naming.Fixed(naming.BoundLeaf(&naming.Bound{ID: whole[:2+used], Residual: p[used:], Addrs: addrs})),
		hosts: addrs.hosts,
	}
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// inetName is the live tree of one name; closing it closes the addresses below it.
type inetName struct {
	*naming.Var[naming.Tree]
	hosts naming.Live[[]netip.Addr]
}

// Close implements naming.Live.
func (n *inetName) Close() { n.hosts.Close() }

// addresses shows the addresses of a host as endpoints at one port.
type addresses struct {
	hosts naming.Live[[]netip.Addr]
	host  string
	port  uint16
}

// Load implements naming.Live.
func (a *addresses) Load() (naming.Addrs, naming.State, error) {
	ips, state, err := a.hosts.Load()
	out := naming.Addrs{Endpoints: make([]naming.Endpoint, len(ips))}
	for i, ip := range ips {
		out.Endpoints[i] = naming.Endpoint{Addr: netip.AddrPortFrom(ip, a.port), Host: a.host, Weight: 1, Serving: true}
	}
	return out, state, err
}

// Changed implements naming.Live.
func (a *addresses) Changed() <-chan struct{} { return a.hosts.Changed() }

// Close implements naming.Live; the name owns the hosts.
func (a *addresses) Close() {}
