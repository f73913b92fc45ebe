package v1alpha1

// LoadBalancer picks the endpoint of each request. Which keys count depends on kind.
type LoadBalancer struct {
	// kind is how: ewma takes, of two endpoints chosen at random, the one whose response times are less; p2c the one with fewer requests
	// under way; aperture does the same among a part of the endpoints that is as wide as the load wants; heap takes the one with the fewest
	// requests under way of all; roundRobin takes them in turn.
	// +required
	// +kubebuilder:validation:Enum=ewma;p2c;aperture;heap;roundRobin
	Kind string `json:"kind"`

	// maxEffort is how often another choice is made where an endpoint that is down was chosen; all kinds but heap. Default: 5.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxEffort int32 `json:"maxEffort,omitempty"`

	// decayTimeMs is how long ewma remembers that an endpoint was slow. Default: 10000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	DecayTimeMs int32 `json:"decayTimeMs,omitempty"`

	// smoothWindowMs is over which time aperture averages the load. Default: 5000.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	SmoothWindowMs int32 `json:"smoothWindowMs,omitempty"`

	// lowLoad is at how many requests under way for each endpoint in use aperture becomes narrower. Default: 0.5.
	// +optional
	// +kubebuilder:validation:Minimum=0.01
	// +kubebuilder:validation:Maximum=1000
	LowLoad float64 `json:"lowLoad,omitempty"`

	// highLoad is at how many of them it becomes wider; more than lowLoad. Default: 2.
	// +optional
	// +kubebuilder:validation:Minimum=0.01
	// +kubebuilder:validation:Maximum=1000
	HighLoad float64 `json:"highLoad,omitempty"`

	// minAperture is the least number of endpoints in use. Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MinAperture int32 `json:"minAperture,omitempty"`

	// slowStart gives an endpoint that became ready beside others less than its part at first. Default: none.
	// +optional
	SlowStart *SlowStart `json:"slowStart,omitempty"`

	// zonePreference keeps requests in the zone of the proxy's node while its endpoints are not much slower than others. Default: none.
	// +optional
	ZonePreference *ZonePreference `json:"zonePreference,omitempty"`
}

// ZonePreference keeps requests in the zone of the proxy's node.
type ZonePreference struct {
	// spillFactor is how many times the mean response time of the other zones that of the zone may be before requests leave it. Default: 2.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	SpillFactor float64 `json:"spillFactor,omitempty"`
}

// SlowStart gives an endpoint that became ready more requests as time goes by.
type SlowStart struct {
	// windowMs is after how long it gets as much as the others.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400000
	WindowMs int32 `json:"windowMs"`

	// minPercent is what part it gets at first. Default: 10.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MinPercent int32 `json:"minPercent,omitempty"`
}
