package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
)

func transformerKinds() []string {
	return []string{
		v1alpha1.KindTransformerLocalhost, v1alpha1.KindTransformerSpecificHost, v1alpha1.KindTransformerPort,
		v1alpha1.KindTransformerConst, v1alpha1.KindTransformerReplace,
		v1alpha1.KindTransformerDaemonSet, v1alpha1.KindTransformerLocalNode,
	}
}

// checkTransformers checks which keys belong to which kind, and what they hold.
func checkTransformers(ps *problems, field string, list []v1alpha1.Transformer, env Environment) {
	for i := range list {
		t := &list[i]
		at := fmt.Sprintf("%s[%d]", field, i)
		if !slices.Contains(transformerKinds(), t.Kind) {
			continue // the rule of the schema says so
		}
		if checkTransformerKeys(ps, at, t) {
			checkTransformerValues(ps, at, t)
		}
		if cluster := t.Kind == v1alpha1.KindTransformerDaemonSet || t.Kind == v1alpha1.KindTransformerLocalNode; cluster && env == Standalone {
			ps.at(at+".kind", "%s needs a cluster", t.Kind)
		}
	}
}

// checkTransformerKeys refuses keys of other kinds and the absence of those the kind requires.
func checkTransformerKeys(ps *problems, field string, t *v1alpha1.Transformer) (ok bool) {
	ok = true
	const (
		host, port, constant     = v1alpha1.KindTransformerSpecificHost, v1alpha1.KindTransformerPort, v1alpha1.KindTransformerConst
		replace, daemonset, node = v1alpha1.KindTransformerReplace, v1alpha1.KindTransformerDaemonSet, v1alpha1.KindTransformerLocalNode
	)
	for _, key := range []struct {
		name     string
		set      bool
		required []string
		optional []string
	}{
		{"host", t.Host != "", []string{host}, nil},
		{"port", t.Port != nil, []string{port}, []string{daemonset}},
		{"path", t.Path != "", []string{constant, replace}, nil},
		{"namespace", t.Namespace != "", nil, []string{daemonset}},
		{"service", t.Service != "", nil, []string{daemonset}},
		{"hostNetwork", t.HostNetwork, nil, []string{daemonset, node}},
		{"fallback", t.Fallback, nil, []string{node}},
	} {
		required := slices.Contains(key.required, t.Kind)
		switch {
		case key.set && !required && !slices.Contains(key.optional, t.Kind):
			ps.at(field+"."+key.name, "key %s does not belong to kind %s", key.name, t.Kind)
			ok = false
		case !key.set && required:
			ps.at(field+"."+key.name, "required for kind %s", t.Kind)
			ok = false
		}
	}
	return ok
}

func checkTransformerValues(ps *problems, field string, t *v1alpha1.Transformer) {
	if t.Host != "" && len(t.Host) <= 45 {
		if _, err := netip.ParseAddr(t.Host); err != nil {
			ps.at(field+".host", "expected an IP address, found %s", shown(t.Host))
		}
	}
	if t.Path != "" && len(t.Path) <= 4096 {
		path, err := dtab.ParsePath(t.Path)
		switch {
		case err != nil:
			ps.add(grammarProblem(field+".path", err))
		case len(path) < 2 || path[0] != "$" && path[0] != "#":
			ps.at(field+".path", "expected a name of a namer (/$/... or /#/...), found %s", shown(t.Path))
		}
	}
	for _, label := range []struct{ key, value string }{{"namespace", t.Namespace}, {"service", t.Service}} {
		if label.value != "" && len(label.value) <= 63 && len(validation.IsDNS1123Label(label.value)) > 0 {
			ps.at(field+"."+label.key, "expected a DNS label (small letters, digits and '-'), found %s", shown(label.value))
		}
	}
	if t.Port != nil {
		checkTransformerPort(ps, field+".port", t)
	}
}

// checkTransformerPort: a number for io.l5d.port, and also a name (or, as in Linkerd, a number in quotes) for io.l5d.k8s.daemonset.
func checkTransformerPort(ps *problems, field string, t *v1alpha1.Transformer) {
	number, name := int(t.Port.IntVal), t.Port.StrVal
	if t.Port.Type == intstr.String {
		if t.Kind == v1alpha1.KindTransformerPort {
			ps.at(field, "expected an integer from 1 to 65535, found the string %s", shown(name))
			return
		}
		n, err := strconv.Atoi(name)
		if err != nil {
			if len(name) > 63 || len(validation.IsDNS1123Label(name)) > 0 {
				ps.at(field, "expected the name or the number of a port, found %s", shown(name))
			}
			return
		}
		number = n
	}
	if number < 1 || number > 65535 {
		ps.at(field, "expected an integer from 1 to 65535, found %d", number)
	}
}

// checkLoops refuses a router whose transformers send its requests by way of the mesh's own proxies to the same router, be it through
// others. What namers lead to depends on rules: there the limit of maxCallDepth ends a loop.
func checkLoops(ps *problems, m *v1alpha1.Mesh, spec *v1alpha1.MeshSpec) {
	ports := servedBy(spec)
	next := make([][]int, len(spec.Routers))
	for i := range spec.Routers {
		for _, t := range spec.Routers[i].Interpreter.Transformers {
			if t.Kind != v1alpha1.KindTransformerDaemonSet || t.Namespace != m.Namespace || t.Service != v1alpha1.ProxyName(m.Name) {
				continue
			}
			if to, ok := ports[t.Port.String()]; ok {
				next[i] = append(next[i], to)
			}
		}
	}
	for i := range spec.Routers {
		if leads(next, i, i, make([]bool, len(next))) {
			ps.at(fmt.Sprintf("spec.routers[%d].interpreter.transformers", i),
				"router %s sends requests by way of the proxies of this mesh to itself: a loop", shown(spec.Routers[i].Name))
		}
	}
}

// leads reports whether a step or more lead from one router to another.
func leads(next [][]int, from, to int, seen []bool) bool {
	for _, n := range next[from] {
		if n == to || !seen[n] && func() bool { seen[n] = true; return leads(next, n, to, seen) }() {
			return true
		}
	}
	return false
}

// servedBy returns the router behind each port of the Service of the mesh's proxies, by name and by number.
func servedBy(spec *v1alpha1.MeshSpec) map[string]int {
	ports := make(map[string]int)
	for i, r := range spec.Routers {
		for j, s := range r.Servers {
			name := r.Name
			if j > 0 {
				name = fmt.Sprintf("%s-%d", r.Name, j+1)
			}
			ports[name], ports[strconv.Itoa(int(s.Port))] = i, i
		}
	}
	return ports
}
