package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/spelling"
)

// namerKinds are the kinds of namers there are.
func namerKinds() []string {
	return []string{
		v1alpha1.KindNamerK8s, v1alpha1.KindNamerK8sExternal, v1alpha1.KindNamerK8sNs, v1alpha1.KindNamerFs, v1alpha1.KindNamerDNSSRV,
		v1alpha1.KindNamerRewrite,
	}
}

// checkNamers checks which keys belong to which kind, and what they hold.
func checkNamers(ps *problems, namers []v1alpha1.Namer, env Environment) {
	for i := range namers {
		n := &namers[i]
		field := fmt.Sprintf("spec.namers[%d]", i)
		checkNamerKeys(ps, field, n)
		checkTransformers(ps, field+".transformers", n.Transformers, env)
		if n.Prefix != "" && len(n.Prefix) <= MaxPrefixBytes {
			if path, err := dtab.ParsePath(n.Prefix); err != nil {
				ps.add(grammarProblem(field+".prefix", err))
			} else if len(path) == 0 {
				ps.at(field+".prefix", "expected at least one element, found %s", shown(n.Prefix))
			} else if path[0] == "#" {
				ps.at(field+".prefix", "expected it without /#, which stands before it anyway, found %s", shown(n.Prefix))
			}
		}
		if n.NeedsCluster() && env == Standalone {
			ps.at(field+".kind", "%s needs a cluster", n.Kind)
		}
		if n.LabelSelector != "" {
			for _, message := range validation.IsQualifiedName(n.LabelSelector) {
				ps.at(field+".labelSelector", "expected the key of a label, found %s: %s", shown(n.LabelSelector), message)
			}
		}
		for _, message := range validation.IsEnvVarName(n.EnvVar) {
			if n.EnvVar != "" {
				ps.at(field+".envVar", "expected the name of an environment variable, found %s: %s", shown(n.EnvVar), message)
			}
		}
		checkDNSHosts(ps, field+".dnsHosts", n.DNSHosts)
		switch n.Kind {
		case v1alpha1.KindNamerFs:
			if strings.ContainsRune(n.RootDir, 0) {
				ps.at(field+".rootDir", "expected a folder, found %s", shown(n.RootDir))
			}
		case v1alpha1.KindNamerRewrite:
			checkRewrite(ps, field, n)
		}
	}
}

// checkNamerKeys refuses keys of other kinds and the absence of those the kind requires.
func checkNamerKeys(ps *problems, field string, n *v1alpha1.Namer) {
	if !slices.Contains(namerKinds(), n.Kind) {
		return // the rule of the schema says so
	}
	for _, key := range []struct {
		name          string
		kinds         []string
		set, required bool
	}{
		{"labelSelector", []string{v1alpha1.KindNamerK8s, v1alpha1.KindNamerK8sNs}, n.LabelSelector != "", false},
		{"envVar", []string{v1alpha1.KindNamerK8sNs}, n.EnvVar != "", false},
		{"refreshIntervalSeconds", []string{v1alpha1.KindNamerDNSSRV}, n.RefreshIntervalSeconds != 0, false},
		{"dnsHosts", []string{v1alpha1.KindNamerDNSSRV}, len(n.DNSHosts) > 0, false},
		{"rootDir", []string{v1alpha1.KindNamerFs}, n.RootDir != "", true},
		{"pattern", []string{v1alpha1.KindNamerRewrite}, n.Pattern != "", true},
		{"name", []string{v1alpha1.KindNamerRewrite}, n.Name != "", true},
		{"exact", []string{v1alpha1.KindNamerRewrite}, n.Exact, false},
	} {
		switch belongs := slices.Contains(key.kinds, n.Kind); {
		case key.set && !belongs:
			ps.at(field+"."+key.name, "key %s does not belong to kind %s", key.name, n.Kind)
		case !key.set && key.required && belongs:
			ps.at(field+"."+key.name, "required for kind %s", n.Kind)
		}
	}
}

// checkDNSHosts leaves the length of a text to the rules of the schema.
func checkDNSHosts(ps *problems, field string, hosts []string) {
	for i, text := range hosts {
		if _, err := DNSHost(text); err != nil && text != "" {
			ps.at(fmt.Sprintf("%s[%d]", field, i), "%v", err)
		}
	}
}

// DNSHost returns host and port of a name server that is written as a host or as host:port. The port is 53 unless given.
func DNSHost(text string) (string, error) {
	host, port := text, "53"
	if ip, err := netip.ParseAddr(text); err == nil {
		return net.JoinHostPort(ip.String(), port), nil // an IPv6 address has colons of its own
	}
	if strings.Contains(text, ":") {
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", fmt.Errorf("expected a host or host:port, found %s", shown(text))
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("expected a port from 1 to 65535, found %s", shown(port))
	}
	if _, err := netip.ParseAddr(host); err != nil && len(validation.IsDNS1123Subdomain(strings.ToLower(host))) > 0 {
		return "", fmt.Errorf("expected a host or host:port, found %s", shown(text))
	}
	return net.JoinHostPort(host, port), nil
}

// checkRewrite checks that pattern and name are paths with variables, and that name uses what pattern captures alone.
func checkRewrite(ps *problems, field string, n *v1alpha1.Namer) {
	if n.Pattern == "" || n.Name == "" || len(n.Pattern) > 1024 || len(n.Name) > 4096 {
		return
	}
	captured, problem := templateVars(n.Pattern, true)
	if problem != nil {
		problem.Field = field + ".pattern"
		ps.add(*problem)
		return
	}
	used, problem := templateVars(n.Name, false)
	if problem != nil {
		problem.Field = field + ".name"
		ps.add(*problem)
		return
	}
	for _, name := range used {
		if !slices.Contains(captured, name) {
			ps.at(field+".name", "{%s} is not in pattern %s%s", name, shown(n.Pattern), spelling.DidYouMean(name, captured))
		}
	}
}

// templateVars returns the variables of a path with {var} in its elements. A pattern may hold wildcards.
func templateVars(text string, pattern bool) (vars []string, problem *Problem) {
	// A dtab may have blanks and comments around its paths; here they would be part of an element.
	if i := strings.IndexAny(text, " \t\r\n"); i >= 0 {
		return nil, &Problem{Line: 1, Column: i + 1, Message: "expected a path without blanks"}
	}
	if i := strings.Index(text, "/*#"); i >= 0 {
		return nil, &Problem{Line: 1, Column: i + 3, Message: "expected '/' or the end after '*'"}
	}
	var plain strings.Builder // the text with a letter in place of each byte of a variable, so that positions stay
	for i := 0; i < len(text); i++ {
		if text[i] != '{' {
			plain.WriteByte(text[i])
			continue
		}
		end := strings.IndexAny(text[i+1:], "{}/")
		if end <= 0 || text[i+1+end] != '}' {
			return nil, &Problem{Line: 1, Column: i + 1, Message: "expected a name and '}' after '{'"}
		}
		vars = append(vars, text[i+1:i+1+end])
		plain.WriteString(strings.Repeat("x", end+2))
		i += end + 1
	}
	var err error
	if pattern {
		_, err = dtab.ParsePrefix(plain.String())
	} else {
		_, err = dtab.ParsePath(plain.String())
	}
	if err != nil {
		p := grammarProblem("", err)
		return nil, &p
	}
	return vars, nil
}
