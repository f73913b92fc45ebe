package v1alpha1

// Types of conditions. Each is present from the first pass of the operator on.
const (
	// ConditionAccepted is true when the newest generation is valid. While it is false the last accepted one is served.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs (Dtab) is true when what the rules lead to exists.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionAvailable (Mesh) is true when a proxy is ready on every node that should have one.
	ConditionAvailable = "Available"
	// ConditionProgrammed is true when every proxy that should serve the accepted generation says that it does.
	ConditionProgrammed = "Programmed"
	// ConditionReady sums the others up. It is computed in one place (controllers/rollup).
	ConditionReady = "Ready"
)

// Reasons of conditions.
const (
	// ReasonAccepted: the newest generation is valid.
	ReasonAccepted = "Accepted"
	// ReasonInvalid: a field does not hold; the message says where and what was expected.
	ReasonInvalid = "Invalid"
	// ReasonMeshNotFound: spec.meshRef names no Mesh.
	ReasonMeshNotFound = "MeshNotFound"
	// ReasonMeshNotAccepted: the Mesh named by spec.meshRef never had a valid generation.
	ReasonMeshNotAccepted = "MeshNotAccepted"
	// ReasonRouterNotFound: the Mesh has no router of that name.
	ReasonRouterNotFound = "RouterNotFound"
	// ReasonNamespaceNotAllowed: the Mesh takes no Dtabs of this namespace.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonPrefixNotAllowed: a rule lies outside the prefixes the Mesh allows this namespace.
	ReasonPrefixNotAllowed = "PrefixNotAllowed"
	// ReasonTooManyDentries: the mesh holds as many rules as it may; this Dtab is the tail of the fixed order.
	ReasonTooManyDentries = "TooManyDentries"
	// ReasonPortConflict: an older Mesh uses the same host port.
	ReasonPortConflict = "PortConflict"

	// ReasonResolved: every destination is bound.
	ReasonResolved = "Resolved"
	// ReasonUnresolved: a destination is not bound on some proxy.
	ReasonUnresolved = "Unresolved"
	// ReasonLoop: the rules lead back to themselves.
	ReasonLoop = "Loop"

	// ReasonAvailable: a proxy is ready on every node that should have one.
	ReasonAvailable = "Available"
	// ReasonProxiesNotReady: a proxy that should be ready is not.
	ReasonProxiesNotReady = "ProxiesNotReady"
	// ReasonApplyFailed: a child of the Mesh could not be applied; the message says which and why.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonNoNodes: no node should have a proxy.
	ReasonNoNodes = "NoNodes"

	// ReasonProgrammed: every wanted proxy serves the accepted generation.
	ReasonProgrammed = "Programmed"
	// ReasonWaiting: a wanted proxy does not say that it serves the accepted generation.
	ReasonWaiting = "Waiting"
	// ReasonVersionSkew: a proxy refuses what the operator accepts.
	ReasonVersionSkew = "VersionSkew"
	// ReasonNotAccepted: no generation was ever accepted, so there is nothing to serve.
	ReasonNotAccepted = "NotAccepted"

	// ReasonReady: all other conditions hold.
	ReasonReady = "Ready"
	// ReasonPending: the first pass has not ended.
	ReasonPending = "Pending"
	// ReasonFaultsInjected (Ready, true): the Mesh injects faults; the message says which.
	ReasonFaultsInjected = "FaultsInjected"
	// ReasonConfigIncomplete: the rules do not fit the ConfigMap, so that a proxy cannot start while the API server is away.
	ReasonConfigIncomplete = "ConfigIncomplete"
)
