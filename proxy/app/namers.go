package app

import (
	"fmt"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/fs"
	"github.com/fairlead/fairlead/proxy/naming/rewrite"
	"github.com/fairlead/fairlead/proxy/naming/utility"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// namers makes the namers of a Mesh and keeps those whose configuration stays, so that their watches go on over a reload.
type namers struct {
	resolver   *dns.Resolver
	kubernetes func(prefix dtab.Path) naming.Namer
	utility    []naming.Mount
	made       map[v1alpha1.Namer]naming.Namer
}

func newNamers(resolver *dns.Resolver, kubernetes func(dtab.Path) naming.Namer) *namers {
	return &namers{
		resolver: resolver, kubernetes: kubernetes,
		utility: utility.Mounts(resolver),
		made:    make(map[v1alpha1.Namer]naming.Namer),
	}
}

// observe shows what a resolver does.
func observe(s telemetry.Scope, r *dns.Resolver) {
	for name, value := range map[string]func(dns.Stats) uint64{
		"names": func(s dns.Stats) uint64 { return s.Names }, "queries": func(s dns.Stats) uint64 { return s.Queries },
		"failures": func(s dns.Stats) uint64 { return s.Failures }, "refused": func(s dns.Stats) uint64 { return s.Refused },
	} {
		s.GaugeFunc(name, func() float64 { return float64(value(r.Stats())) })
	}
}

// mounts returns the namers of the list at their prefixes, after those of /$/.
func (n *namers) mounts(list []v1alpha1.Namer) ([]naming.Mount, error) {
	mounts := append([]naming.Mount{}, n.utility...)
	for i, spec := range list {
		prefix, err := dtab.ParsePath("/#" + spec.Prefix)
		if err != nil {
			return nil, fmt.Errorf("spec.namers[%d].prefix: %w", i, err)
		}
		namer := n.made[spec]
		if namer == nil {
			if namer, err = n.make(spec, prefix); err != nil {
				return nil, fmt.Errorf("spec.namers[%d]: %w", i, err)
			}
			n.made[spec] = namer
		}
		mounts = append(mounts, naming.Mount{Prefix: prefix, Namer: namer})
	}
	return mounts, nil
}

func (n *namers) make(spec v1alpha1.Namer, prefix dtab.Path) (naming.Namer, error) {
	switch spec.Kind {
	case v1alpha1.KindNamerK8s:
		if n.kubernetes == nil {
			return nil, fmt.Errorf("kind %s: needs a cluster", spec.Kind)
		}
		return n.kubernetes(prefix), nil
	case v1alpha1.KindNamerFs:
		return fs.New(prefix, spec.RootDir, n.resolver), nil
	case v1alpha1.KindNamerRewrite:
		return rewrite.New(spec.Pattern, spec.Name, spec.Exact)
	}
	return nil, fmt.Errorf("kind %q: not known", spec.Kind)
}

// keep ends the namers that are not in the list.
func (n *namers) keep(list []v1alpha1.Namer) {
	wanted := make(map[v1alpha1.Namer]bool, len(list))
	for _, spec := range list {
		wanted[spec] = true
	}
	for spec, namer := range n.made {
		if !wanted[spec] {
			delete(n.made, spec)
			end(namer)
		}
	}
}

func (n *namers) close() { n.keep(nil) }

func end(namer naming.Namer) {
	if closer, ok := namer.(interface{ Close() }); ok {
		closer.Close()
	}
}
