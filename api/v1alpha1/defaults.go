package v1alpha1

// Defaults of a Mesh. Where Linkerd 1.7 has the key, the value is its default; docs/linkerd1.md lists the exceptions.
const (
	DefaultAdminPort               = 9990
	DefaultOutgoingPort            = 4140
	DefaultIncomingPort            = 4141
	DefaultDstPrefix               = "/svc"
	DefaultMaxCallDepth            = 1000
	DefaultBindingTimeoutMs        = 10000
	DefaultFailoverAfterMs         = 5000
	DefaultFailbackAfterMs         = 10000
	DefaultMaxRetriesPerRequest    = 10
	DefaultSlowStartMinPercent     = 10
	DefaultSpillFactor             = 2.0
	DefaultMaxHeadersKB            = 8
	DefaultMaxInitialLineKB        = 4
	DefaultMaxConnections          = 10000
	DefaultHeaderTimeoutMs         = 10000
	DefaultIdleTimeoutMs           = 600000
	DefaultStallTimeoutMs          = 60000
	DefaultTunnelIdleTimeoutMs     = 3600000
	DefaultMinBodyBytesPerSecond   = 100
	DefaultTerminationGraceSeconds = 30
	DefaultRefreshIntervalSeconds  = 5
	DefaultLowLoad                 = 0.5
	DefaultHighLoad                = 2.0
	DefaultEnvVar                  = "POD_NAMESPACE"
)

// Kinds of the plug-in families.
const (
	KindNamerK8s                  = "io.l5d.k8s"
	KindNamerK8sExternal          = "io.l5d.k8s.external"
	KindNamerK8sNs                = "io.l5d.k8s.ns"
	KindNamerFs                   = "io.l5d.fs"
	KindNamerDNSSRV               = "io.l5d.dnssrv"
	KindNamerRewrite              = "io.l5d.rewrite"
	KindIdentifierHeaderToken     = "io.l5d.header.token"
	KindIdentifierHeader          = "io.l5d.header"
	KindIdentifierPath            = "io.l5d.path"
	KindIdentifierMethodAndHost   = "io.l5d.methodAndHost"
	KindIdentifierStatic          = "io.l5d.static"
	KindForwardedIP               = "io.l5d.ip"
	KindForwardedIPPort           = "io.l5d.ip:port"
	KindForwardedConnectionRandom = "io.l5d.connectionRandom"
	KindForwardedRequestRandom    = "io.l5d.requestRandom"
	KindForwardedRouter           = "io.l5d.router"
	KindForwardedStatic           = "io.l5d.static"
	DeadlinesEnforce              = "Enforce"
	DeadlinesForward              = "Forward"
	FailoverNeg                   = "Neg"
	FailoverUnhealthy             = "Unhealthy"
	XForwardedAppend              = "Append"
	XForwardedReplace             = "Replace"
	KindTelemeterPrometheus       = "io.l5d.prometheus"
	KindInterpreterDefault        = "default"
	KindLoadBalancerEWMA          = "ewma"
	KindLoadBalancerP2C           = "p2c"
	KindLoadBalancerAperture      = "aperture"
	KindLoadBalancerHeap          = "heap"
	KindLoadBalancerRoundRobin    = "roundRobin"

	KindAccrualConsecutiveFailures = "io.l5d.consecutiveFailures"
	KindAccrualSuccessRate         = "io.l5d.successRate"
	KindAccrualSuccessRateWindowed = "io.l5d.successRateWindowed"
	KindAccrualNone                = "none"
	KindNonRetryable5XX            = "io.l5d.http.nonRetryable5XX"
	KindRetryableRead5XX           = "io.l5d.http.retryableRead5XX"
	KindRetryableIdempotent5XX     = "io.l5d.http.retryableIdempotent5XX"
	KindRetryableAll5XX            = "io.l5d.http.retryableAll5XX"
	KindAllSuccessful              = "io.l5d.http.allSuccessful"
	KindBackoffConstant            = "constant"
	KindBackoffJittered            = "jittered"

	KindTransformerLocalhost    = "io.l5d.localhost"
	KindTransformerSpecificHost = "io.l5d.specificHost"
	KindTransformerPort         = "io.l5d.port"
	KindTransformerConst        = "io.l5d.const"
	KindTransformerReplace      = "io.l5d.replace"
	KindTransformerDaemonSet    = "io.l5d.k8s.daemonset"
	KindTransformerLocalNode    = "io.l5d.k8s.localnode"

	// RouterOutgoing and RouterIncoming are the routers of a Mesh that names none.
	RouterOutgoing = "outgoing"
	RouterIncoming = "incoming"

	NormalizeNone           = "None"
	NormalizeKubernetesHost = "KubernetesHost"

	DtabsFromSame = "Same"
	DtabsFromList = "List"

	ProtocolHTTP = "http"
)

// WithDefaults returns a copy of the spec in which every value that a reader needs is set. It is idempotent.
func (s *MeshSpec) WithDefaults() *MeshSpec {
	out := s.DeepCopy()
	setDefault(&out.Proxy.Mode, ProxyModeDaemonSet)
	setDefault(&out.Proxy.PriorityClassName, "system-node-critical")
	setDefault(&out.Proxy.MaxUnavailable, "1")
	setDefault(&out.Proxy.LogLevel, "info")
	setDefault(&out.Proxy.ImagePullPolicy, "IfNotPresent")
	setDefault(&out.Proxy.TerminationGracePeriodSeconds, DefaultTerminationGraceSeconds)
	setDefault(&out.Admin.Port, DefaultAdminPort)
	setDefault(&out.Dtabs.From, DtabsFromSame)
	if len(out.Namers) == 0 {
		out.Namers = defaultNamers()
	}
	for i := range out.Namers {
		out.Namers[i].setDefaults()
	}
	if len(out.Routers) == 0 {
		out.Routers = defaultRouters()
	}
	for i := range out.Routers {
		out.Routers[i].setDefaults()
	}
	return out
}

