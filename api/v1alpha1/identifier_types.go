package v1alpha1

// Identifier turns a request into a logical name. kind decides which of the other keys may be set.
type Identifier struct {
	// kind is io.l5d.header.token, io.l5d.header, io.l5d.path, io.l5d.methodAndHost or io.l5d.static.
	// +required
	// +kubebuilder:validation:Enum=io.l5d.header.token;io.l5d.header;io.l5d.path;io.l5d.methodAndHost;io.l5d.static
	Kind string `json:"kind"`

	// header (io.l5d.header.token, io.l5d.header) whose value is the name, as one element or as a path. Default: Host for
	// io.l5d.header.token, l5d-name for io.l5d.header.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Header string `json:"header,omitempty"`

	// normalize (io.l5d.header.token): KubernetesHost lower-cases the value and strips the port, the cluster suffix and the
	// namespace default, so that a Service has one name. Default: None; KubernetesHost in the default Mesh.
	// +optional
	// +kubebuilder:validation:Enum=None;KubernetesHost
	Normalize string `json:"normalize,omitempty"`

	// segments (io.l5d.path) is how many segments of the request's path are the name. Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Segments int32 `json:"segments,omitempty"`

	// consume (io.l5d.path) removes these segments from the request's path.
	// +optional
	Consume bool `json:"consume,omitempty"`

	// httpUriInDst (io.l5d.methodAndHost) appends the request's path to the name.
	// +optional
	HTTPURIInDst bool `json:"httpUriInDst,omitempty"`

	// path (io.l5d.static) is the name of every request, behind dstPrefix.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`
}
