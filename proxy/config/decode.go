package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Limits of a file.
const (
	// MaxFileBytes bounds a YAML stream.
	MaxFileBytes = 128 << 20
	// MaxDocumentBytes bounds one document of it: an object of MaxObjectBytes, with room for comments and indentation.
	MaxDocumentBytes = 1 << 20
	// MaxDocuments bounds the documents of a stream.
	MaxDocuments = 20000
	// MaxDepth bounds the nesting of a document.
	MaxDepth = 32
)

// Documents are the objects of one YAML stream. Of each it has name, namespace, uid, generation and spec; what else a document
// says is checked (but for its status) and dropped.
type Documents struct {
	Meshes []*v1alpha1.Mesh
	Dtabs  []*v1alpha1.Dtab

	name string
	env  Environment
	// sources tell where each object, by its pointer, stands.
	sources map[any]chunk
	// reuse, where it is set, returns what takes documents that are known already, which reused then holds with what they came to.
	reuse  func([]chunk) func(chunk) bool
	reused map[*v1alpha1.Dtab]*Dtab
}

// Decode reads a YAML stream of Mesh and Dtab documents. Documents is never nil: it holds the documents without a mistake in
// form (syntax, unknown, duplicate and wrong-typed keys), and the error, where not nil, lists the mistakes of the others. What
// the values mean is for AcceptMesh and AcceptDtab to judge, or for the methods of Documents, whose errors say file, line and
// column. Anchors, aliases, merge keys and tags are refused. name is what errors call the file.
func Decode(name string, data []byte, env Environment) (*Documents, *Error) {
	docs := &Documents{name: name, env: env, sources: map[any]chunk{}}
	return docs, docs.decode(data)
}

func (d *Documents) decode(data []byte) *Error {
	ps := &problems{reason: v1alpha1.ReasonInvalid}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	switch {
	case len(data) > MaxFileBytes:
		ps.add(Problem{File: d.name, Message: tooMany("bytes", MaxFileBytes, len(data))})
	case !validUTF8(data):
		line, column := invalidUTF8(data)
		ps.add(Problem{File: d.name, Line: line, Column: column, Message: "expected UTF-8"})
	default:
		d.read(ps, data)
	}
	return ps.err()
}

func (d *Documents) read(ps *problems, data []byte) {
	chunks := split(data)
	if len(chunks) > MaxDocuments {
		ps.add(Problem{File: d.name, Line: chunks[MaxDocuments].line + 1, Message: tooMany("documents", MaxDocuments, len(chunks))})
		return
	}
	known := func(chunk) bool { return false }
	if d.reuse != nil {
		known = d.reuse(chunks)
	}
	for _, c := range chunks {
		if len(c.text) > MaxDocumentBytes {
			ps.add(Problem{File: d.name, Line: c.line + 1, Message: tooMany("bytes in a document", MaxDocumentBytes, len(c.text))})
			continue
		}
		if !known(c) && !d.readEncoded(c) && !d.readPlain(c) {
			d.readYAML(ps, c)
		}
	}
}

func (d *Documents) addMesh(c chunk, id identity, spec v1alpha1.MeshSpec) {
	m := &v1alpha1.Mesh{TypeMeta: typeMeta(kindMesh), ObjectMeta: id.objectMeta(), Spec: spec}
	d.Meshes = append(d.Meshes, m)
	d.sources[m] = c
}

func (d *Documents) addDtab(c chunk, id identity, spec v1alpha1.DtabSpec) {
	t := &v1alpha1.Dtab{TypeMeta: typeMeta(kindDtab), ObjectMeta: id.objectMeta(), Spec: spec}
	d.Dtabs = append(d.Dtabs, t)
	d.sources[t] = c
}

// readEncoded reads what Encode wrote, and nothing else: a document is taken only if Encode gives the same bytes for it again. So
// it has no unknown or duplicate key, and the walk over YAML nodes, which is many times slower, would find nothing.
func (d *Documents) readEncoded(c chunk) bool {
	text := bytes.TrimSpace(c.text)
	head := `{"apiVersion":"` + v1alpha1.GroupVersion.String() + `","kind":"`
	switch {
	case bytes.HasPrefix(text, []byte(head+kindMesh+`"`)):
		if id, spec, ok := decodeEncoded[v1alpha1.MeshSpec](text, kindMesh); ok {
			d.addMesh(c, id, spec)
			return true
		}
	case bytes.HasPrefix(text, []byte(head+kindDtab+`"`)):
		if id, spec, ok := decodeEncoded[v1alpha1.DtabSpec](text, kindDtab); ok {
			d.addDtab(c, id, spec)
			return true
		}
	}
	return false
}

