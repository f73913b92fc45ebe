package config

import (
	"regexp"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// rule is what the API schema says of one field. The zero rule says nothing.
type rule struct {
	required bool
	// min and max bound an integer where max is not 0.
	min, max int64
	// least and most bound a number where most is not 0.
	least, most float64
	// minLen and maxLen bound a string, in characters.
	minLen, maxLen int
	enum           []string
	pattern        *regexp.Regexp
	// want is the pattern in words.
	want string
	// minItems and maxItems bound a list, maxProperties a map.
	minItems, maxItems, maxProperties int
	// items is the rule of each item of a list of strings.
	items *rule
	// listKey is the field that tells the objects of a list apart. set says that the strings of a list differ.
	listKey string
	set     bool
}

var (
	dnsLabel   = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	headerName = regexp.MustCompile("^[-!#$%&'*+.^_|~0-9A-Za-z]+$")
	label      = regexp.MustCompile(`^[-._~0-9A-Za-z]+$`)
	quantity   = regexp.MustCompile(`^([1-9][0-9]*|[1-9][0-9]?%|100%)$`)
)

// wantLabel is dnsLabel in words.
const wantLabel = "small letters, digits and '-', with a letter first and no '-' last"

// The patterns of header names and labels in words.
const (
	wantHeaderName = "the name of a header"
	wantLabelText  = "letters, digits, '-', '.', '_' and '~'"
)

// labelerKinds are those of addForwardedHeader.
var labelerKinds = []string{
	v1alpha1.KindForwardedIP, v1alpha1.KindForwardedIPPort, v1alpha1.KindForwardedConnectionRandom, v1alpha1.KindForwardedRequestRandom,
	v1alpha1.KindForwardedRouter, v1alpha1.KindForwardedStatic,
}

const maxTimeoutMs = 86400000

// ruleOf returns the rule of a field of a type of api/v1alpha1. The schema in config/crd/bases says the same, and a test compares
// them: objects that never saw an API server get the same answer.
func ruleOf(typ, field string) rule {
	switch typ {
	case "Namer":
		return namerRule(field)
	case "MeshSpec", "ProxySpec", "AdminSpec", "DtabPolicy", "DtabNamespace", "Telemeter", "Transformer":
		return meshRule(typ + "." + field)
	case "Router":
		return routerRule(field)
	case "LoadBalancer", "SlowStart", "ZonePreference":
		return balancerRule(field)
	case "FailureAccrual":
		return accrualRule(field)
	case "Backoff":
		return backoffRule(field)
	case "ResponseClassifier", "Retries", "RetryBudget", "FaultDelay", "FaultAbort":
		return serviceRule(typ + "." + field)
	}
	switch typ + "." + field {
	case "DtabSpec.router", "MeshReference.name":
		return rule{required: true, minLen: 1, maxLen: 40}
	case "DtabSpec.meshRef":
		return rule{required: true}
	case "DtabSpec.priority":
		return rule{min: -1000000, max: 1000000}
	case "DtabSpec.dentries":
		return rule{maxItems: MaxDentriesPerDtab}
	case "MeshReference.namespace":
		return rule{maxLen: 63}
	case "Dentry.prefix", "Service.prefix", "Client.prefix":
		return rule{required: true, minLen: 1, maxLen: MaxPrefixBytes}
	case "Dentry.dst":
		return rule{required: true, minLen: 1, maxLen: MaxDstBytes}
	case "Server.ip":
		return rule{maxLen: 45}
	case "Server.port":
		return rule{required: true, min: 1, max: 65535}
	case "Server.maxConnections", "Server.maxConcurrentRequests", "HostConnectionPool.maxSize":
		return rule{min: 1, max: 1000000}
	case "Server.headerTimeoutMs", "Server.idleTimeoutMs", "Server.stallTimeoutMs", "Server.tunnelIdleTimeoutMs":
		return rule{min: 1, max: maxTimeoutMs}
	case "Server.minBodyBytesPerSecond":
		return rule{min: 1, max: 1000000000}
	case "Server.xForwardedHeaders":
		return rule{enum: []string{v1alpha1.XForwardedAppend, v1alpha1.XForwardedReplace}}
	case "Server.timestampHeader":
		return rule{maxLen: 128, pattern: headerName, want: wantHeaderName}
	case "ForwardedLabeler.kind":
		return rule{required: true, enum: labelerKinds}
	case "ForwardedLabeler.label":
		return rule{maxLen: 128, pattern: label, want: wantLabelText}
	case "Identifier.kind":
		return rule{required: true, enum: []string{"io.l5d.header.token", "io.l5d.header", "io.l5d.path", "io.l5d.methodAndHost", "io.l5d.static"}}
	case "Identifier.header":
		return rule{maxLen: 256}
	case "Identifier.segments":
		return rule{min: 1, max: 64}
	case "Identifier.path":
		return rule{maxLen: MaxPrefixBytes}
	case "Identifier.normalize":
		return rule{enum: []string{"None", "KubernetesHost"}}
	case "Interpreter.kind":
		return rule{enum: []string{"default"}}
	case "Interpreter.transformers":
		return rule{maxItems: 8}
	case "Service.totalTimeoutMs", "Client.requestAttemptTimeoutMs", "Client.responseIdleTimeoutMs":
		return rule{min: 1, max: maxTimeoutMs}
	}
	return rule{}
}

func routerRule(field string) rule {
	switch field {
	case "name":
		return rule{required: true, minLen: 1, maxLen: 40, pattern: dnsLabel, want: wantLabel}
	case "protocol":
		return rule{enum: []string{"http"}}
	case "servers":
		return rule{required: true, minItems: 1, maxItems: 8}
	case "dstPrefix":
		return rule{maxLen: MaxPrefixBytes}
	case "identifiers":
		return rule{maxItems: 8}
	case "maxCallDepth":
		return rule{min: 1, max: 1000}
	case "bindingTimeoutMs":
		return rule{min: 1, max: 600000}
	case "failover":
		return rule{enum: []string{v1alpha1.FailoverNeg, v1alpha1.FailoverUnhealthy}}
	case "failoverAfterMs", "failbackAfterMs":
		return rule{min: 1, max: maxTimeoutMs}
	case "deadlines":
		return rule{enum: []string{v1alpha1.DeadlinesEnforce, v1alpha1.DeadlinesForward}}
	case "maxHeadersKB", "maxInitialLineKB":
		return rule{min: 1, max: 64}
	case "maxConcurrentRequests":
		return rule{min: 1, max: 1000000}
	case "dtab":
		return rule{maxItems: MaxDentriesPerDtab}
	case "services", "clients":
		return rule{maxItems: 500}
	}
	return rule{}
}

func namerRule(field string) rule {
	switch field {
	case "kind":
		return rule{required: true, enum: namerKinds()}
	case "prefix", "pattern":
		return rule{maxLen: 1024}
	case "rootDir", "name":
		return rule{maxLen: 4096}
	case "labelSelector":
		return rule{maxLen: 317}
	case "envVar":
		return rule{maxLen: 256}
	case "refreshIntervalSeconds":
		return rule{min: 1, max: 86400}
	case "transformers":
		return rule{maxItems: 8}
	case "dnsHosts":
		return rule{maxItems: 8, items: &rule{minLen: 1, maxLen: 261}}
	}
	return rule{}
}

func meshRule(field string) rule {
	switch field {
	case "MeshSpec.namers":
		return rule{maxItems: 64}
	case "MeshSpec.routers":
		return rule{maxItems: 16, listKey: "name"}
	case "MeshSpec.telemetry":
		return rule{maxItems: 8}
	case "ProxySpec.mode":
		return rule{enum: []string{"DaemonSet", "Sidecar"}}
	case "ProxySpec.image":
		return rule{maxLen: 512}
	case "ProxySpec.imagePullPolicy":
		return rule{enum: []string{"Always", "IfNotPresent", "Never"}}
	case "ProxySpec.nodeSelector", "ProxySpec.labels", "ProxySpec.annotations":
		return rule{maxProperties: 32}
	case "ProxySpec.tolerations":
		return rule{maxItems: 32}
	case "ProxySpec.priorityClassName":
		return rule{maxLen: 253}
	case "ProxySpec.maxUnavailable":
		return rule{maxLen: 8, pattern: quantity, want: "a number from 1, or a percentage from 1% to 100%"}
	case "ProxySpec.terminationGracePeriodSeconds":
		return rule{min: 1, max: 3600}
	case "ProxySpec.logLevel":
		return rule{enum: []string{"info", "debug"}}
	case "AdminSpec.ip":
		return rule{maxLen: 45}
	case "AdminSpec.port":
		return rule{min: 1, max: 65535}
	case "Transformer.kind":
		return rule{required: true, enum: transformerKinds()}
	case "Transformer.host":
		return rule{maxLen: 45}
	case "Transformer.path":
		return rule{maxLen: 4096}
	case "Transformer.namespace", "Transformer.service":
		return rule{maxLen: 63}
	case "Telemeter.kind":
		return rule{required: true, enum: []string{"io.l5d.prometheus"}}
	case "DtabPolicy.from":
		return rule{enum: []string{"Same", "List"}}
	case "DtabPolicy.namespaces":
		return rule{maxItems: 100, listKey: "name"}
	case "DtabNamespace.name":
		return rule{required: true, minLen: 1, maxLen: 63}
	case "DtabNamespace.prefixes":
		return rule{required: true, minItems: 1, maxItems: 32, set: true, items: &rule{minLen: 1, maxLen: 1024}}
	}
	return rule{}
}
