package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MeshProxy is what one proxy Pod says of itself. Only that Pod writes it; it is named like the Pod and goes with it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mp,categories=fairlead
// +kubebuilder:selectablefield:JSONPath=`.spec.meshRef.name`
// +kubebuilder:printcolumn:name="Mesh",type=string,JSONPath=`.spec.meshRef.name`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Generation",type=integer,JSONPath=`.status.meshGeneration`,description="Generation of the Mesh that is served"
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.dtabRevision`,description="Revision of the rules that are served"
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="Endpoints",type=string,JSONPath=`.status.totals.endpoints`
// +kubebuilder:printcolumn:name="Requests",type=integer,JSONPath=`.status.totals.requests`,description="Requests in the last 60 s"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.proxyVersion`,priority=1
// +kubebuilder:printcolumn:name="Refused",type=string,JSONPath=`.status.refused[*].message`,priority=1
type MeshProxy struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says whose proxy it is.
	// +required
	Spec MeshProxySpec `json:"spec"`

	// status is what the proxy serves.
	// +optional
	Status MeshProxyStatus `json:"status,omitzero"`
}

// MeshProxyList is a list of MeshProxies.
//
// +kubebuilder:object:root=true
type MeshProxyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MeshProxy `json:"items"`
}

// MeshProxySpec says whose proxy it is.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec is immutable"
type MeshProxySpec struct {
	// meshRef names the Mesh, in this namespace.
	// +required
	MeshRef MeshReference `json:"meshRef"`

	// meshUID is the UID of that Mesh.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	MeshUID string `json:"meshUID"`

	// nodeName is the node of the Pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName"`
}

// MeshProxyStatus is what a proxy serves.
type MeshProxyStatus struct {
	// proxyVersion is the version of the binary.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ProxyVersion string `json:"proxyVersion,omitempty"`

	// meshGeneration is the generation of the Mesh that is served.
	// +optional
	MeshGeneration int64 `json:"meshGeneration,omitempty"`

	// dtabRevision is the revision of the rules that are served.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	DtabRevision string `json:"dtabRevision,omitempty"`

	// since is when this generation and revision began to be served.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`

	// refused are the objects whose newest generation this proxy does not serve, at most 32.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Refused []RefusedObject `json:"refused,omitempty"`

	// dtabs are the destinations of the rules, at most 200.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=200
	Dtabs []ProxyDestination `json:"dtabs,omitempty"`

	// balancers are the worst, at most 20.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Balancers []ProxyBalancer `json:"balancers,omitempty"`

	// totals over everything this proxy does.
	// +optional
	Totals ProxyTotals `json:"totals,omitzero"`
}

// RefusedObject is an object whose newest generation is not served.
type RefusedObject struct {
	// kind is Mesh or Dtab.
	// +required
	// +kubebuilder:validation:MaxLength=16
	Kind string `json:"kind"`
	// namespace of the object.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// generation that was refused.
	// +optional
	Generation int64 `json:"generation"`
	// message says where and why.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// ProxyDestination is one leaf of one rule of a Dtab as one proxy sees it.
type ProxyDestination struct {
	// dtab is namespace/name.
	// +required
	// +kubebuilder:validation:MaxLength=320
	Dtab string `json:"dtab"`
	// dentry is the index of the rule.
	// +optional
	Dentry int32 `json:"dentry"`
	// dst is the leaf as written.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Dst string `json:"dst"`
	// endpoints known.
	// +optional
	Endpoints int32 `json:"endpoints"`
	// available endpoints.
	// +optional
	Available int32 `json:"available"`
	// requests in the last 60 s.
	// +optional
	Requests int64 `json:"requests"`
	// state is bound, partial (only the front of a name), neg, loop, pending or failed.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	State string `json:"state,omitempty"`
}

// ProxyBalancer is one bound name as one proxy sees it.
type ProxyBalancer struct {
	// client is the bound name.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Client string `json:"client"`
	// endpoints known.
	// +optional
	Endpoints int32 `json:"endpoints"`
	// available endpoints.
	// +optional
	Available int32 `json:"available"`
	// ejected endpoints are ready, but left alone since their requests fail.
	// +optional
	Ejected int32 `json:"ejected,omitempty"`
}

// ProxyTotals are sums over everything a proxy does.
type ProxyTotals struct {
	// balancers in use.
	// +optional
	Balancers int32 `json:"balancers"`
	// healthyBalancers have every endpoint available, and at least one.
	// +optional
	HealthyBalancers int32 `json:"healthyBalancers"`
	// endpoints is available/total.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Endpoints string `json:"endpoints,omitempty"`
	// requests in the last 60 s.
	// +optional
	Requests int64 `json:"requests"`
}
