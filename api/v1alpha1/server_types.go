package v1alpha1

// Server is one listener.
//
// +kubebuilder:validation:XValidation:rule="!has(self.tls)",message="tls is not supported yet"
type Server struct {
	// ip to listen on. Default: all addresses in a cluster, 127.0.0.1 standalone.
	// +optional
	// +kubebuilder:validation:MaxLength=45
	IP string `json:"ip,omitempty"`

	// port to listen on.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// maxConnections is how many client connections may be open. Default: 10000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxConnections int32 `json:"maxConnections,omitempty"`

	// maxConcurrentRequests is how many requests may be under way: each one beyond is answered at once with 503, Retry-After: 0 and
	// finagle-http-nack, which says that nothing was done and another proxy or endpoint may be asked. Default: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxConcurrentRequests int32 `json:"maxConcurrentRequests,omitempty"`

	// headerTimeoutMs is how long the head of a request may take from its first byte; then it is answered with 408. Default: 10000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	HeaderTimeoutMs int32 `json:"headerTimeoutMs,omitempty"`

	// idleTimeoutMs is how long a connection may wait for its next request. Default: 600000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	IdleTimeoutMs int32 `json:"idleTimeoutMs,omitempty"`

	// stallTimeoutMs is how long a client may send nothing of the body it began, and take nothing of what is written to it, and how long
	// an endpoint may take nothing. Default: 60000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	StallTimeoutMs int32 `json:"stallTimeoutMs,omitempty"`

	// tunnelIdleTimeoutMs is how long a tunnel, after an upgrade or CONNECT, may be silent both ways. Default: 3600000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	TunnelIdleTimeoutMs int32 `json:"tunnelIdleTimeoutMs,omitempty"`

	// minBodyBytesPerSecond is how fast a body with a Content-Length has to come, on average, once it was waited for 20 seconds; then it
	// is answered with 408. A chunked body may be a stream that trickles: it must only not stall. Default: 100.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	MinBodyBytesPerSecond int32 `json:"minBodyBytesPerSecond,omitempty"`

	// clearContext makes this the edge of the mesh: l5d-* headers are dropped from requests on their way in and from responses on
	// their way out, and a response that carried l5d-err loses its body.
	// +optional
	ClearContext bool `json:"clearContext,omitempty"`

	// addForwardedHeader adds Forwarded (RFC 7239) to every request: by, for, host and proto. What the client sent of it stays before.
	// +optional
	AddForwardedHeader *ForwardedHeader `json:"addForwardedHeader,omitempty"`

	// xForwardedHeaders writes X-Forwarded-For, -Host and -Proto: Append adds the client's address to those the client sent and
	// keeps its host and protocol, Replace believes none of them, nor Forwarded. Default: they are passed on as they came.
	// +optional
	// +kubebuilder:validation:Enum=Append;Replace
	XForwardedHeaders string `json:"xForwardedHeaders,omitempty"`

	// timestampHeader is the name of a header that gets the milliseconds since 1970 at which the request arrived, in place of what
	// the client sent of it. Default: none.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[-!#$%&'*+.^_|~0-9A-Za-z]+$`
	TimestampHeader string `json:"timestampHeader,omitempty"`

	// tls is reserved.
	// +optional
	TLS *Reserved `json:"tls,omitempty"`
}

// ForwardedHeader says what Forwarded tells of the two ends of a client's connection.
type ForwardedHeader struct {
	// by is this proxy's end. Default: a random label for each request.
	// +optional
	By *ForwardedLabeler `json:"by,omitempty"`

	// for is the client's end. Default: a random label for each request.
	// +optional
	For *ForwardedLabeler `json:"for,omitempty"`
}

// ForwardedLabeler is a way to write one end of a connection.
type ForwardedLabeler struct {
	// kind is the way, as in Linkerd: the address, the address and port, a random label for each connection or for each request, the
	// name of the router, or a label of one's own.
	// +required
	// +kubebuilder:validation:Enum=io.l5d.ip;"io.l5d.ip:port";io.l5d.connectionRandom;io.l5d.requestRandom;io.l5d.router;io.l5d.static
	Kind string `json:"kind"`

	// label of kind io.l5d.static.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[-._~0-9A-Za-z]+$`
	Label string `json:"label,omitempty"`
}
