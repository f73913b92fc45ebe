// Package utility is the namer of /$/: names that are made of other names, of addresses or of a status (linkerd1.md section 4.6).
package utility

import (
	"fmt"
	"unicode/utf8"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
)

const rinet = "io.buoyant.rinet"

// Mounts returns the namers of /$/. resolver is nil where names may not lead to addresses at all.
func Mounts(resolver *dns.Resolver) []naming.Mount {
	mounts := []naming.Mount{{Prefix: dtab.Path{"$"}, Namer: &Names{}}}
	if resolver == nil {
		return mounts
	}
	for _, n := range []*Inet{
		{Name: "inet", Resolve: resolver.Resolve},
		{Name: "fixedinet", Resolve: resolver.ResolveOnce},
		{Name: rinet, Resolve: resolver.Resolve, PortFirst: true},
	} {
		mounts = append(mounts, naming.Mount{Prefix: dtab.Path{"$", n.Name}, Namer: n, Address: true})
	}
	return mounts
}

// Names answers the /$/ names that are no addresses. A name it does not know is an error, as in Linkerd: it ends an alternate in
// place of falling through it.
type Names struct{}

// Lookup implements naming.Namer.
func (*Names) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	if len(p) == 0 {
		return naming.Fixed(naming.Neg())
	}
	switch p[0] {
	case "nil":
		return naming.Fixed(naming.Tree{Kind: dtab.Empty})
	case "fail":
		return naming.Fixed(naming.Tree{Kind: dtab.Fail})
	}
	if !isText(p) {
		return naming.Fixed(naming.Neg())
	}
	switch p[0] {
	case rinet:
		if len(p) < 3 {
			return naming.Fixed(naming.Neg()) // it said so itself, and was asked before
		}
	case "io.buoyant.http.status":
		return naming.Fixed(status(p))
	}
	if r, ok := rewriters[p[0]]; ok {
		return naming.Fixed(r.tree(p[1:]))
	}
	return broken(dtab.Path{"$"}.Append(p...), fmt.Errorf("/$/%s is not known", p[0]))
}

// isText reports whether all elements are UTF-8. Linkerd's global namer matches paths as text: but for nil and fail no name with other
// bytes exists for it, be they of the residual.
func isText(p dtab.Path) bool {
	for _, element := range p {
		if !utf8.ValidString(element) {
			return false
		}
	}
	return true
}

// IsPartial reports whether a name below /$ is only the front of one: what it leads to depends on what a request adds.
func IsPartial(p dtab.Path) bool {
	if len(p) == 0 {
		return true
	}
	needs := rewriters[p[0]].takes
	switch p[0] {
	case "inet", "fixedinet":
		// Both have a form of one element, which is a port.
		return len(p) == 1 || len(p) == 2 && !isNumber(p[1])
	case rinet:
		needs = 2
	case "io.buoyant.http.status":
		needs = 1
	}
	return len(p)-1 < needs
}

// status binds /io.buoyant.http.status/<100-599> and all that follows to the answer of that status.
func status(p dtab.Path) naming.Tree {
	if len(p) < 2 || len(p[1]) != 3 {
		return naming.Neg()
	}
	code := 0
	for _, c := range []byte(p[1]) {
		if c < '0' || c > '9' {
			return naming.Neg()
		}
		code = 10*code + int(c-'0')
	}
	if code < 100 || code > 599 {
		return naming.Neg()
	}
	return naming.BoundLeaf(&naming.Bound{
		ID: dtab.Path{"$"}.Append(p...), Status: code, Addrs: naming.Fixed(naming.Addrs{}),
	})
}

// broken is the answer that ends a delegation.
func broken(p dtab.Path, err error) naming.Live[naming.Tree] {
	v := naming.NewVar[naming.Tree]()
	v.Fail(&naming.RuleError{Path: p, Err: err})
	return v
}