func decodeEncoded[S any](text []byte, kind string) (id identity, spec S, ok bool) {
	var doc document[S]
	if err := json.Unmarshal(text, &doc); err != nil {
		return id, spec, false
	}
	var again bytes.Buffer
	meta := doc.Metadata.objectMeta()
	if err := encodeDocument(&again, kind, &meta, &doc.Spec); err != nil {
		return id, spec, false
	}
	return doc.Metadata, doc.Spec, bytes.Equal(bytes.TrimPrefix(bytes.TrimSpace(again.Bytes()), []byte("---\n")), text)
}

// AcceptMesh is the function AcceptMesh for a mesh of these documents. Its error says where in the file.
func (d *Documents) AcceptMesh(m *v1alpha1.Mesh) (*Mesh, *Error) {
	out, err := AcceptMesh(m, d.env)
	return out, d.Locate(m, err)
}

// AcceptDtab is the function AcceptDtab for a Dtab of these documents. Its error says where in the file.
func (d *Documents) AcceptDtab(m *Mesh, t *v1alpha1.Dtab) (*Dtab, *Error) {
	out, err := AcceptDtab(m, t)
	return out, d.Locate(t, err)
}

// DecodeConfig reads the file of a standalone proxy: one Mesh and any number of Dtabs. Any mistake refuses the whole file, and the
// error lists all mistakes up to MaxProblems. A document without a uid gets the SHA-256 of its text, so that an edit is a new
// member of the revision; one without a generation gets 1. A mesh without a namespace is in "default", a Dtab without one in that
// of the mesh.
func DecodeConfig(name string, data []byte, env Environment) (*Config, *Error) {
	docs, err := Decode(name, data, env)
	return docs.config(err)
}

// config makes the configuration of the documents, whose mistakes in form are err.
func (d *Documents) config(err *Error) (*Config, *Error) {
	cfg, err := d.assemble(err)
	if err != nil {
		inOrder(err.Problems)
	}
	return cfg, err
}

// assemble is config with the problems in the order they were found.
func (d *Documents) assemble(err *Error) (*Config, *Error) {
	var ps problems
	ps.merge(err)
	d.checkCounts(&ps)
	if len(d.Meshes) != 1 {
		return nil, ps.err()
	}
	d.fillIdentity()
	mesh, err := d.AcceptMesh(d.Meshes[0])
	ps.merge(err)
	if mesh == nil {
		return nil, ps.err()
	}
	var dtabs []*Dtab
	objects := map[string]*v1alpha1.Dtab{}
	for _, t := range d.Dtabs {
		accepted := d.reused[t]
		if accepted == nil {
			var err *Error
			accepted, err = d.AcceptDtab(mesh, t)
			ps.merge(err)
		}
		if accepted != nil {
			dtabs = append(dtabs, accepted)
		}
		key := t.Namespace + "/" + t.Name
		if _, ok := objects[key]; ok {
			ps.merge(d.Locate(t, refuse(v1alpha1.ReasonInvalid, "metadata.name", "the Dtab %s is in this file already", key)))
		}
		objects[key] = t
	}
	cfg, refused := Build(mesh, dtabs)
	for _, r := range refused {
		ps.merge(d.Locate(objects[r.Namespace+"/"+r.Name], r.Err))
	}
	if err := ps.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// checkCounts checks that there is one mesh. Where none could be read, and that is reported, it adds nothing.
func (d *Documents) checkCounts(ps *problems) {
	if len(d.Meshes) == 0 && ps.none() {
		ps.add(Problem{File: d.name, Message: "expected one Mesh, found none"})
	}
	for i := 1; i < len(d.Meshes); i++ {
		ps.merge(d.Locate(d.Meshes[i], refuse(v1alpha1.ReasonInvalid, "kind", "expected one Mesh, found another")))
	}
}

func (d *Documents) fillIdentity() {
	fill := func(object any, meta *metav1.ObjectMeta, namespace string) {
		if meta.Namespace == "" {
			meta.Namespace = namespace
		}
		if meta.UID == "" {
			sum := sha256.Sum256(bytes.TrimSpace(d.sources[object].text))
			meta.UID = types.UID(hex.EncodeToString(sum[:]))
		}
		if meta.Generation == 0 {
			meta.Generation = 1
		}
	}
	for _, m := range d.Meshes {
		fill(m, &m.ObjectMeta, metav1.NamespaceDefault)
	}
	for _, t := range d.Dtabs {
		fill(t, &t.ObjectMeta, d.Meshes[0].Namespace)
	}
}
