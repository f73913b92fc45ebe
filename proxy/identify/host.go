package identify

import (
	"net/netip"
	"strings"
)

// ClusterDomain is the domain below which a cluster's DNS has its Services.
const ClusterDomain = "cluster.local"

// KubernetesHost returns the one form of a host by which a Service is known: lower case, without port, without the dot at the
// end, <service>.<namespace> without what the cluster's DNS puts behind it, and <service> alone in the namespace default. It cuts
// only what has exactly the form of a Service's name, so that it never turns a name into that of another Service:
// web.svc.cluster.local (no namespace) and pod.web.prod.svc stay whole. An IP address loses its port alone.
func KubernetesHost(host string) string {
	host = withoutPort(toLower(host))
	if isIP(host) {
		return host
	}
	host = strings.TrimSuffix(host, ".")
	name, rest, found := strings.Cut(host, ".")
	if !found || name == "" {
		return host
	}
	namespace, suffix, _ := strings.Cut(rest, ".")
	switch suffix {
	case "", "svc", "svc." + ClusterDomain:
	default:
		return host
	}
	switch {
	case namespace == "" || suffix == "" && strings.HasSuffix(rest, "."):
		return host // an empty part: no Service has such a name
	case namespace == "default":
		return name
	}
	return name + "." + namespace
}

// withoutPort cuts ":" and digits at the end. The colons of an IPv6 address stand in brackets, or are more than one.
func withoutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.Trim(host[i+1:], "0123456789") != "" {
		return host
	}
	if strings.HasPrefix(host, "[") {
		if host[i-1] != ']' {
			return host
		}
	} else if strings.IndexByte(host, ':') != i {
		return host
	}
	return host[:i]
}

func isIP(host string) bool {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// toLower changes ASCII letters alone: a host is ASCII, and any other byte stays what it is.
func toLower(s string) string {
	for i := range len(s) {
		if s[i] != lower(s[i]) {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = lower(b[i])
			}
			return string(b)
		}
	}
	return s
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
