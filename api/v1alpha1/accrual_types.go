package v1alpha1

// FailureAccrual says when an endpoint whose requests fail is left alone. Which keys count depends on kind.
type FailureAccrual struct {
	// kind is what counts: io.l5d.consecutiveFailures failures in a row; io.l5d.successRate the share of requests that succeed, over a number
	// of requests; io.l5d.successRateWindowed the same over a time; none nothing.
	// +required
	// +kubebuilder:validation:Enum=io.l5d.consecutiveFailures;io.l5d.successRate;io.l5d.successRateWindowed;none
	Kind string `json:"kind"`

	// failures in a row. Required for kind io.l5d.consecutiveFailures.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Failures int32 `json:"failures,omitempty"`

	// successRate is the share of requests, from 0 to 1, below which an endpoint is left alone. Required for the kinds named by it.
	// +optional
	// +kubebuilder:validation:Minimum=0.001
	// +kubebuilder:validation:Maximum=1
	SuccessRate float64 `json:"successRate,omitempty"`

	// requests is over how many requests the share is taken. Required for kind io.l5d.successRate.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Requests int32 `json:"requests,omitempty"`

	// window is over how many seconds the share is taken. Required for kind io.l5d.successRateWindowed.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	Window int32 `json:"window,omitempty"`

	// backoff is for how long. Default: 5 seconds, then a random time from 5 to 10 seconds, from 10 to 20, and so on up to 300.
	// +optional
	Backoff *Backoff `json:"backoff,omitempty"`
}

// Backoff is a series of waits. Which keys count depends on kind.
type Backoff struct {
	// kind is how they grow: constant not at all; jittered from minMs by a random time of up to three times the last wait, up to maxMs.
	// +required
	// +kubebuilder:validation:Enum=constant;jittered
	Kind string `json:"kind"`

	// ms of kind constant. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400000
	Ms int32 `json:"ms,omitempty"`

	// minMs is the first wait. Required for kind jittered.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	MinMs int32 `json:"minMs,omitempty"`

	// maxMs is the longest wait. Required for kind jittered.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	MaxMs int32 `json:"maxMs,omitempty"`
}
