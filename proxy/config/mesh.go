package config

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// maxMeshName leaves room for what the names of a mesh's children add.
const maxMeshName = 40

// AcceptMesh validates a Mesh and resolves its defaults. Some depend on the environment: where servers listen, and that a
// standalone proxy has no namers unless told. It shares the object's memory. The error is nil where the Mesh is accepted.
func AcceptMesh(m *v1alpha1.Mesh, env Environment) (*Mesh, *Error) {
	var ps problems
	if len(m.Name) > maxMeshName || !dnsLabel.MatchString(m.Name) {
		ps.at("metadata.name", "expected a DNS label of at most %d characters (%s), found %s", maxMeshName, wantLabel, shown(m.Name))
	}
	checkStruct(&ps, "spec", &m.Spec)
	checkPolicy(&ps, &m.Spec.Dtabs)
	checkProxy(&ps, &m.Spec.Proxy)
	checkNamers(&ps, m.Spec.Namers, env)
	for i := range m.Spec.Routers {
		checkIdentifiers(&ps, fmt.Sprintf("spec.routers[%d].identifiers", i), m.Spec.Routers[i].Identifiers)
		checkTransformers(&ps, fmt.Sprintf("spec.routers[%d].interpreter.transformers", i), m.Spec.Routers[i].Interpreter.Transformers, env)
	}

	spec := resolve(m, env)
	checkAddresses(&ps, spec)
	checkLoops(&ps, m, spec)
	out := &Mesh{
		Namespace: m.Namespace, Name: m.Name, UID: string(m.UID), Generation: m.Generation,
		Object: &v1alpha1.Mesh{TypeMeta: typeMeta(kindMesh), ObjectMeta: identityOf(&m.ObjectMeta).objectMeta(), Spec: m.Spec},
		Spec:   spec,
		Env:    env,
	}
	for i := range spec.Routers {
		out.Routers = append(out.Routers, compileRouter(&ps, fmt.Sprintf("spec.routers[%d]", i), &spec.Routers[i]))
	}
	if ps.none() {
		checkMeshSize(&ps, m)
	}
	if err := ps.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// resolve sets every default.
func resolve(m *v1alpha1.Mesh, env Environment) *v1alpha1.MeshSpec {
	spec := m.Spec.WithDefaults()
	spec.ResolveTransformers(m.Namespace, m.Name)
	anyAddress := "0.0.0.0"
	if env == Standalone {
		anyAddress = "127.0.0.1"
		if len(m.Spec.Namers) == 0 {
			spec.Namers = nil // the default ones need a cluster
		}
		for i := range spec.Routers {
			if len(m.Spec.Routers) == 0 {
				spec.Routers[i].Interpreter.Transformers = nil // so do these
			}
		}
	}
	setIP := func(ip *string) {
		if *ip == "" {
			*ip = anyAddress
		}
	}
	setIP(&spec.Admin.IP)
	for i := range spec.Routers {
		for j := range spec.Routers[i].Servers {
			setIP(&spec.Routers[i].Servers[j].IP)
		}
	}
	return spec
}

// compileRouter parses what is a string in the object. The rules of the schema hold already, or are reported.
func compileRouter(ps *problems, field string, r *v1alpha1.Router) Router {
	out := Router{
		Name: r.Name, Protocol: r.Protocol,
		MaxCallDepth: int(r.MaxCallDepth), BindingTimeout: milliseconds(r.BindingTimeoutMs),
		MaxConcurrentRequests: int(r.MaxConcurrentRequests),
		MaxHeaderBytes:        int(r.MaxHeadersKB) << 10, MaxInitialLine: int(r.MaxInitialLineKB) << 10,
		AllowAddressOverrides: r.AllowAddressOverrides, ForwardsDeadlines: r.Deadlines == v1alpha1.DeadlinesForward,
		Dtab:         parseDentries(ps, field+".dtab", r.Dtab, ""),
		Transformers: r.Interpreter.Transformers,
		FailsOver:    r.Failover == v1alpha1.FailoverUnhealthy, FailoverAfter: milliseconds(r.FailoverAfterMs), FailbackAfter: milliseconds(r.FailbackAfterMs),
	}
	if !out.FailsOver && (out.FailoverAfter > 0 || out.FailbackAfter > 0) {
		ps.at(field+".failover", "failoverAfterMs and failbackAfterMs need failover: %s", v1alpha1.FailoverUnhealthy)
	}
	for i, s := range r.Servers {
		checkMarks(ps, fmt.Sprintf("%s.servers[%d]", field, i), &s)
		if addr, err := parseAddr(s.IP, s.Port); err == nil {
			out.Servers = append(out.Servers, Server{
				Addr: addr.String(), MaxConnections: int(s.MaxConnections), MaxConcurrentRequests: int(s.MaxConcurrentRequests),
				HeaderTimeout: milliseconds(s.HeaderTimeoutMs), IdleTimeout: milliseconds(s.IdleTimeoutMs),
				StallTimeout: milliseconds(s.StallTimeoutMs), MinBodyRate: int(s.MinBodyBytesPerSecond),
				TunnelIdleTimeout: milliseconds(s.TunnelIdleTimeoutMs),
				ClearContext:      s.ClearContext, Marks: marksOf(&s),
			})
		}
	}
	var err error
	if out.DstPrefix, err = dtab.ParsePath(r.DstPrefix); err != nil {
		ps.add(grammarProblem(field+".dstPrefix", err))
	}
	for _, id := range r.Identifiers {
		out.Identifiers = append(out.Identifiers, Identifier{
			Kind: id.Kind, Header: id.Header, Normalize: id.Normalize, Segments: int(id.Segments), Consume: id.Consume,
			HTTPURIInDst: id.HTTPURIInDst, Path: id.Path,
		})
	}
	for i, s := range r.Services {
		out.Services = append(out.Services, serviceOf(ps, fmt.Sprintf("%s.services[%d]", field, i), &s))
	}
	for i, c := range r.Clients {
		client := Client{
			Prefix:         parsePrefix(ps, fmt.Sprintf("%s.clients[%d].prefix", field, i), c.Prefix),
			AttemptTimeout: milliseconds(c.RequestAttemptTimeoutMs), ResponseIdleTimeout: milliseconds(c.ResponseIdleTimeoutMs),
			RequeueBudget: budgetOf(c.RequeueBudget), TrustsClassHeaders: c.TrustClassHeaders, FailFast: c.FailFast,
		}
		if c.HostConnectionPool != nil {
			client.MaxPerEndpoint = int(c.HostConnectionPool.MaxSize)
		}
		client.LoadBalancer, client.FailureAccrual = balancerOf(c.LoadBalancer), accrualOf(c.FailureAccrual)
		checkBalancer(ps, fmt.Sprintf("%s.clients[%d].loadBalancer", field, i), c.LoadBalancer)
		checkAccrual(ps, fmt.Sprintf("%s.clients[%d].failureAccrual", field, i), c.FailureAccrual)
		out.Clients = append(out.Clients, client)
	}
	return out
}

func milliseconds(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

// parsePrefix leaves an empty text and one that is too long to the rules of the schema.
func parsePrefix(ps *problems, field, text string) dtab.Prefix {
	if text == "" || len(text) > MaxPrefixBytes {
		return nil
	}
	prefix, err := dtab.ParsePrefix(text)
	if err != nil {
		ps.add(grammarProblem(field, err))
	}
	return prefix
}

// checkPolicy checks whose Dtabs may change the mesh.
func checkPolicy(ps *problems, p *v1alpha1.DtabPolicy) {
	if len(p.Namespaces) > 0 && p.From != v1alpha1.DtabsFromList {
		ps.at("spec.dtabs", "namespaces needs from: List")
	}
	for i := range p.Namespaces {
		for j, text := range p.Namespaces[i].Prefixes {
			parsePrefix(ps, fmt.Sprintf("spec.dtabs.namespaces[%d].prefixes[%d]", i, j), text)
		}
	}
}

// checkProxy checks what would make the Pods of the mesh impossible.
func checkProxy(ps *problems, p *v1alpha1.ProxySpec) {
	if p.Mode == v1alpha1.ProxyModeSidecar {
		ps.at("spec.proxy.mode", "mode Sidecar is not supported yet; DaemonSet is")
	}
	if p.PriorityClassName != "" && len(validation.IsDNS1123Subdomain(p.PriorityClassName)) > 0 {
		ps.at("spec.proxy.priorityClassName", "expected the name of a PriorityClass, found %s", shown(p.PriorityClassName))
	}
	checkLabels(ps, "spec.proxy.nodeSelector", p.NodeSelector, true)
	checkLabels(ps, "spec.proxy.labels", p.Labels, true)
	checkLabels(ps, "spec.proxy.annotations", p.Annotations, false)
}

func checkLabels(ps *problems, field string, labels map[string]string, values bool) {
	for _, key := range sortedKeys(labels) {
		for _, message := range validation.IsQualifiedName(key) {
			ps.at(field, "key %s: %s", shown(key), message)
		}
		if !values {
			continue
		}
		for _, message := range validation.IsValidLabelValue(labels[key]) {
			ps.at(field, "value of key %s: %s", shown(key), message)
		}
	}
}

func checkMeshSize(ps *problems, m *v1alpha1.Mesh) {
	if data, err := Encode(m, nil); err != nil {
		ps.at("spec", "%v", err)
	} else if len(data) > MaxObjectBytes {
		ps.at("spec", "expected at most %d bytes (as JSON), found %d", MaxObjectBytes, len(data))
	}
}
