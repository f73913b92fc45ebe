// Package v1alpha1 holds the Kinds of fairlead.dev/v1alpha1: Mesh, Dtab and MeshProxy.
//
// The schema is closed: a key that no Kind knows is refused by kubectl's strict validation and by the file reader alike. Keys,
// kind names and value forms inside the objects are those of Linkerd 1.7. Defaults are resolved in code (defaults.go), never
// written into the object.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=fairlead.dev
package v1alpha1
