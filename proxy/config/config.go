// Package config turns Mesh and Dtab objects into the validated, immutable configuration of a proxy. It is pure: no I/O, no clock.
// Objects come from the API server or from a YAML stream; both take the same way, and the operator, the proxy and the CLI print the
// identical text for the same mistake.
package config

import (
	"slices"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// Limits of a configuration.
const (
	// MaxDentriesPerDtab is how many rules one Dtab may hold. The schema says so too.
	MaxDentriesPerDtab = 2000
	// MaxDentriesPerMesh is how many rules the routers of a mesh may hold; the tail of the fixed order is refused.
	MaxDentriesPerMesh = 250000
	// MaxPrefixBytes and MaxDstBytes bound the two sides of a rule.
	MaxPrefixBytes = 1024
	MaxDstBytes    = 4096
	// MaxObjectBytes bounds one object (as JSON).
	MaxObjectBytes = 768 << 10
)

// Environment says where the configuration is to run: it decides a few defaults and rules.
type Environment uint8

const (
	// Cluster is a proxy that an operator deployed: servers listen on all addresses.
	Cluster Environment = iota
	// Standalone is a proxy that reads a file: servers listen on 127.0.0.1 unless told otherwise.
	Standalone
)

// Mesh is an accepted Mesh: validated, with every default resolved.
type Mesh struct {
	Namespace, Name, UID string
	Generation           int64
	// Object is what a ConfigMap or a snapshot keeps of the object: name, namespace, uid, generation, and the spec as it was
	// given. It shares memory with the object that was accepted, so neither may be changed.
	Object *v1alpha1.Mesh
	// Spec has every default resolved. It must not be changed.
	Spec *v1alpha1.MeshSpec
	// Routers in the order of the object, base rules compiled.
	Routers []Router
	Env     Environment
}

// Router is one router, ready to be built.
type Router struct {
	Name     string
	Protocol string
	Servers  []Server
	// DstPrefix is the first part of every logical name.
	DstPrefix   dtab.Path
	Identifiers []Identifier
	// Dtab holds the base rules.
	Dtab *dtab.Rules
	// Objects holds, in Config.Routers, the rules of each Dtab object for the router, which follow the base rules.
	Objects []*dtab.Rules
	// Transformers are those of the interpreter, with every default resolved. They must not be changed.
	Transformers   []v1alpha1.Transformer
	MaxCallDepth   int
	BindingTimeout time.Duration
	MaxHeaderBytes int
	MaxInitialLine int
	// MaxConcurrentRequests of all servers together is 0 where there is no limit.
	MaxConcurrentRequests int
	// AllowAddressOverrides lets the rules of a request lead to addresses.
	AllowAddressOverrides bool
	// ForwardsDeadlines says that deadlines end no request.
	ForwardsDeadlines bool
	// FailsOver says that alternates of a dtab also take the place of a bound name without a live endpoint: after it had none for
	// FailoverAfter, and until it had one for FailbackAfter.
	FailsOver                    bool
	FailoverAfter, FailbackAfter time.Duration
	Services                     []Service
	Clients                      []Client
}

// Rules returns all rules of the router, the base rules first, in the parts that they came in.
func (r *Router) Rules() []*dtab.Rules { return append([]*dtab.Rules{r.Dtab}, r.Objects...) }

// Effective returns all rules of the router as one dtab.
func (r *Router) Effective() dtab.Dtab {
	var out dtab.Dtab
	for _, rules := range r.Rules() {
		for _, d := range rules.All() {
			out = append(out, d)
		}
	}
	return out
}

// IsLocal reports whether the router serves the endpoints of its own node: it takes requests from the mesh's other proxies.
func (r *Router) IsLocal() bool {
	return slices.ContainsFunc(r.Transformers, func(t v1alpha1.Transformer) bool { return t.Kind == v1alpha1.KindTransformerLocalNode })
}

// Server is one listener: an address and its limits.
type Server struct {
	// Addr is ip:port.
	Addr           string
	MaxConnections int
	// MaxConcurrentRequests is 0 where there is no limit.
	MaxConcurrentRequests                    int
	HeaderTimeout, IdleTimeout, StallTimeout time.Duration
	TunnelIdleTimeout                        time.Duration
	// MinBodyRate is in bytes a second.
	MinBodyRate int
	// ClearContext drops l5d-* headers both ways.
	ClearContext bool
	Marks        Marks
}

// Identifier names requests. Which fields count depends on Kind. Two that are == do the same.
type Identifier struct {
	Kind         string
	Header       string
	Normalize    string
	Segments     int
	Consume      bool
	HTTPURIInDst bool
	// Path parses.
	Path string
}

// Service configures logical names below Prefix. Zero values say nothing.
type Service struct {
	Prefix       dtab.Prefix
	TotalTimeout time.Duration
	// CutsResponse makes TotalTimeout bound the response to its end.
	CutsResponse bool
	// Classifier is the kind of one.
	Classifier   string
	RetryBudget  RetryBudget
	RetryBackoff Backoff
	MaxRetries   int
	Faults       Faults
}

// Client configures bound names below Prefix. Zero values say nothing.
type Client struct {
	Prefix         dtab.Prefix
	LoadBalancer   LoadBalancer
	FailureAccrual FailureAccrual
	AttemptTimeout time.Duration
	// ResponseIdleTimeout is how long an endpoint may send nothing before or within a response.
	ResponseIdleTimeout time.Duration
	// MaxPerEndpoint is how many requests may be under way at one endpoint.
	MaxPerEndpoint int
	RequeueBudget  RetryBudget
	// TrustsClassHeaders believes what endpoints say of their responses.
	TrustsClassHeaders bool
	// FailFast leaves endpoints alone that cannot be connected to.
	FailFast bool
}

// Dtab is an accepted Dtab.
type Dtab struct {
	Namespace, Name, UID string
	Generation           int64
	// Object is as in Mesh.
	Object *v1alpha1.Dtab
	Router string
	// Priority is the effective one: at most 0 for another namespace than the mesh's.
	Priority int32
	// Dentries carry Source{Object: "namespace/name", Index: i}.
	Dentries *dtab.Rules
}

// Config is everything a proxy serves from. It is immutable.
type Config struct {
	Mesh *Mesh
	// Dtabs in the order they apply.
	Dtabs []*Dtab
	// Revision names the set of Dtabs served.
	Revision string
	Routers  []Router
}

// Member is one Dtab in a revision.
type Member struct {
	UID        string
	Generation int64
}

// Refusal is an object (Kind Mesh or Dtab) whose given generation is not accepted, and why.
type Refusal struct {
	Kind, Namespace, Name, UID string
	Generation                 int64
	Err                        *Error
}

// Error is everything wrong with one object or file.
type Error struct {
	// Reason is one of the reasons in api/v1alpha1/conditions.go.
	Reason string
	// Problems are at most MaxProblems, in the order of the object or file. More counts those left out.
	Problems []Problem
	More     int
}

// Problem is one mistake: where, and what was expected.
type Problem struct {
	// Field is the path in the object (spec.dentries[3].dst), or "" for a file that cannot be read as objects.
	Field string
	// File, Line and Column say where in a file the value stands. Line 0: not from a file. For a string with a grammar of its own
	// (a dtab) that did not come from a file, Line and Column are places in the string.
	File         string
	Line, Column int
	Message      string
}
