package desired

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// servedPort is one port that routers listen on.
type servedPort struct {
	// name is the router's, with a number from the second server on.
	name   string
	number int32
}

// servedPorts returns the routers' ports that can be reached from outside of the Pod, each once, in the order of the Mesh.
func servedPorts(m *config.Mesh) []servedPort {
	var ports []servedPort
	for _, r := range m.Spec.Routers {
		n := 0
		for _, s := range r.Servers {
			if loopback(s.IP) || slices.ContainsFunc(ports, func(p servedPort) bool { return p.number == s.Port }) {
				continue
			}
			name := r.Name
			if n++; n > 1 {
				name = fmt.Sprintf("%s-%d", r.Name, n)
			}
			ports = append(ports, servedPort{name: name, number: s.Port})
		}
	}
	return ports
}

func loopback(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && addr.IsLoopback()
}

// HostPorts returns the ports that the proxies of a mesh take on each node. The spec must have its defaults.
func HostPorts(spec *v1alpha1.MeshSpec) []int32 {
	var ports []int32
	for _, p := range servedPorts(&config.Mesh{Spec: spec}) {
		ports = append(ports, p.number)
	}
	if spec.Proxy.HostNetwork {
		ports = append(ports, spec.Admin.Port)
	}
	return ports
}

// Disjoint reports whether two node selectors can never pick the same node.
func Disjoint(a, b map[string]string) bool {
	for key, value := range a {
		if other, ok := b[key]; ok && other != value {
			return true
		}
	}
	return false
}