func (n *Namer) setDefaults() {
	setDefault(&n.Prefix, "/"+n.Kind)
	switch n.Kind {
	case KindNamerK8sNs:
		setDefault(&n.EnvVar, DefaultEnvVar)
	case KindNamerDNSSRV:
		setDefault(&n.RefreshIntervalSeconds, DefaultRefreshIntervalSeconds)
	}
}

// NeedsCluster reports whether the namer answers from the API server.
func (n *Namer) NeedsCluster() bool {
	return n.Kind == KindNamerK8s || n.Kind == KindNamerK8sExternal || n.Kind == KindNamerK8sNs
}

func (r *Router) setDefaults() {
	setDefault(&r.Protocol, ProtocolHTTP)
	setDefault(&r.DstPrefix, DefaultDstPrefix)
	setDefault(&r.Interpreter.Kind, KindInterpreterDefault)
	setDefault(&r.MaxCallDepth, DefaultMaxCallDepth)
	setDefault(&r.BindingTimeoutMs, DefaultBindingTimeoutMs)
	if r.Failover == FailoverUnhealthy {
		setDefault(&r.FailoverAfterMs, DefaultFailoverAfterMs)
		setDefault(&r.FailbackAfterMs, DefaultFailbackAfterMs)
	}
	setDefault(&r.MaxHeadersKB, DefaultMaxHeadersKB)
	setDefault(&r.MaxInitialLineKB, DefaultMaxInitialLineKB)
	if len(r.Identifiers) == 0 {
		r.Identifiers = []Identifier{{Kind: KindIdentifierHeaderToken}}
	}
	for i := range r.Identifiers {
		r.Identifiers[i].setDefaults()
	}
	for i := range r.Servers {
		r.Servers[i].setDefaults()
	}
}

func (s *Server) setDefaults() {
	setDefault(&s.MaxConnections, DefaultMaxConnections)
	setDefault(&s.HeaderTimeoutMs, DefaultHeaderTimeoutMs)
	setDefault(&s.IdleTimeoutMs, DefaultIdleTimeoutMs)
	setDefault(&s.StallTimeoutMs, DefaultStallTimeoutMs)
	setDefault(&s.TunnelIdleTimeoutMs, DefaultTunnelIdleTimeoutMs)
	setDefault(&s.MinBodyBytesPerSecond, DefaultMinBodyBytesPerSecond)
	if f := s.AddForwardedHeader; f != nil {
		for _, l := range []**ForwardedLabeler{&f.By, &f.For} {
			if *l == nil {
				*l = &ForwardedLabeler{Kind: KindForwardedRequestRandom}
			}
		}
	}
}

func (id *Identifier) setDefaults() {
	switch id.Kind {
	case KindIdentifierHeaderToken:
		setDefault(&id.Header, "Host")
		setDefault(&id.Normalize, NormalizeNone)
	case KindIdentifierHeader:
		setDefault(&id.Header, "l5d-name")
	case KindIdentifierPath:
		setDefault(&id.Segments, 1)
	}
}

func defaultNamers() []Namer {
	return []Namer{
		{Kind: KindNamerK8s},
		{Kind: KindNamerRewrite, Prefix: "/nsSvc", Pattern: "/{ns}/{svc}", Exact: true, Name: "/#/io.l5d.k8s/{ns}/http/{svc}"},
	}
}

// defaultRouters are the routers of a Mesh that names none. The later /host rule wins: a name of two parts (web.prod, turned
// around to prod/web) is namespace and service; a name of one part falls back to the namespace default.
//
// Node to node: outgoing chooses the endpoint and sends by way of the proxy on its node, and incoming goes to that endpoint alone. Only
// outgoing has hops, so that no request takes two.
func defaultRouters() []Router {
	router := func(name string, port int32, t Transformer) Router {
		return Router{
			Name:         name,
			Servers:      []Server{{Port: port}},
			Interpreter:  Interpreter{Transformers: []Transformer{t}},
			Identifiers:  []Identifier{{Kind: KindIdentifierHeaderToken, Normalize: NormalizeKubernetesHost}},
			MaxCallDepth: 16,
			Dtab: []Dentry{
				{Prefix: "/host", Dst: "/#/nsSvc/default"},
				{Prefix: "/host", Dst: "/#/nsSvc"},
				{Prefix: "/svc", Dst: "/$/io.buoyant.http.domainToPathPfx/host"},
			},
		}
	}
	return []Router{
		router(RouterOutgoing, DefaultOutgoingPort, Transformer{Kind: KindTransformerDaemonSet}),
		router(RouterIncoming, DefaultIncomingPort, Transformer{Kind: KindTransformerLocalNode, Fallback: true}),
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ProxyName returns the name of the ServiceAccount, DaemonSet, Service and RoleBinding of a mesh.
func ProxyName(mesh string) string { return mesh + "-proxy" }
