package app

import (
	"fmt"
	"net/netip"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/k8s"
	"github.com/fairlead/fairlead/proxy/naming/transformer"
)

// transformers makes the transformers of a configuration and keeps those that stay, so that what they made of endpoints stays the same
// over a reload. Equal ones are one.
type transformers struct {
	kubernetes func(prefix dtab.Path) *k8s.Namer
	node       string
	// assumed makes those that need a cluster change nothing.
	assumed bool
	made    map[transformerKey]madeTransformer
}

// transformerKey is what tells transformers apart. Where nodes are told by name, the network says nothing.
type transformerKey struct {
	kind, host, port, path, namespace, service string
	fallback                                   bool
}

type madeTransformer struct {
	*naming.Transformer
	close func()
}

func newTransformers(kubernetes func(dtab.Path) *k8s.Namer, node string) *transformers {
	return &transformers{kubernetes: kubernetes, node: node, made: make(map[transformerKey]madeTransformer)}
}

func keyOf(spec *v1alpha1.Transformer) transformerKey {
	key := transformerKey{
		kind: spec.Kind, host: spec.Host, path: spec.Path, namespace: spec.Namespace, service: spec.Service, fallback: spec.Fallback,
	}
	if spec.Port != nil {
		key.port = spec.Port.String()
	}
	return key
}

// list returns the transformers of a list. The error begins with the index.
func (t *transformers) list(specs []v1alpha1.Transformer) ([]*naming.Transformer, error) {
	var out []*naming.Transformer
	for i := range specs {
		key := keyOf(&specs[i])
		m, ok := t.made[key]
		if !ok {
			var err error
			if m, err = t.make(&specs[i]); err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			t.made[key] = m
		}
		out = append(out, m.Transformer)
	}
	return out, nil
}

// routers returns the transformers of each router.
func (t *transformers) routers(cfg *config.Config) ([][]*naming.Transformer, error) {
	out := make([][]*naming.Transformer, len(cfg.Routers))
	for i := range cfg.Routers {
		var err error
		if out[i], err = t.list(cfg.Routers[i].Transformers); err != nil {
			return nil, fmt.Errorf("router %s: interpreter.transformers%w", cfg.Routers[i].Name, err)
		}
	}
	return out, nil
}

func (t *transformers) make(spec *v1alpha1.Transformer) (madeTransformer, error) {
	made := func(n *naming.Transformer) (madeTransformer, error) { return madeTransformer{n, func() {}}, nil }
	switch spec.Kind {
	case v1alpha1.KindTransformerLocalhost:
		return made(transformer.Localhost())
	case v1alpha1.KindTransformerSpecificHost:
		host, err := netip.ParseAddr(spec.Host)
		if err != nil {
			return madeTransformer{}, fmt.Errorf("host: %w", err)
		}
		return made(transformer.SpecificHost(host))
	case v1alpha1.KindTransformerPort:
		return made(transformer.Port(uint16(spec.Port.IntVal)))
	case v1alpha1.KindTransformerConst, v1alpha1.KindTransformerReplace:
		path, err := dtab.ParsePath(spec.Path)
		if err != nil {
			return madeTransformer{}, fmt.Errorf("path: %w", err)
		}
		if spec.Kind == v1alpha1.KindTransformerConst {
			return made(transformer.Const(path))
		}
		return made(transformer.Replace(path))
	}
	if t.assumed {
		return made(assumedTransformer(spec))
	}
	if t.kubernetes == nil || t.node == "" {
		return madeTransformer{}, fmt.Errorf("kind %s: needs a cluster and the name of its node", spec.Kind)
	}
	if spec.Kind == v1alpha1.KindTransformerLocalNode {
		return made(transformer.LocalNode(t.node, spec.Fallback))
	}
	d := transformer.NewDaemonSet(t.kubernetes(dtab.Path{"#", v1alpha1.KindNamerK8s}), spec.Namespace, spec.Port.String(), spec.Service)
	return madeTransformer{&d.Transformer, d.Close}, nil
}

// assumedTransformer has the name of one that needs a cluster, and keeps every endpoint as it is.
func assumedTransformer(spec *v1alpha1.Transformer) *naming.Transformer {
	p := dtab.Path{"%", spec.Kind}
	if spec.Kind == v1alpha1.KindTransformerDaemonSet {
		p = p.Append(spec.Namespace, spec.Port.String(), spec.Service)
	}
	return &naming.Transformer{Prefix: p, Change: func(all []naming.Endpoint) []naming.Endpoint { return all }}
}

// keep ends the transformers that a configuration does not have.
func (t *transformers) keep(cfg *config.Config) {
	wanted := make(map[transformerKey]bool)
	want := func(specs []v1alpha1.Transformer) {
		for i := range specs {
			wanted[keyOf(&specs[i])] = true
		}
	}
	for i := range cfg.Mesh.Spec.Namers {
		want(cfg.Mesh.Spec.Namers[i].Transformers)
	}
	for i := range cfg.Routers {
		want(cfg.Routers[i].Transformers)
	}
	for key, m := range t.made {
		if !wanted[key] {
			delete(t.made, key)
			m.close()
		}
	}
}

func (t *transformers) close() {
	for _, m := range t.made {
		m.close()
	}
	clear(t.made)
}

// discoveries tell the names of the cluster's own API from those of other namers, by the prefixes of both.
type discoveries struct{ own, others []dtab.Path }

func newDiscoveries(namers []v1alpha1.Namer) *discoveries {
	d := &discoveries{}
	for i := range namers {
		prefix, err := dtab.ParsePath("/#" + namers[i].Prefix)
		switch {
		case err != nil: // there is no such namer
		case namers[i].NeedsCluster():
			d.own = append(d.own, prefix)
		default:
			d.others = append(d.others, prefix)
		}
	}
	return d
}

// has reports whether a bound name without what transformers put before it is the cluster's own. Where prefixes overlap, as in Linkerd
// they may, a name that can be another namer's is taken for that.
func (d *discoveries) has(id dtab.Path) bool { return under(id, d.own) && !under(id, d.others) }

func under(id dtab.Path, prefixes []dtab.Path) bool {
	for _, p := range prefixes {
		if len(id) > len(p) && id.HasPrefix(p) {
			return true
		}
	}
	return false
}
