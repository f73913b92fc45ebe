package lint

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/spelling"
)

// utilities are the names below /$/ that there are.
var utilities = []string{
	"inet", "fixedinet", "nil", "fail",
	"io.buoyant.rinet", "io.buoyant.hostportPfx", "io.buoyant.porthostPfx",
	"io.buoyant.http.status", "io.buoyant.http.anyMethod", "io.buoyant.http.anyMethodPfx", "io.buoyant.http.anyHost", "io.buoyant.http.anyHostPfx",
	"io.buoyant.http.subdomainOf", "io.buoyant.http.subdomainOfPfx", "io.buoyant.http.domainToPath", "io.buoyant.http.domainToPathPfx",
}

// utilityNames finds destinations below /$/ that are no name there, whatever a request adds, and that no rule takes up.
func (c *checker) utilityNames(at int) {
	for _, l := range leavesOf(nil, &c.in.Dtab[at].Dst, true) {
		wrong := wrongUtility(l.path)
		if wrong == "" || len(c.index.matches(nil, literal(l.path), true)) > 0 {
			continue
		}
		severity := Warning
		if l.certain {
			severity = Error
		}
		c.report(at, severity, BadUtility, l.path.String()+" is no name of /$/: "+wrong, "correct the name")
	}
}

// wrongUtility returns what is wrong with a name below /$/, or "" where nothing is, or what follows decides.
func wrongUtility(p dtab.Path) string {
	if len(p) < 2 || p[0] != "$" {
		return ""
	}
	switch name, rest := p[1], p[2:]; {
	case !slices.Contains(utilities, name):
		return "expected " + expectedUtility(name)
	case (name == "inet" || name == "fixedinet") && len(rest) > 0 && hostAndPort(rest[0]) != "":
		return "expected the port as an element of its own, as in /$/" + name + "/" + hostAndPort(rest[0]) + ", found " + strconv.Quote(rest[0])
	case (name == "inet" || name == "fixedinet") && len(rest) > 1 && !isPort(rest[1]) && !isPort(rest[0]):
		return "expected a port number from 1 to 65535 after the host, as in /$/inet/host/80, found " + strconv.Quote(rest[1])
	case name == "io.buoyant.rinet" && len(rest) > 0 && !isPort(rest[0]):
		return "expected a port number from 1 to 65535 before the host, found " + strconv.Quote(rest[0])
	case name == "io.buoyant.http.status" && len(rest) > 0 && !isStatus(rest[0]):
		return "expected a status from 100 to 599, found " + strconv.Quote(rest[0])
	}
	return ""
}

// expectedUtility says what there is in place of a name: the one that was meant, where that can be told.
func expectedUtility(name string) string {
	for _, known := range utilities {
		if name != "" && strings.HasSuffix(known, "."+name) {
			return "a name that there is, found " + strconv.Quote(name) + ", did you mean " + strconv.Quote(known) + "?"
		}
	}
	if hint := spelling.DidYouMean(name, utilities); hint != "" {
		return "a name that there is, found " + strconv.Quote(name) + hint
	}
	return "one of " + strings.Join(utilities, ", ") + ", found " + strconv.Quote(name)
}

// hostAndPort returns host:port as host/port, or "" where s is something else.
func hostAndPort(s string) string {
	host, port, ok := strings.Cut(s, ":")
	if !ok || host == "" || !isPort(port) {
		return ""
	}
	return host + "/" + port
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func isStatus(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && len(s) == 3 && n >= 100 && n <= 599
}
