package conformance

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
)

var (
	methodPattern = regexp.MustCompile(`^[A-Z]+$`)
	hostPattern   = regexp.MustCompile(`^[A-Za-z0-9.:_-]+$`)
	portPattern   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,62})$`)
	statusPattern = regexp.MustCompile(`^[1-5][0-9][0-9]$`)
	hole          = regexp.MustCompile(`\{([^}]*)\}`)
)

// utility answers for the namers below /$/. A path outside is Neg.
func utility(p dtab.Path) (answer, error) {
	if len(p) < 2 || p[0] != "$" {
		return only(dtab.Neg), nil
	}
	rest := p[2:]
	switch p[1] {
	case "nil":
		return only(dtab.Empty), nil
	case "fail":
		return only(dtab.Fail), nil
	case "inet", "fixedinet":
		switch {
		case len(rest) >= 2 && isPort(rest[1]):
			return bound(p, 4), nil
		case len(rest) >= 1 && isPort(rest[0]):
			return bound(p, 3), nil
		}
		return answer{}, errUnknownNamer
	case "io.buoyant.rinet":
		if len(rest) >= 2 {
			return bound(p, 4), nil // to no address, where the port is none
		}
		return only(dtab.Neg), nil
	case "io.buoyant.http.status":
		if len(rest) >= 1 && statusPattern.MatchString(rest[0]) {
			return bound(p, len(p)), nil
		}
		return only(dtab.Neg), nil
	}
	name, known := strings.CutPrefix(p[1], "io.buoyant.")
	r, ok := rewriters[name]
	if !known || !ok {
		return answer{}, errUnknownNamer
	}
	if len(rest) < r.takes {
		return only(dtab.Neg), nil
	}
	front := r.rewrite(rest[:r.takes])
	if front == nil {
		return only(dtab.Neg), nil
	}
	return reenter(front.Append(rest[r.takes:]...)), nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// rewriter rewrites the first elements of a path. No result means Neg.
type rewriter struct {
	takes   int
	rewrite func(p dtab.Path) dtab.Path
}

// rewriters are the rewriting utility namers by what follows "io.buoyant.".
var rewriters = map[string]rewriter{
	"hostportPfx": {2, func(p dtab.Path) dtab.Path {
		if host, port, ok := hostPort(p[1]); ok {
			return dtab.Path{p[0], host, port}
		}
		return nil
	}},
	"porthostPfx": {2, func(p dtab.Path) dtab.Path {
		if host, port, ok := hostPort(p[1]); ok {
			return dtab.Path{p[0], port, host}
		}
		return nil
	}},
	"http.anyMethod":       {1, without(methodPattern, 0)},
	"http.anyMethodPfx":    {2, without(methodPattern, 1)},
	"http.anyHost":         {1, without(hostPattern, 0)},
	"http.anyHostPfx":      {2, without(hostPattern, 1)},
	"http.domainToPath":    {1, func(p dtab.Path) dtab.Path { return reversed(nil, p[0]) }},
	"http.domainToPathPfx": {2, func(p dtab.Path) dtab.Path { return reversed(p[:1], p[1]) }},
	"http.subdomainOf":     {2, func(p dtab.Path) dtab.Path { return subdomain(nil, p[0], p[1]) }},
	"http.subdomainOfPfx":  {3, func(p dtab.Path) dtab.Path { return subdomain(p[1:2], p[0], p[2]) }},
}

func hostPort(s string) (host, port string, ok bool) {
	host, port, ok = strings.Cut(s, ":")
	return host, port, ok && host != "" && portPattern.MatchString(port)
}

// without drops element i where it looks as it should.
func without(pattern *regexp.Regexp, i int) func(dtab.Path) dtab.Path {
	return func(p dtab.Path) dtab.Path {
		if !pattern.MatchString(p[i]) {
			return nil
		}
		return slices.Delete(slices.Clone(p), i, i+1)
	}
}

func reversed(pfx dtab.Path, host string) dtab.Path {
	if !hostPattern.MatchString(host) {
		return nil
	}
	labels := strings.Split(strings.TrimRight(host, "."), ".") // as Java's split, which leaves out what is empty at the end
	if slices.Contains(labels, "") {
		return nil
	}
	slices.Reverse(labels)
	return pfx.Append(labels...)
}

func subdomain(pfx dtab.Path, domain, host string) dtab.Path {
	if !hostPattern.MatchString(domain) || !hostPattern.MatchString(host) {
		return nil
	}
	host, _, _ = strings.Cut(host, ":")
	sub, ok := strings.CutSuffix(host, "."+domain)
	if !ok || sub == "" {
		return nil
	}
	return pfx.Append(sub)
}

// rewrite answers as io.l5d.rewrite: the part of p beyond the pattern is dropped.
func (n givenNamer) rewrite(p dtab.Path) answer {
	vars := capture(n.Pattern, p)
	if vars == nil {
		return only(dtab.Neg)
	}
	name := hole.ReplaceAllStringFunc(n.Name, func(s string) string { return vars[s[1:len(s)-1]] })
	to, err := dtab.ParsePath(name)
	if err != nil {
		return only(dtab.Neg)
	}
	return reenter(to)
}

// capture matches the front of p with a pattern such as "/{ns}/*/{name}:http" and returns its variables, nil for no match. An element
// that holds variables is looked for anywhere in its element of p, and each variable takes as much as it can.
func capture(pattern string, p dtab.Path) map[string]string {
	vars := map[string]string{}
	segments := strings.FieldsFunc(pattern, func(r rune) bool { return r == '/' })
	if len(segments) > len(p) {
		return nil
	}
	for i, s := range segments {
		if s == "*" {
			continue
		}
		var expr strings.Builder
		at := 0
		for _, h := range hole.FindAllStringIndex(s, -1) {
			expr.WriteString(regexp.QuoteMeta(s[at:h[0]]) + "(.*)")
			at = h[1]
		}
		expr.WriteString(regexp.QuoteMeta(s[at:]))
		elem := strings.TrimPrefix(p[i:i+1].String(), "/")
		if at == 0 && s != elem {
			return nil
		}
		found := regexp.MustCompile(expr.String()).FindStringSubmatch(elem)
		if found == nil {
			return nil
		}
		for k, h := range hole.FindAllStringSubmatch(s, -1) {
			vars[h[1]] = found[k+1]
		}
	}
	return vars
}
