package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MeshStatus is what the operator knows of a mesh.
type MeshStatus struct {
	// conditions: Accepted, Available, Programmed, Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation the last complete pass saw.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// acceptedGeneration is the generation that proxies should serve: the newest that was accepted.
	// +optional
	AcceptedGeneration int64 `json:"acceptedGeneration,omitempty"`

	// dtabRevision is the revision of the rules that proxies should serve.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	DtabRevision string `json:"dtabRevision,omitempty"`

	// summary holds the printed columns.
	// +optional
	Summary MeshSummary `json:"summary,omitzero"`

	// balancers are the worst, at most 20.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Balancers []BalancerSummary `json:"balancers,omitempty"`
}

// MeshSummary holds the printed columns of a Mesh.
type MeshSummary struct {
	// nodes is ready/wanted proxies.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Nodes string `json:"nodes,omitempty"`
	// programmed is the number of proxies that serve the newest rules / wanted.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Programmed string `json:"programmed,omitempty"`
	// balancers is healthy/total.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Balancers string `json:"balancers,omitempty"`
	// endpoints is available/total.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Endpoints string `json:"endpoints,omitempty"`
	// worst names the balancer that lost most and why.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Worst string `json:"worst,omitempty"`
}

// BalancerSummary is one bound name over all proxies.
type BalancerSummary struct {
	// client is the bound name.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Client string `json:"client"`
	// endpoints known: the maximum over proxies.
	// +optional
	Endpoints int32 `json:"endpoints"`
	// available endpoints: the minimum over proxies.
	// +optional
	Available int32 `json:"available"`
	// ejected endpoints are ready, but left alone by a proxy since their requests fail.
	// +optional
	Ejected int32 `json:"ejected,omitempty"`
}
