package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Mesh is one set of node proxies and the rules they start from.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mesh,categories=fairlead
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Nodes",type=string,JSONPath=`.status.summary.nodes`,description="Proxies ready / wanted"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.summary.programmed`,description="Proxies that serve the newest rules / wanted"
// +kubebuilder:printcolumn:name="Balancers",type=string,JSONPath=`.status.summary.balancers`,description="Balancers with all endpoints available / all"
// +kubebuilder:printcolumn:name="Endpoints",type=string,JSONPath=`.status.summary.endpoints`,description="Endpoints available / known"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Worst",type=string,JSONPath=`.status.summary.worst`,priority=1,description="The balancer that lost most"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS label of at most 40 characters: the names of its children are made from it"
type Mesh struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the mesh should be. An empty spec works: see docs/spec/mesh.md for the defaults.
	// +optional
	Spec MeshSpec `json:"spec,omitzero"`

	// status is what the operator knows of the mesh.
	// +optional
	Status MeshStatus `json:"status,omitzero"`
}

// MeshList is a list of Meshes.
//
// +kubebuilder:object:root=true
type MeshList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Mesh `json:"items"`
}

// MeshSpec is what a mesh should be.
//
// +kubebuilder:validation:XValidation:rule="!has(self.identity)",message="identity is not supported yet"
type MeshSpec struct {
	// proxy says how the proxy Pods run.
	// +optional
	Proxy ProxySpec `json:"proxy,omitzero"`

	// admin is the admin server of each proxy.
	// +optional
	Admin AdminSpec `json:"admin,omitzero"`

	// namers resolve names below /#/. A later one with a matching prefix is asked first. Default: io.l5d.k8s, and a rewrite
	// /nsSvc that maps <namespace>/<service> to the port named http.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Namers []Namer `json:"namers,omitempty"`

	// routers listen, name, and route requests. Default: outgoing on port 4140, which goes by way of the proxy on the endpoint's
	// node, and incoming on port 4141, which takes such requests.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Routers []Router `json:"routers,omitempty"`

	// telemetry lists the telemeters. Prometheus is always served on the admin port.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Telemetry []Telemeter `json:"telemetry,omitempty"`

	// dtabs says whose Dtab objects may change this mesh.
	// +optional
	Dtabs DtabPolicy `json:"dtabs,omitzero"`

	// identity is reserved for TLS between nodes.
	// +optional
	Identity *Reserved `json:"identity,omitempty"`
}

// Reserved is the place of a setting that this version refuses.
//
// +kubebuilder:pruning:PreserveUnknownFields
type Reserved struct{}

// ProxyMode says how proxies are deployed.
//
// +kubebuilder:validation:Enum=DaemonSet;Sidecar
type ProxyMode string

const (
	// ProxyModeDaemonSet runs one proxy per node.
	ProxyModeDaemonSet ProxyMode = "DaemonSet"
	// ProxyModeSidecar is reserved.
	ProxyModeSidecar ProxyMode = "Sidecar"
)

