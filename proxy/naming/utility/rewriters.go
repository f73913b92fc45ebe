package utility

import (
	"slices"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// maxPortLabel is how long the name of a port may be: that of a DNS label.
const maxPortLabel = 63

// rewriter makes a name of another one. It reads the first takes elements, which a name that is shorter does not have: it is Neg.
type rewriter struct {
	takes int
	// front returns what takes their place, or false for Neg.
	front func(p dtab.Path) (dtab.Path, bool)
}

// rewriters by name below /$/.
var rewriters = map[string]rewriter{
	"io.buoyant.hostportPfx":          {2, hostPort},
	"io.buoyant.porthostPfx":          {2, portHost},
	"io.buoyant.http.anyMethod":       {1, dropping(isMethod)},
	"io.buoyant.http.anyMethodPfx":    {2, dropping(isMethod)},
	"io.buoyant.http.anyHost":         {1, dropping(isHost)},
	"io.buoyant.http.anyHostPfx":      {2, dropping(isHost)},
	"io.buoyant.http.subdomainOf":     {2, subdomain},
	"io.buoyant.http.subdomainOfPfx":  {3, subdomain},
	"io.buoyant.http.domainToPath":    {1, domainToPath},
	"io.buoyant.http.domainToPathPfx": {2, domainToPath},
}

func (r rewriter) tree(p dtab.Path) naming.Tree {
	if len(p) < r.takes {
		return naming.Neg()
	}
	front, ok := r.front(p[:r.takes])
	if !ok {
		return naming.Neg()
	}
	return naming.PathLeaf(front.Append(p[r.takes:]...))
}

// hostPort turns /pfx/host:port into /pfx/host/port.
func hostPort(p dtab.Path) (dtab.Path, bool) {
	host, port, ok := cutPort(p[1])
	return dtab.Path{p[0], host, port}, ok
}

// portHost turns /pfx/host:port into /pfx/port/host.
func portHost(p dtab.Path) (dtab.Path, bool) {
	host, port, ok := cutPort(p[1])
	return dtab.Path{p[0], port, host}, ok
}

// cutPort cuts host:port at its only colon. The port is a number or a name, in the form of a small DNS label.
func cutPort(s string) (host, port string, ok bool) {
	host, port, ok = strings.Cut(s, ":")
	if !ok || host == "" || port == "" || len(port) > maxPortLabel || port[0] == '-' {
		return "", "", false
	}
	for _, c := range []byte(port) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return "", "", false
		}
	}
	return host, port, true
}

// dropping drops the last element where it is what it should be.
func dropping(is func(string) bool) func(dtab.Path) (dtab.Path, bool) {
	return func(p dtab.Path) (dtab.Path, bool) {
		last := len(p) - 1
		return p[:last], is(p[last])
	}
}

// subdomain turns /domain[/pfx]/sub.domain[:port] into [/pfx]/sub.
func subdomain(p dtab.Path) (dtab.Path, bool) {
	domain, pfx, host := p[0], p[1:len(p)-1], p[len(p)-1]
	if !isHost(domain) || !isHost(host) {
		return nil, false
	}
	if i := strings.IndexByte(host, ':'); i > 0 {
		host = host[:i]
	}
	sub, ok := strings.CutSuffix(host, "."+domain)
	return slices.Concat(pfx, dtab.Path{sub}), ok && sub != ""
}

// domainToPath turns [/pfx]/a.b.c into [/pfx]/c/b/a. A port stays glued to the part it follows, which comes first. The dot at the end of
// an absolute name says nothing.
func domainToPath(p dtab.Path) (dtab.Path, bool) {
	last := len(p) - 1
	if !isHost(p[last]) {
		return nil, false
	}
	labels := strings.Split(strings.TrimRight(p[last], "."), ".")
	if slices.Contains(labels, "") {
		return nil, false
	}
	slices.Reverse(labels)
	return slices.Concat(p[:last], labels), true
}

// isMethod reports whether s may be a method, as Linkerd sees it.
func isMethod(s string) bool {
	for _, c := range []byte(s) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return s != ""
}

// isHost reports whether s may be a host with a port, as Linkerd sees it: coarse, so that names and both families of addresses pass.
func isHost(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == ':', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != ""
}
