package config

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/pace"
	"github.com/fairlead/fairlead/proxy/spelling"
)

// AcceptDtab validates a Dtab for the mesh it refers to. It is a pure function of the two: other Dtabs never decide. It shares
// the object's memory. The error is nil where the Dtab is accepted; all its problems then have the same reason, that of the first
// question the Dtab fails: is it valid, is it for this mesh, does the router exist, may its namespace do this.
func AcceptDtab(m *Mesh, d *v1alpha1.Dtab) (*Dtab, *Error) {
	var ps problems
	if names := validation.IsDNS1123Subdomain(d.Name); len(names) > 0 {
		ps.at("metadata.name", "expected a DNS name (small letters, digits, '-' and '.', at most 253), found %s", shown(d.Name))
	}
	checkStruct(&ps, "spec", &d.Spec)
	object := d.Namespace + "/" + d.Name
	dentries := parseDentries(&ps, "spec.dentries", d.Spec.Dentries, object)
	if ps.none() {
		checkDtabSize(&ps, d)
	}
	if err := ps.err(); err != nil {
		return nil, err
	}
	if err := checkRefs(m, d); err != nil {
		return nil, err
	}
	out := &Dtab{
		Namespace: d.Namespace, Name: d.Name, UID: string(d.UID), Generation: d.Generation,
		Object:   &v1alpha1.Dtab{TypeMeta: typeMeta(kindDtab), ObjectMeta: identityOf(&d.ObjectMeta).objectMeta(), Spec: d.Spec},
		Router:   d.Spec.Router,
		Priority: d.Spec.Priority,
		Dentries: dentries,
	}
	if d.Namespace != m.Namespace {
		out.Priority = min(out.Priority, 0)
		if err := checkNamespace(m, d.Namespace, dentries); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// pacedBy is how many rules are read at a time, which takes some 10 us.
const pacedBy = 8

// parseDentries checks rules, and returns them where none has a mistake. It reads on after one, to list them all.
func parseDentries(ps *problems, field string, rules []v1alpha1.Dentry, object string) *dtab.Rules {
	if len(rules) == 0 || len(rules) > MaxDentriesPerDtab {
		return nil
	}
	valid := true
	var p pace.Pace
	var parser dtab.Parser
	for i := range rules {
		if i%pacedBy == 0 {
			p.Step()
		}
		wrong := checkDentry(&parser, &rules[i])
		for _, p := range wrong {
			p.Field = fmt.Sprintf("%s[%d]%s", field, i, p.Field)
			ps.add(p)
		}
		valid = valid && len(wrong) == 0
	}
	if !valid {
		return nil
	}
	return dtab.TextRules(object, ruleTexts(rules))
}

type ruleTexts []v1alpha1.Dentry

func (r ruleTexts) Len() int                        { return len(r) }
func (r ruleTexts) Text(i int) (prefix, dst string) { return r[i].Prefix, r[i].Dst }

// checkDentry returns all problems of a rule, whose fields are relative to it.
func checkDentry(parser *dtab.Parser, d *v1alpha1.Dentry) (wrong []Problem) {
	fits := func(field, text string, limit int) bool {
		switch {
		case text == "":
			wrong = append(wrong, Problem{Field: field, Message: "required"})
		case len(text) > limit:
			wrong = append(wrong, Problem{Field: field, Message: fmt.Sprintf("expected at most %d bytes, found %d", limit, len(text))})
		default:
			return true
		}
		return false
	}
	prefix, dst := fits(".prefix", d.Prefix, MaxPrefixBytes), fits(".dst", d.Dst, MaxDstBytes)
	if prefix && dst && parser.Check(d.Prefix, d.Dst) == nil {
		return nil
	}
	// The parser stops at the first mistake: each side is read alone, so that one does not hide the other's.
	for _, side := range []struct {
		fits        bool
		prefix, dst string
	}{{prefix, d.Prefix, "/"}, {dst, "/", d.Dst}} {
		if !side.fits {
			continue
		}
		if err := parser.Check(side.prefix, side.dst); err != nil {
			p := grammarProblem("", err)
			var e *dtab.Error
			if errors.As(err, &e) {
				p.Field = "." + e.Field
			}
			wrong = append(wrong, p)
		}
	}
	return wrong
}

// grammarProblem is the problem of a field whose text one of the parsers of package dtab refused.
func grammarProblem(field string, err error) Problem {
	p := Problem{Field: field, Message: err.Error()}
	var e *dtab.Error
	if errors.As(err, &e) {
		p.Line, p.Column = e.Position()
		p.Message = e.Detail()
	}
	return p
}

// checkDtabSize bounds the object. The exact size is only computed for objects that could exceed the limit.
func checkDtabSize(ps *problems, d *v1alpha1.Dtab) {
	const overhead = 32
	estimate := 6 << 10
	for i := range d.Spec.Dentries {
		estimate += overhead + jsonBytes(d.Spec.Dentries[i].Prefix) + jsonBytes(d.Spec.Dentries[i].Dst)
	}
	if estimate <= MaxObjectBytes {
		return
	}
	if data, err := Encode(nil, []*v1alpha1.Dtab{d}); err != nil {
		ps.at("spec", "%v", err)
	} else if len(data) > MaxObjectBytes {
		ps.at("spec", "expected at most %d bytes (as JSON), found %d", MaxObjectBytes, len(data))
	}
}

// jsonBytes returns how many bytes s takes as JSON, or more.
func jsonBytes(s string) int {
	const escape = 6
	n := len(s)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			n += escape - 1
		}
	}
	return n
}