// ProxySpec says how the proxy Pods run. A change here (but for logLevel and maxUnavailable), of the routers' ports or of the admin
// port restarts proxies; no other change does.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode == 'DaemonSet'",message="mode Sidecar is not supported yet; DaemonSet is"
type ProxySpec struct {
	// mode is DaemonSet.
	// +optional
	Mode ProxyMode `json:"mode,omitempty"`

	// image of the proxy. Default: the operator's own.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// imagePullPolicy of the proxy container. Default: IfNotPresent.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// resources of the proxy container. Default: requests of 100m CPU and 64Mi of memory, limit of 512Mi of memory.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// nodeSelector limits the nodes that get a proxy.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// tolerations of the proxy Pods. Default: every taint is tolerated.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// priorityClassName of the proxy Pods. Default: system-node-critical.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// hostNetwork runs the proxies in the node's network namespace in place of hostPorts.
	// +optional
	HostNetwork bool `json:"hostNetwork,omitempty"`

	// maxUnavailable is how many proxies may be down during an update: a number or a percentage. Default: 1.
	// +optional
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:Pattern=`^([1-9][0-9]*|[1-9][0-9]?%|100%)$`
	MaxUnavailable string `json:"maxUnavailable,omitempty"`

	// terminationGracePeriodSeconds is how long a proxy may drain. Default: 30.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds int32 `json:"terminationGracePeriodSeconds,omitempty"`

	// logLevel is info or debug. Default: info.
	// +optional
	// +kubebuilder:validation:Enum=info;debug
	LogLevel string `json:"logLevel,omitempty"`

	// labels are added to the proxy Pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]string `json:"labels,omitempty"`

	// annotations are added to the proxy Pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AdminSpec is the admin server of each proxy.
type AdminSpec struct {
	// ip to listen on. Default: all addresses in a cluster (the Pod's), 127.0.0.1 standalone.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	IP string `json:"ip,omitempty"`

	// port to listen on. Default: 9990.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
}

// Namer resolves names below /#/<prefix>. kind decides which of the other keys may be set.
type Namer struct {
	// kind is io.l5d.k8s, io.l5d.k8s.external, io.l5d.k8s.ns, io.l5d.fs, io.l5d.dnssrv or io.l5d.rewrite.
	// +required
	// +kubebuilder:validation:Enum=io.l5d.k8s;io.l5d.k8s.external;io.l5d.k8s.ns;io.l5d.fs;io.l5d.dnssrv;io.l5d.rewrite
	Kind string `json:"kind"`

	// prefix below /#, with a leading slash. Default: / and the kind.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Prefix string `json:"prefix,omitempty"`

	// labelSelector (io.l5d.k8s, io.l5d.k8s.ns) is the key of a label: names have its value as one more element, and lead only to
	// EndpointSlices that carry it.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	LabelSelector string `json:"labelSelector,omitempty"`

	// envVar (io.l5d.k8s.ns) is the environment variable of the proxy that holds the namespace. Default: POD_NAMESPACE.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	EnvVar string `json:"envVar,omitempty"`

	// refreshIntervalSeconds (io.l5d.dnssrv) is how often a name is asked for at most; a longer TTL is obeyed. Default: 5.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	RefreshIntervalSeconds int32 `json:"refreshIntervalSeconds,omitempty"`

	// dnsHosts (io.l5d.dnssrv) are name servers, as host or host:port, asked in their order. Default: those of the system.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=261
	DNSHosts []string `json:"dnsHosts,omitempty"`

	// rootDir (io.l5d.fs) is the folder with one file per name.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	RootDir string `json:"rootDir,omitempty"`

	// pattern (io.l5d.rewrite) is a path with {var} elements that the name must begin with.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Pattern string `json:"pattern,omitempty"`

	// name (io.l5d.rewrite) is the path that takes the place of the pattern.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Name string `json:"name,omitempty"`

	// exact (io.l5d.rewrite) makes a path Neg that is longer than the pattern, in place of cutting it, and lets nothing stand around
	// an element that holds variables.
	// +optional
	Exact bool `json:"exact,omitempty"`

	// transformers change, in order, what the namer's names are bound to.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Transformers []Transformer `json:"transformers,omitempty"`
}

// Router is one protocol, its listeners, its identifiers and its rules.
type Router struct {
	// name of the router: its label in metrics and what a Dtab's spec.router names.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// protocol is http. Default: http.
	// +optional
	// +kubebuilder:validation:Enum=http
	Protocol string `json:"protocol,omitempty"`

	// servers are the listeners.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Servers []Server `json:"servers"`

	// dstPrefix is the first part of every name the identifiers make. Default: /svc.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	DstPrefix string `json:"dstPrefix,omitempty"`

	// identifiers name a request; the first that can does. Default: io.l5d.header.token on Host.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Identifiers []Identifier `json:"identifiers,omitempty"`

	// interpreter binds names. Only kind default.
	// +optional
	Interpreter Interpreter `json:"interpreter,omitzero"`

	// maxCallDepth is how many proxies (items of Via) a request may have passed. Default: 1000; 16 in the default Mesh.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxCallDepth int32 `json:"maxCallDepth,omitempty"`

	// bindingTimeoutMs is how long a request waits for its name to be bound. Default: 10000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600000
	BindingTimeoutMs int32 `json:"bindingTimeoutMs,omitempty"`

	// deadlines says what becomes of l5d-ctx-deadline: Enforce ends a request when its time has come, Forward only tells the endpoint,
	// as Linkerd does. Default: Enforce.
	// +optional
	// +kubebuilder:validation:Enum=Enforce;Forward
	Deadlines string `json:"deadlines,omitempty"`

	// failover says when the next alternate of a dtab is taken: Neg, as in Linkerd, where the one before does not exist; Unhealthy also where
	// it has had no live endpoint for failoverAfterMs. Default: Neg.
	// +optional
	// +kubebuilder:validation:Enum=Neg;Unhealthy
	Failover string `json:"failover,omitempty"`

	// failoverAfterMs, with failover: Unhealthy, is for how long a name has no live endpoint until its alternate is taken. Default: 5000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	FailoverAfterMs int32 `json:"failoverAfterMs,omitempty"`

	// failbackAfterMs, with failover: Unhealthy, is for how long it has one again, and no request that tried it failed, until it is taken
	// again. Default: 10000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	FailbackAfterMs int32 `json:"failbackAfterMs,omitempty"`

	// maxHeadersKB bounds the headers of a request or response. Default: 8.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	MaxHeadersKB int32 `json:"maxHeadersKB,omitempty"`

	// maxInitialLineKB bounds the request line. Default: 4.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	MaxInitialLineKB int32 `json:"maxInitialLineKB,omitempty"`

	// maxConcurrentRequests is how many requests may be under way on all servers of the router together: each one beyond is answered as
	// one beyond that of its server. Default: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxConcurrentRequests int32 `json:"maxConcurrentRequests,omitempty"`

	// allowAddressOverrides lets the rules that a request brings in l5d-dtab and l5d-ctx-dtab lead to any address (/$/inet and its
	// kind): whoever reaches a listener of this router then has it call whom they like.
	// +optional
	AllowAddressOverrides bool `json:"allowAddressOverrides,omitempty"`

	// dtab holds the base rules. Dtab objects come after them, so they win.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2000
	Dtab []Dentry `json:"dtab,omitempty"`

	// services configures logical names by prefix. All matches merge, later wins.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Services []Service `json:"services,omitempty"`

	// clients configures bound names by prefix. All matches merge, later wins.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=500
	Clients []Client `json:"clients,omitempty"`
}

// Interpreter binds names.
type Interpreter struct {
	// kind is default: the router's dtab over the Mesh's namers.
	// +optional
	// +kubebuilder:validation:Enum=default
	Kind string `json:"kind,omitempty"`

	// transformers change, in order, what names are bound to, after those of the namer.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Transformers []Transformer `json:"transformers,omitempty"`
}

// Dentry is one rule of a dtab.
type Dentry struct {
	// prefix of the names the rule rewrites; * stands for any one element.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Prefix string `json:"prefix"`

	// dst is the name tree that takes the place of the prefix.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Dst string `json:"dst"`
}

// Telemeter exports metrics.
type Telemeter struct {
	// kind is io.l5d.prometheus.
	// +required
	// +kubebuilder:validation:Enum=io.l5d.prometheus
	Kind string `json:"kind"`
}

// DtabPolicy says whose Dtab objects may change a mesh.
//
// +kubebuilder:validation:XValidation:rule="!has(self.namespaces) || size(self.namespaces) == 0 || (has(self.from) && self.from == 'List')",message="namespaces needs from: List"
type DtabPolicy struct {
	// from is Same (the mesh's own namespace) or List (also the listed ones). Default: Same.
	// +optional
	// +kubebuilder:validation:Enum=Same;List
	From string `json:"from,omitempty"`

	// namespaces that may change the mesh, with from: List.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Namespaces []DtabNamespace `json:"namespaces,omitempty"`
}

// DtabNamespace is a namespace whose Dtabs may change a mesh.
type DtabNamespace struct {
	// name of the namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// prefixes below which every rule of that namespace must lie.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	Prefixes []string `json:"prefixes"`
}
