package utility

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

// maxHostBytes bounds a host name.
const maxHostBytes = 255

// Inet is the namer of /$/inet/<host>/<port>[/residual] and /$/inet/<port>[/residual], the latter on the local host: a host by DNS or
// an IP literal. A host that does not exist is bound without endpoints, so it does not fall over to an alternate.
type Inet struct {
	// Name is the element after /$: inet, fixedinet, io.buoyant.rinet.
	Name string
	// Resolve returns the live addresses of a host.
	Resolve func(host string) naming.Live[[]netip.Addr]
	// PortFirst reads <port>/<host>, both of which must be there.
	PortFirst bool
}

// Lookup implements naming.Namer.
func (n *Inet) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	if !isText(p) {
		return naming.Fixed(naming.Neg())
	}
	whole := dtab.Path{"$", n.Name}.Append(p...)
	if n.PortFirst {
		return n.portFirst(whole, p)
	}
	host, port, used := "", "", 0
	switch {
	case len(p) == 0:
		return broken(whole, fmt.Errorf("expected /$/%s/<host>/<port>", n.Name))
	case len(p) == 1 || !isNumber(p[1]) && isNumber(p[0]):
		host, port, used = "localhost", p[0], 1
	default:
		host, port, used = p[0], p[1], 2
	}
	number, err := hostAndPort(host, port)
	if err != nil {
		return broken(whole, err)
	}
	return n.bound(whole[:2+used], p[used:], host, number)
}

// portFirst answers /$/io.buoyant.rinet/<port>/<host>. As in Linkerd every such name is bound; one that makes no address has no endpoints.
func (n *Inet) portFirst(whole, p dtab.Path) naming.Live[naming.Tree] {
	if len(p) < 2 {
		return naming.Fixed(naming.Neg())
	}
	number, err := hostAndPort(p[1], p[0])
	if err != nil {
		addrs := naming.NewVar[naming.Addrs]()
		addrs.Fail(fmt.Errorf("%s: %w", whole, err))
		return naming.Fixed(naming.BoundLeaf(&naming.Bound{ID: whole[:4], Residual: p[2:], Addrs: addrs}))
	}
	return n.bound(whole[:4], p[2:], p[1], number)
}

func (n *Inet) bound(id, residual dtab.Path, host string, port uint16) naming.Live[naming.Tree] {
	addrs := &addresses{hosts: n.Resolve(host), host: host, port: port}
	return &inetName{
		Var:   naming.Fixed(naming.BoundLeaf(&naming.Bound{ID: id, Residual: residual, Addrs: addrs})),
		hosts: addrs.hosts,
	}
}

func hostAndPort(host, port string) (uint16, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return 0, fmt.Errorf("expected a port number from 1 to 65535, found %q", port)
	}
	if host == "" || len(host) > maxHostBytes {
		return 0, fmt.Errorf("expected a host name of 1 to %d bytes", maxHostBytes)
	}
	return uint16(number), nil
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
	if state == naming.Ok && len(ips) == 0 {
		out.None = dns.Unresolved(a.host, nil)
	}
	return out, state, err
}

// Changed implements naming.Live.
func (a *addresses) Changed() <-chan struct{} { return a.hosts.Changed() }

// Close implements naming.Live; the name owns the hosts.
func (a *addresses) Close() {}
