package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// documents are Mesh and Dtab objects, from files or from a cluster.
type documents struct {
	env   config.Environment
	mesh  *v1alpha1.Mesh
	dtabs []*v1alpha1.Dtab
	// locate adds file, line and column to what is wrong with an object.
	locate map[any]*config.Documents
	// served are Dtabs that somebody serves, or not: one that is refused is left out, and told to leftOut.
	served  map[*v1alpha1.Dtab]bool
	leftOut func(error)
}

// serve marks all Dtabs as served.
func (d *documents) serve(leftOut func(error)) *documents {
	d.served, d.leftOut = make(map[*v1alpha1.Dtab]bool, len(d.dtabs)), leftOut
	for _, t := range d.dtabs {
		d.served[t] = true
	}
	return d
}

// readFiles reads the documents of the files. All mistakes of form are told at once.
func (o *options) readFiles(files []string) (*documents, error) {
	out := &documents{locate: make(map[any]*config.Documents)}
	if o.standalone {
		out.env = config.Standalone
	}
	var wrong []error
	hint := ""
	for _, name := range files {
		data, err := o.read(name)
		if err != nil {
			return nil, err
		}
		docs, problem := config.Decode(name, data, out.env)
		if problem != nil {
			wrong = append(wrong, problem)
			if isPlainDtab(data) {
				hint = hintPlainDtab
			}
		}
		for _, m := range docs.Meshes {
			if out.mesh != nil {
				wrong = append(wrong, fmt.Errorf("%s: expected one Mesh, found %s and %s", name, out.mesh.Name, m.Name))
			}
			out.mesh, out.locate[m] = m, docs
		}
		for _, d := range docs.Dtabs {
			out.dtabs, out.locate[d] = append(out.dtabs, d), docs
		}
	}
	err := errors.Join(wrong...)
	if hint != "" {
		err = &failure{code: exitFailure, err: err, hint: hint}
	}
	return out, err
}

const hintPlainDtab = `for a plain dtab use --dtab "$(cat FILE)" with dtab lint and dtab delegate, or fairlead dtab parse -f FILE`

// isPlainDtab reports whether a text looks like rules, where documents are expected: it begins with a path.
func isPlainDtab(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return line[0] == '/'
		}
	}
	return false
}

// over returns the documents of base with those of d in place of the ones of the same name.
func (d *documents) over(base *documents) *documents {
	out := &documents{env: base.env, mesh: base.mesh, locate: d.locate, served: base.served, leftOut: base.leftOut}
	if d.mesh != nil {
		out.mesh, out.env = d.mesh, d.env
	}
	identify(&out.mesh.ObjectMeta, metav1.NamespaceDefault)
	replaced := make(map[string]bool)
	for _, n := range d.dtabs {
		identify(&n.ObjectMeta, out.mesh.Namespace)
		replaced[n.Namespace+"/"+n.Name] = true
	}
	for _, b := range base.dtabs {
		identify(&b.ObjectMeta, out.mesh.Namespace)
		if !replaced[b.Namespace+"/"+b.Name] {
			out.dtabs = append(out.dtabs, b)
		}
	}
	out.dtabs = append(out.dtabs, d.dtabs...)
	return out
}

// build accepts the documents. Dtabs of another Mesh are left out; the error lists whatever is refused.
func (d *documents) build() (*config.Config, error) {
	if d.mesh == nil {
		return nil, errors.New("expected one Mesh, found none")
	}
	identify(&d.mesh.ObjectMeta, metav1.NamespaceDefault)
	mesh, problem := config.AcceptMesh(d.mesh, d.env)
	if problem != nil {
		return nil, d.place(d.mesh, problem)
	}
	var wrong []error
	var accepted []*config.Dtab
	seen := make(map[string]bool)
	for _, t := range d.dtabs {
		identify(&t.ObjectMeta, mesh.Namespace)
		key := t.Namespace + "/" + t.Name
		if seen[key] {
			wrong = append(wrong, fmt.Errorf("the Dtab %s is there twice", key))
		}
		seen[key] = true
		out, problem := config.AcceptDtab(mesh, t)
		if problem != nil && d.served[t] {
			d.leftOut(d.place(t, problem))
			continue
		}
		if problem != nil {
			wrong = append(wrong, d.place(t, problem))
			continue
		}
		accepted = append(accepted, out)
	}
	cfg, refused := config.Build(mesh, accepted)
	for _, r := range refused {
		err := fmt.Errorf("%s/%s: %w", r.Namespace, r.Name, r.Err)
		if d.servesName(r.Namespace, r.Name) {
			d.leftOut(err)
			continue
		}
		wrong = append(wrong, err)
	}
	return cfg, errors.Join(wrong...)
}

// servesName reports whether the Dtab of that name is one of those marked by serve.
func (d *documents) servesName(namespace, name string) bool {
	for t := range d.served {
		if t.Namespace == namespace && t.Name == name {
			return true
		}
	}
	return false
}

func identify(meta *metav1.ObjectMeta, namespace string) {
	if meta.Namespace == "" {
		meta.Namespace = namespace
	}
}

// place returns what is wrong with an object, with its place in a file or with its name.
func (d *documents) place(object metav1.Object, problem *config.Error) error {
	if docs := d.locate[object]; docs != nil {
		return docs.Locate(object, problem)
	}
	return fmt.Errorf("%s/%s: %w", object.GetNamespace(), object.GetName(), problem)
}

// plainDtab is a configuration of one router with these rules. Without names that exist it has the default namers of a Mesh.
func plainDtab(text string, bound []string) (*config.Config, error) {
	d, err := dtab.Parse(text)
	if err != nil {
		return nil, at("--dtab", err)
	}
	mesh := &v1alpha1.Mesh{ObjectMeta: metav1.ObjectMeta{Name: "dtab"}}
	mesh.Spec.Routers = []v1alpha1.Router{{Name: "outgoing", Servers: []v1alpha1.Server{{Port: v1alpha1.DefaultOutgoingPort}}}}
	for _, id := range bound {
		prefix, ok := strings.CutPrefix(id, "/#")
		if !ok {
			return nil, fmt.Errorf("--bound: expected a name below /#/, found %q", id)
		}
		mesh.Spec.Namers = append(mesh.Spec.Namers, v1alpha1.Namer{Kind: v1alpha1.KindNamerK8s, Prefix: prefix})
	}
	cfg, err := (&documents{mesh: mesh}).build()
	if err != nil {
		return nil, err
	}
	cfg.Routers[0].Dtab = dtab.RulesOf(d)
	return cfg, nil
}

// checkRouter returns the error that there is no router of that name. The name "" stands for the first.
func checkRouter(cfg *config.Config, name string) error {
	names := make([]string, len(cfg.Routers))
	for i := range cfg.Routers {
		if name == "" || cfg.Routers[i].Name == name {
			return nil
		}
		names[i] = cfg.Routers[i].Name
	}
	return fmt.Errorf("the Mesh %s/%s has no router %q: expected one of %s", cfg.Mesh.Namespace, cfg.Mesh.Name, name, strings.Join(names, ", "))
}
