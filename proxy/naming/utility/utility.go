// Package utility is the namer of /$/: names that are made of other names or of addresses (linkerd1.md section 4.6).
package utility

import (
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Mounts returns the namers of /$/. inet is nil where names may not lead to addresses at all.
func Mounts(inet *Inet) []naming.Mount {
	mounts := []naming.Mount{{Prefix: dtab.Path{"$"}, Namer: &Names{}}}
	if inet != nil {
		mounts = append(mounts, naming.Mount{Prefix: dtab.Path{"$", "inet"}, Namer: inet, Address: true})
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
	case "io.buoyant.http.domainToPathPfx":
		return naming.Fixed(domainToPath(p[1:]))
	}
	return broken(dtab.Path{"$"}.Append(p...), fmt.Errorf("/$/%s is not known", p[0]))
}

// domainToPath turns /pfx/a.b.c/rest into /pfx/c/b/a/rest. A port stays glued to the part it follows, which comes first.
func domainToPath(p dtab.Path) naming.Tree {
	if len(p) < 2 || strings.ContainsFunc(p[1], notInHost) {
		return naming.Neg()
	}
	labels := strings.Split(p[1], ".")
	out := make(dtab.Path, 0, len(labels)+len(p)-1)
	out = append(out, p[0])
	for i := len(labels) - 1; i >= 0; i-- {
		if labels[i] == "" {
			return naming.Neg()
		}
		out = append(out, labels[i])
	}
	return naming.PathLeaf(append(out, p[2:]...))
}

// notInHost reports whether no host with a port may hold the character, as Linkerd sees it.
func notInHost(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune(".:_-", r)
}

// broken is the answer that ends a delegation.
func broken(p dtab.Path, err error) naming.Live[naming.Tree] {
	v := naming.NewVar[naming.Tree]()
	v.Fail(&naming.RuleError{Path: p, Err: err})
	return v
}
