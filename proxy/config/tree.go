package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/pace"
	"github.com/fairlead/fairlead/proxy/spelling"
)

// readYAML reads one document by its tree of nodes, and keeps the object where nothing is wrong with its form.
func (d *Documents) readYAML(ps *problems, c chunk) {
	own := problems{}
	defer func() { ps.merge(own.err()) }()
	w := newWalker(&own, d.name, c.line)
	root := w.parse(c.text)
	if root == nil || !w.inspect(root, 0) {
		return
	}
	if root.Kind != yaml.MappingNode {
		w.at(root, "", "expected an object with apiVersion, kind, metadata and spec, found "+found(root))
		return
	}
	switch kind := w.kind(root); kind {
	case kindMesh:
		var m v1alpha1.Mesh
		if w.decode(root, &m) {
			d.addMesh(c, identityOf(&m.ObjectMeta), m.Spec)
		}
	case kindDtab:
		var t v1alpha1.Dtab
		if w.decode(root, &t) {
			d.addDtab(c, identityOf(&t.ObjectMeta), t.Spec)
		}
	}
}

// walker holds YAML nodes against the types they are to become, and writes what fits as JSON.
type walker struct {
	ps    *problems
	file  string
	line  int
	plans map[reflect.Type]*plan
	out   bytes.Buffer
	pace  pace.Pace
}

func newWalker(ps *problems, file string, line int) *walker {
	return &walker{ps: ps, file: file, line: line, plans: map[reflect.Type]*plan{}}
}

// at reports a mistake at a node.
func (w *walker) at(n *yaml.Node, field, message string) {
	w.ps.add(Problem{File: w.file, Line: w.line + n.Line, Column: n.Column, Field: field, Message: message})
}

// parse returns the root of the one document in text, or nil where there is none or a mistake was reported.
func (w *walker) parse(text []byte) *yaml.Node {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) && json.Valid(text) {
		// JSON may be indented with tabs, where YAML may not. It has none inside strings.
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	dec := yaml.NewDecoder(&pacedReader{text: text})
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		w.syntax(text, err)
		return nil
	}
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		w.syntax(text, err)
		return nil
	default:
		w.at(&more, "", "expected the end of the document or ---")
		return nil
	}
	if len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null" {
		return nil
	}
	return doc.Content[0]
}

// pacedReader gives the text in small pieces, and rests between them.
type pacedReader struct {
	text []byte
	pace pace.Pace
}

func (r *pacedReader) Read(p []byte) (int, error) {
	const piece = 512
	r.pace.Step()
	if len(r.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), piece)], r.text)
	r.text = r.text[n:]
	return n, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

func (w *walker) syntax(document []byte, err error) {
	text := err.Error()
	p := Problem{File: w.file, Line: w.line + 1}
	if found := yamlLine.FindStringSubmatch(text); found != nil {
		if n, err := strconv.Atoi(found[1]); err == nil {
			p.Line = w.line + n
		}
		text = text[len(found[0]):]
	}
	p.Message = "YAML: " + text
	if line, column := indentedByTab(document, p.Line-w.line); line > 0 {
		p.Line, p.Column, p.Message = w.line+line, column, "YAML: expected spaces before the text of the line, found a tab"
	}
	w.ps.add(p)
}

// indentedByTab returns where, in a line or in one beside it, a tab stands before the text, or 0.
func indentedByTab(text []byte, near int) (line, column int) {
	for line = max(1, near-1); line <= near+1; line++ {
		for i, c := range textLine(text, line) {
			if c == '\t' {
				return line, i + 1
			}
			if c != ' ' {
				break
			}
		}
	}
	return 0, 0
}

// inspect refuses what makes a tree larger than its text or its meaning depend on the reader. It stops at the first of them.
func (w *walker) inspect(n *yaml.Node, depth int) bool {
	w.pace.Step()
	switch {
	case depth > MaxDepth:
		w.at(n, "", fmt.Sprintf("expected at most %d levels", MaxDepth))
	case n.Kind == yaml.AliasNode:
		w.at(n, "", "aliases are not supported")
	case n.Anchor != "":
		w.at(n, "", "anchors are not supported")
	case n.Style&yaml.TaggedStyle != 0:
		w.at(n, "", "tags are not supported")
	default:
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 && child.ShortTag() == "!!merge" {
				w.at(child, "", "merge keys are not supported")
				return false
			}
			if !w.inspect(child, depth+1) {
				return false
			}
		}
		return true
	}
	return false
}

// kind returns the kind of a document, or "" where a mistake was reported.
func (w *walker) kind(root *yaml.Node) string {
	version := v1alpha1.GroupVersion.String()
	for _, key := range []struct {
		name string
		want []string
	}{{"apiVersion", []string{version}}, {"kind", []string{kindMesh, kindDtab}}} {
		n := child(root, key.name)
		switch {
		case n == nil:
			hint := ""
			if child(root, "routers") != nil {
				hint = "; a configuration of Linkerd goes below spec of a Mesh: docs/linkerd1.md says what differs"
			}
			w.at(root, key.name, "required: "+orList(key.want)+hint)
			return ""
		case !slices.Contains(key.want, n.Value):
			w.at(n, key.name, "expected "+orList(key.want)+", found "+found(n)+spelling.DidYouMean(n.Value, key.want))
			return ""
		}
	}
	return child(root, "kind").Value
}

// decode fills the object, or reports what does not fit.
func (w *walker) decode(root *yaml.Node, object any) bool {
	w.value(root, reflect.TypeOf(object).Elem(), nil, rule{})
	if !w.ps.none() {
		return false
	}
	if err := json.Unmarshal(w.out.Bytes(), object); err != nil {
		w.at(root, "", err.Error())
		return false
	}
	return true
}

// step is the last part of the path to a node. Paths are written out for mistakes alone.
type step struct {
	parent *step
	key    string
	index  int
}

func (s *step) String() string {
	switch {
	case s == nil:
		return ""
	case s.key == "":
		return s.parent.String() + "[" + strconv.Itoa(s.index) + "]"
	case s.parent == nil:
		return s.key
	}
	return s.parent.String() + "." + s.key
}

// child returns the value of a key of a mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// found describes a node for a message.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "null"
	case "!!int", "!!float":
		return "the number " + clip(n.Value)
	case "!!bool":
		return "the boolean " + clip(n.Value)
	}
	return "the string " + shown(n.Value)
}

func clip(s string) string {
	if len(s) > maxShown {
		return s[:maxShown] + "..."
	}
	return s
}
