package k8s

import (
	"net/netip"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead/fairlead/proxy/telemetry"
)

// Service is what is kept of a Service: its TCP ports, and where its load balancer is.
type Service struct {
	Namespace string        `json:"ns"`
	Name      string        `json:"name"`
	Ports     []ServicePort `json:"ports,omitempty"`
	// External are IP addresses or host names of the load balancer.
	External []string `json:"external,omitempty"`
}

// ServicePort is one TCP port. Name is also the name of the port in the EndpointSlices, and may be empty.
type ServicePort struct {
	Name string `json:"name,omitempty"`
	Port uint16 `json:"port"`
}

// Slice is what is kept of an EndpointSlice.
type Slice struct {
	Namespace string      `json:"ns"`
	Name      string      `json:"name"`
	Service   string      `json:"svc"`
	Ports     []SlicePort `json:"ports,omitempty"`
	Addresses []Address   `json:"addrs,omitempty"`
	// Labels are those that a namer selects by.
	Labels map[string]string `json:"labels,omitempty"`
}

// SlicePort is one TCP port of the endpoints of a slice.
type SlicePort struct {
	Name string `json:"name,omitempty"`
	Port uint16 `json:"port"`
}

// Address is one endpoint of a slice.
type Address struct {
	IP          netip.Addr `json:"ip"`
	Node        string     `json:"node,omitempty"`
	Zone        string     `json:"zone,omitempty"`
	Ready       bool       `json:"ready,omitempty"`
	Serving     bool       `json:"serving,omitempty"`
	Terminating bool       `json:"terminating,omitempty"`
}

// name is namespace and name of an object.
type name struct{ namespace, name string }

func (s *Service) key() name   { return name{s.Namespace, s.Name} }
func (s *Slice) key() name     { return name{s.Namespace, s.Name} }
func (s *Slice) service() name { return name{s.Namespace, s.Service} }

// oddities count what is legal in the API and of no use here.
type oddities struct {
	labels                                                    *labels
	fqdn, noService, allPorts, badAddress, badPort, overLimit *telemetry.Counter
}

func newOddities(scope telemetry.Scope) oddities {
	c := scope.Scope("ignored").Counter
	return oddities{
		fqdn: c("fqdn_slices"), noService: c("slices_without_service"), allPorts: c("all_ports"),
		badAddress: c("bad_addresses"), badPort: c("bad_ports"), overLimit: c("over_limit"),
	}
}

// intern makes equal strings share their bytes: thousands of endpoints name a handful of nodes.
func intern(s string) string { return unique.Make(s).Value() }

func portNumber(n int32) (uint16, bool) { return uint16(n), n > 0 && n <= 65535 }

// service keeps what is needed of svc. An ExternalName has no endpoints, so it counts as a Service without ports.
func (o *oddities) service(svc *corev1.Service) *Service {
	out := &Service{Namespace: intern(svc.Namespace), Name: intern(svc.Name)}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return out
	}
	for _, p := range svc.Spec.Ports {
		if p.Protocol != corev1.ProtocolTCP && p.Protocol != "" {
			continue
		}
		n, ok := portNumber(p.Port)
		if !ok {
			o.badPort.Incr(0)
			continue
		}
		out.Ports = append(out.Ports, ServicePort{Name: intern(p.Name), Port: n})
	}
	for _, at := range svc.Status.LoadBalancer.Ingress[:min(len(svc.Status.LoadBalancer.Ingress), maxIngress)] {
		o.ingress(out, at)
	}
	return out
}

// maxIngress bounds the addresses kept of one load balancer.
const maxIngress = 100

// ingress keeps an address of a load balancer: the IP address, or else the host name.
func (o *oddities) ingress(out *Service, at corev1.LoadBalancerIngress) {
	switch ip, err := netip.ParseAddr(at.IP); {
	case at.IP != "" && (err != nil || ip.IsUnspecified() || ip.IsMulticast()):
		o.badAddress.Incr(0)
	case at.IP != "":
		out.External = append(out.External, ip.Unmap().WithZone("").String())
	case at.Hostname != "" && len(at.Hostname) <= maxHostBytes:
		out.External = append(out.External, at.Hostname)
	}
}

// maxHostBytes bounds a host name.
const maxHostBytes = 255

// slice keeps what is needed of es, or returns nil when it is of no use: names in place of addresses, or of no Service.
func (o *oddities) slice(es *discoveryv1.EndpointSlice) *Slice {
	service := es.Labels[discoveryv1.LabelServiceName]
	if service == "" {
		o.noService.Incr(0)
		return nil
	}
	if es.AddressType != discoveryv1.AddressTypeIPv4 && es.AddressType != discoveryv1.AddressTypeIPv6 {
		o.fqdn.Incr(0)
		return nil
	}
	out := &Slice{Namespace: intern(es.Namespace), Name: es.Name, Service: intern(service), Labels: o.labels.of(es.Labels)}
	for _, p := range es.Ports {
		o.slicePort(out, p)
	}
	if len(es.Endpoints) > 0 {
		out.Addresses = make([]Address, 0, len(es.Endpoints))
	}
	for i := range es.Endpoints {
		o.address(out, &es.Endpoints[i])
	}
	return out
}

func (o *oddities) slicePort(out *Slice, p discoveryv1.EndpointPort) {
	if p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP && *p.Protocol != "" {
		return
	}
	if p.Port == nil {
		// No number means all ports, which says nothing about where to connect.
		o.allPorts.Incr(0)
		return
	}
	n, ok := portNumber(*p.Port)
	if !ok {
		o.badPort.Incr(0)
		return
	}
	out.Ports = append(out.Ports, SlicePort{Name: intern(value(p.Name)), Port: n})
}

// address keeps the first address of an endpoint: the API gives no meaning to further ones. Conditions that are not known are
// read as the API says: ready is true, serving is what ready is.
func (o *oddities) address(out *Slice, e *discoveryv1.Endpoint) {
	if len(e.Addresses) == 0 {
		o.badAddress.Incr(0)
		return
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || ip.IsUnspecified() || ip.IsMulticast() {
		o.badAddress.Incr(0)
		return
	}
	ready := e.Conditions.Ready == nil || *e.Conditions.Ready
	serving := ready
	if e.Conditions.Serving != nil {
		serving = *e.Conditions.Serving
	}
	out.Addresses = append(out.Addresses, Address{
		IP: ip.Unmap().WithZone(""), Node: intern(value(e.NodeName)), Zone: intern(value(e.Zone)),
		Ready: ready, Serving: serving, Terminating: value(e.Conditions.Terminating),
	})
}

// value is *p, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