// checkRefs answers whether the Dtab is for this mesh and for a router that it has.
func checkRefs(m *Mesh, d *v1alpha1.Dtab) *Error {
	ref := d.Spec.MeshRef
	namespace := ref.Namespace
	if namespace == "" {
		namespace = d.Namespace
	}
	if ref.Name != m.Name || namespace != m.Namespace {
		return refuse(v1alpha1.ReasonMeshNotFound, "spec.meshRef", "expected the mesh %s/%s, found %s/%s",
			m.Namespace, m.Name, namespace, ref.Name)
	}
	names := make([]string, len(m.Routers))
	for i := range m.Routers {
		if names[i] = m.Routers[i].Name; names[i] == d.Spec.Router {
			return nil
		}
	}
	return refuse(v1alpha1.ReasonRouterNotFound, "spec.router", "expected a router of the mesh %s/%s (%s), found %s%s",
		m.Namespace, m.Name, strings.Join(names, ", "), shown(d.Spec.Router), spelling.DidYouMean(d.Spec.Router, names))
}

// checkNamespace answers whether a namespace other than the mesh's may hold these rules.
func checkNamespace(m *Mesh, namespace string, dentries *dtab.Rules) *Error {
	policy := &m.Spec.Dtabs
	var entry *v1alpha1.DtabNamespace
	for i := range policy.Namespaces {
		if policy.From == v1alpha1.DtabsFromList && policy.Namespaces[i].Name == namespace {
			entry = &policy.Namespaces[i]
		}
	}
	if entry == nil {
		return refuse(v1alpha1.ReasonNamespaceNotAllowed, "metadata.namespace",
			"expected a namespace that spec.dtabs of the mesh %s/%s allows, found %s", m.Namespace, m.Name, shown(namespace))
	}
	allowed := make([]dtab.Prefix, 0, len(entry.Prefixes))
	for _, text := range entry.Prefixes {
		if prefix, err := dtab.ParsePrefix(text); err == nil { // AcceptMesh refused others
			allowed = append(allowed, prefix)
		}
	}
	ps := problems{reason: v1alpha1.ReasonPrefixNotAllowed}
	for i, d := range dentries.All() {
		if !under(d.Prefix, allowed) {
			ps.at(fmt.Sprintf("spec.dentries[%d].prefix", i), "expected a prefix under %s, which is what namespace %s may change, found %s",
				strings.Join(entry.Prefixes, ", "), namespace, shown(d.Prefix.String()))
		}
	}
	return ps.err()
}

// under reports whether every path that x matches begins with one of the allowed prefixes. A wildcard in x stands for elements
// that an allowed label is not, so it lies only under a wildcard.
func under(x dtab.Prefix, allowed []dtab.Prefix) bool {
	for _, a := range allowed {
		if len(x) < len(a) {
			continue
		}
		inside := true
		for i, e := range a {
			if !e.Any && (x[i].Any || x[i].Label != e.Label) {
				inside = false
				break
			}
		}
		if inside {
			return true
		}
	}
	return false
}
