package v1alpha1

// Service configures the logical names below a prefix.
type Service struct {
	// prefix of the logical name, for example /svc/web; * stands for any one element.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Prefix string `json:"prefix"`

	// totalTimeoutMs bounds the whole request, with all that is tried, until the response begins. Default: none.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	TotalTimeoutMs int32 `json:"totalTimeoutMs,omitempty"`

	// totalTimeoutCutsResponse makes totalTimeoutMs, and a deadline, bound the response to its end: what has not come by then is cut.
	// +optional
	TotalTimeoutCutsResponse bool `json:"totalTimeoutCutsResponse,omitempty"`

	// responseClassifier says which requests failed, and which of those may be sent again. Default: io.l5d.http.nonRetryable5XX.
	// +optional
	ResponseClassifier *ResponseClassifier `json:"responseClassifier,omitempty"`

	// retries says how requests that failed are sent again.
	// +optional
	Retries *Retries `json:"retries,omitempty"`

	// faults are injected into a share of the requests, for tests and game days. While there are any, the Mesh says so in its Ready condition.
	// +optional
	Faults *Faults `json:"faults,omitempty"`
}

// Faults are injected into a share of the requests.
type Faults struct {
	// delay keeps requests waiting before they are sent.
	// +optional
	Delay *FaultDelay `json:"delay,omitempty"`

	// abort answers requests in place of an endpoint, after their delay.
	// +optional
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay keeps a share of the requests waiting.
type FaultDelay struct {
	// percent of the requests.
	// +required
	// +kubebuilder:validation:Minimum=0.001
	// +kubebuilder:validation:Maximum=100
	Percent float64 `json:"percent"`

	// ms is how long.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600000
	Ms int32 `json:"ms"`
}

// FaultAbort answers a share of the requests.
type FaultAbort struct {
	// percent of the requests.
	// +required
	// +kubebuilder:validation:Minimum=0.001
	// +kubebuilder:validation:Maximum=100
	Percent float64 `json:"percent"`

	// status of the answer.
	// +required
	// +kubebuilder:validation:Minimum=400
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status"`
}

// Client configures the bound names below a prefix.
//
// +kubebuilder:validation:XValidation:rule="!has(self.tls)",message="tls is not supported yet"
type Client struct {
	// prefix of the bound name, for example /#/io.l5d.k8s/prod; * stands for any one element.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Prefix string `json:"prefix"`

	// loadBalancer picks the endpoint of each request. Default: ewma.
	// +optional
	LoadBalancer *LoadBalancer `json:"loadBalancer,omitempty"`

	// failureAccrual leaves an endpoint alone whose requests fail. Default: after 5 failures in a row.
	// +optional
	FailureAccrual *FailureAccrual `json:"failureAccrual,omitempty"`

	// failFast leaves an endpoint alone that could not be connected to, and tries it in the background. Default: false.
	// +optional
	FailFast bool `json:"failFast,omitempty"`

	// hostConnectionPool bounds what one endpoint gets.
	// +optional
	HostConnectionPool *HostConnectionPool `json:"hostConnectionPool,omitempty"`

	// requestAttemptTimeoutMs bounds one attempt at one endpoint until its response begins. Default: none.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	RequestAttemptTimeoutMs int32 `json:"requestAttemptTimeoutMs,omitempty"`

	// responseIdleTimeoutMs is how long an endpoint may send nothing before or within its response, once it has all of the request.
	// Default: 900000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	ResponseIdleTimeoutMs int32 `json:"responseIdleTimeoutMs,omitempty"`

	// requeueBudget bounds how many requests are sent to another endpoint because one had no room for them, or again because a
	// connection died before it was heard of.
	// +optional
	RequeueBudget *RetryBudget `json:"requeueBudget,omitempty"`

	// trustClassHeaders believes l5d-retryable and l5d-success-class in the responses of endpoints, which may be any application.
	// Default: they are believed of the mesh's own proxies alone.
	// +optional
	TrustClassHeaders bool `json:"trustClassHeaders,omitempty"`

	// tls is reserved.
	// +optional
	TLS *Reserved `json:"tls,omitempty"`
}

// HostConnectionPool bounds what one endpoint gets.
type HostConnectionPool struct {
	// maxSize is how many requests may be under way at one endpoint from one proxy, each of which has a connection. One that is full is
	// passed over; when all are, a request is answered at once with 503, Retry-After: 0 and finagle-http-nack. Default: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxSize int32 `json:"maxSize,omitempty"`
}
