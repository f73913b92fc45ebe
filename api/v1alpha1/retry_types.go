package v1alpha1

// Retries says how requests that failed are sent again. Which those are says the responseClassifier.
type Retries struct {
	// budget bounds them.
	// +optional
	Budget *RetryBudget `json:"budget,omitempty"`

	// backoff is how long to wait before each. Default: constant, 0.
	// +optional
	Backoff *Backoff `json:"backoff,omitempty"`

	// maxPerRequest is how often one request is sent again at most, however much the budget allows. Default: 10.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxPerRequest int32 `json:"maxPerRequest,omitempty"`
}

// RetryBudget bounds how many requests are sent again.
type RetryBudget struct {
	// minRetriesPerSec are always allowed, on average over ttlSecs. Default: 10.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MinRetriesPerSec *int32 `json:"minRetriesPerSec,omitempty"`

	// percentCanRetry is how many more each request of the last ttlSecs allows: 0.2 is one for five. Default: 0.2.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	PercentCanRetry *float64 `json:"percentCanRetry,omitempty"`

	// ttlSecs is how many seconds a request counts. Default: 10.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	TTLSecs int32 `json:"ttlSecs,omitempty"`
}

// ResponseClassifier says which requests failed, and which of those may be sent again.
type ResponseClassifier struct {
	// kind is one of Linkerd's.
	// +required
	// +kubebuilder:validation:Enum=io.l5d.http.nonRetryable5XX;io.l5d.http.retryableRead5XX;io.l5d.http.retryableIdempotent5XX;io.l5d.http.retryableAll5XX;io.l5d.http.allSuccessful
	Kind string `json:"kind"`
}
