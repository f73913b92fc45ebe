package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// Transformer changes what names are bound to. kind decides which of the other keys may be set.
type Transformer struct {
	// kind is io.l5d.localhost, io.l5d.specificHost, io.l5d.port, io.l5d.const, io.l5d.replace, io.l5d.k8s.daemonset or
	// io.l5d.k8s.localnode.
	// +required
	// +kubebuilder:validation:Enum=io.l5d.localhost;io.l5d.specificHost;io.l5d.port;io.l5d.const;io.l5d.replace;io.l5d.k8s.daemonset;io.l5d.k8s.localnode
	Kind string `json:"kind"`

	// host (io.l5d.specificHost) is the IP address of the endpoints that are kept.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	Host string `json:"host,omitempty"`

	// port: for io.l5d.port the number that every endpoint gets; for io.l5d.k8s.daemonset the name or number of a port of the
	// Service, by default incoming.
	// +optional
	// +kubebuilder:validation:XIntOrString
	Port *intstr.IntOrString `json:"port,omitempty"`

	// path (io.l5d.const, io.l5d.replace) is the name that takes the place of what was bound: /$/... or /#/...
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// namespace (io.l5d.k8s.daemonset) of the Service. Default: that of the Mesh.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// service (io.l5d.k8s.daemonset) whose ready Pod on an endpoint's node is the way to the endpoint. Default: that of the Mesh's
	// own proxies.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Service string `json:"service,omitempty"`

	// hostNetwork (io.l5d.k8s.daemonset, io.l5d.k8s.localnode) is accepted and has no effect: nodes are told by their names.
	// +optional
	HostNetwork bool `json:"hostNetwork,omitempty"`

	// fallback (io.l5d.k8s.localnode) keeps all endpoints where none on this node serves.
	// +optional
	Fallback bool `json:"fallback,omitempty"`
}

// ResolveTransformers sets the values of transformers that depend on the Mesh they belong to. WithDefaults came before.
func (s *MeshSpec) ResolveTransformers(namespace, mesh string) {
	resolve := func(list []Transformer) {
		for i := range list {
			t := &list[i]
			if t.Kind != KindTransformerDaemonSet {
				continue
			}
			setDefault(&t.Namespace, namespace)
			setDefault(&t.Service, ProxyName(mesh))
			if t.Port == nil {
				port := intstr.FromString(RouterIncoming)
				t.Port = &port
			}
		}
	}
	for i := range s.Namers {
		resolve(s.Namers[i].Transformers)
	}
	for i := range s.Routers {
		resolve(s.Routers[i].Interpreter.Transformers)
	}
}
