package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Dtab is a list of routing rules for one router of a Mesh.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dt,categories=fairlead
// +kubebuilder:selectablefield:JSONPath=`.spec.meshRef.name`
// +kubebuilder:printcolumn:name="Mesh",type=string,JSONPath=`.spec.meshRef.name`
// +kubebuilder:printcolumn:name="Router",type=string,JSONPath=`.spec.router`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.summary.programmed`,description="Proxies that serve this generation / wanted"
// +kubebuilder:printcolumn:name="Endpoints",type=string,JSONPath=`.status.summary.endpoints`,description="Endpoints available / known, over the destinations of the rules"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Split",type=string,JSONPath=`.status.summary.split`,priority=1,description="Share of requests seen per destination, beside the share the rules ask for"
type Dtab struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec holds the rules.
	// +required
	Spec DtabSpec `json:"spec"`

	// status is what the operator knows of the rules.
	// +optional
	Status DtabStatus `json:"status,omitzero"`
}

// DtabList is a list of Dtabs.
//
// +kubebuilder:object:root=true
type DtabList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Dtab `json:"items"`
}

// DtabSpec holds the rules.
type DtabSpec struct {
	// meshRef names the Mesh whose traffic the rules route.
	// +required
	MeshRef MeshReference `json:"meshRef"`

	// router of that mesh.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Router string `json:"router"`

	// priority orders Dtabs: a higher one is applied later, so it wins. Ties are ordered by namespace and name. A Dtab of
	// another namespace than the mesh's counts as 0 at most. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority,omitempty"`

	// dentries are the rules, in order: a later one wins.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2000
	Dentries []Dentry `json:"dentries,omitempty"`
}

// MeshReference names a Mesh.
type MeshReference struct {
	// name of the Mesh.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name"`

	// namespace of the Mesh. Default: the Dtab's own.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// DtabStatus is what the operator knows of a Dtab.
type DtabStatus struct {
	// conditions: Accepted, ResolvedRefs, Programmed, Ready.
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

	// summary holds the printed columns.
	// +optional
	Summary DtabSummary `json:"summary,omitzero"`

	// destinations of the rules as the proxies see them, at most 50.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Destinations []DestinationStatus `json:"destinations,omitempty"`
}

// DtabSummary holds the printed columns of a Dtab.
type DtabSummary struct {
	// programmed is the number of proxies that serve this generation / wanted.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Programmed string `json:"programmed,omitempty"`
	// endpoints is available/total.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Endpoints string `json:"endpoints,omitempty"`
	// split is the observed share of each destination beside the intended one.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Split string `json:"split,omitempty"`
}

// DestinationStatus is one leaf of one rule.
type DestinationStatus struct {
	// dentry is the index of the rule in spec.dentries.
	// +optional
	Dentry int32 `json:"dentry"`
	// dst is the leaf as written.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Dst string `json:"dst"`
	// weight is the intended share in per mille of the rule's requests.
	// +optional
	Weight int32 `json:"weight"`
	// endpoints known: the maximum over proxies.
	// +optional
	Endpoints int32 `json:"endpoints"`
	// available endpoints: the minimum over proxies.
	// +optional
	Available int32 `json:"available"`
	// requests routed to this leaf in the last 60 s: the sum over proxies.
	// +optional
	Requests int64 `json:"requests"`
}
