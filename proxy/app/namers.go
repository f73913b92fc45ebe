package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/dnssrv"
	"github.com/fairlead/fairlead/proxy/naming/fs"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/naming/rewrite"
	"github.com/fairlead/fairlead/proxy/naming/utility"
	"github.com/fairlead/fairlead/proxy/telemetry"
)

// namers makes the namers of a Mesh and keeps those whose configuration stays, so that their watches go on over a reload.
type namers struct {
	resolver   *dns.Resolver
	log        logr.Logger
	metrics    *telemetry.Tree
	kubernetes func(prefix dtab.Path) *k8s.Namer
	// assumed, where it is not nil, makes what takes the place of the namers that need a cluster.
	assumed func(prefix dtab.Path, elements int) naming.Namer
	utility []naming.Mount
	// transformers makes those of a namer.
	transformers *transformers
	made         map[string]naming.Namer
}

func newNamers(o Options, resolver *dns.Resolver, ts *transformers) *namers {
	return &namers{
		resolver: resolver, log: o.Log, metrics: o.Metrics, kubernetes: o.Kubernetes, transformers: ts,
		utility: utility.Mounts(resolver),
		made:    make(map[string]naming.Namer),
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

// namerKey tells namers apart by all but their transformers, which are no part of them.
func namerKey(spec v1alpha1.Namer) string {
	spec.Transformers = nil
	data, _ := json.Marshal(spec) // plain strings always have a JSON form
	return string(data)
}

// mounts returns the namers of the list at their prefixes, after those of /$/.
func (n *namers) mounts(list []v1alpha1.Namer) ([]naming.Mount, error) {
	mounts := append([]naming.Mount{}, n.utility...)
	for i, spec := range list {
		prefix, err := dtab.ParsePath("/#" + spec.Prefix)
		if err != nil {
			return nil, fmt.Errorf("spec.namers[%d].prefix: %w", i, err)
		}
		key := namerKey(spec)
		namer := n.made[key]
		if namer == nil {
			if namer, err = n.make(spec, prefix); err != nil {
				return nil, fmt.Errorf("spec.namers[%d]: %w", i, err)
			}
			n.made[key] = namer
		}
		changes, err := n.transformers.list(spec.Transformers)
		if err != nil {
			return nil, fmt.Errorf("spec.namers[%d].transformers%w", i, err)
		}
		mounts = append(mounts, naming.Mount{
			Prefix: prefix, Namer: namer, Address: spec.Kind == v1alpha1.KindNamerDNSSRV, Transformers: changes,
		})
	}
	return mounts, nil
}

func (n *namers) make(spec v1alpha1.Namer, prefix dtab.Path) (naming.Namer, error) {
	if spec.NeedsCluster() {
		return n.discovering(spec, prefix)
	}
	switch spec.Kind {
	case v1alpha1.KindNamerDNSSRV:
		o := dns.Options{MinSRVInterval: time.Duration(spec.RefreshIntervalSeconds) * time.Second}
		for i, text := range spec.DNSHosts {
			server, err := config.DNSHost(text)
			if err != nil {
				return nil, fmt.Errorf("dnsHosts[%d]: %w", i, err)
			}
			o.Servers = append(o.Servers, server)
		}
		return dnssrv.New(prefix, o), nil
	case v1alpha1.KindNamerFs:
		bad := n.metrics.Scope("namer", strings.TrimPrefix(spec.Prefix, "/")).Counter("bad_files")
		if missing := missingFolder(&spec); missing != "" {
			n.log.Info("A namer has no folder", "prefix", prefix.String(), "problem", missing)
		}
		return fs.New(prefix, spec.RootDir, fs.Options{Resolver: n.resolver, OnRefusal: func(file string, err error) {
			bad.Incr(0)
			n.log.Error(err, "File of a namer refused, its last good endpoints stay", "file", file)
		}}), nil
	case v1alpha1.KindNamerRewrite:
		return rewrite.New(spec.Pattern, spec.Name, spec.Exact)
	}
	return nil, fmt.Errorf("kind %q: not known", spec.Kind)
}

// missingFolder says that the folder of a namer is not there, or "" where it is or there is none. It may come later.
func missingFolder(spec *v1alpha1.Namer) string {
	if spec.Kind != v1alpha1.KindNamerFs {
		return ""
	}
	if info, err := os.Stat(spec.RootDir); err == nil && info.IsDir() {
		return ""
	}
	text := "there is no folder " + spec.RootDir
	if whole, err := filepath.Abs(spec.RootDir); err == nil && whole != spec.RootDir {
		text += " (" + whole + ", from where the proxy was started)"
	}
	return text + ": no name of this namer exists until it is there"
}

// discovering makes a namer that answers from the API server.
func (n *namers) discovering(spec v1alpha1.Namer, prefix dtab.Path) (naming.Namer, error) {
	if n.assumed != nil {
		return n.assumed(prefix, nameElements(&spec)), nil
	}
	if n.kubernetes == nil {
		return nil, fmt.Errorf("kind %s: needs a cluster", spec.Kind)
	}
	out := n.kubernetes(prefix)
	switch spec.Kind {
	case v1alpha1.KindNamerK8sExternal:
		return out.External(n.resolver), nil
	case v1alpha1.KindNamerK8sNs:
		namespace := os.Getenv(spec.EnvVar)
		if namespace == "" {
			return nil, fmt.Errorf("kind %s: environment variable %s is not set", spec.Kind, spec.EnvVar)
		}
		out.InNamespace(namespace)
	}
	if spec.LabelSelector != "" {
		out.Selecting(spec.LabelSelector)
	}
	return out, nil
}

// keep ends the namers that are not in the list.
func (n *namers) keep(list []v1alpha1.Namer) {
	wanted := make(map[string]bool, len(list))
	for _, spec := range list {
		wanted[namerKey(spec)] = true
	}
	for key, namer := range n.made {
		if !wanted[key] {
			delete(n.made, key)
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
