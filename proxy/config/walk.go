package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/spelling"
)

// plan is the keys of a struct type.
type plan struct {
	names []string
	index map[string]int
	types []reflect.Type
	rules []rule
}

func (w *walker) planOf(t reflect.Type) *plan {
	if p, ok := w.plans[t]; ok {
		return p
	}
	p := &plan{index: map[string]int{}}
	p.add(t)
	w.plans[t] = p
	return p
}

func (p *plan) add(t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := jsonName(f)
		switch {
		case name == "" && f.Anonymous:
			p.add(f.Type)
		case name == "" || name == "-":
		default:
			p.index[name] = len(p.names)
			p.names = append(p.names, name)
			p.types = append(p.types, f.Type)
			r := rule{}
			if isOurs(t) {
				r = ruleOf(t.Name(), name)
			}
			p.rules = append(p.rules, r)
		}
	}
}

// value writes n as JSON of type t, or reports why it is not one.
func (w *walker) value(n *yaml.Node, t reflect.Type, at *step, r rule) {
	w.pace.Step()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[v1alpha1.Reserved]():
		w.out.WriteString("{}") // AcceptMesh says that it is not supported yet
	case t == reflect.TypeFor[v1alpha1.MeshStatus](), t == reflect.TypeFor[v1alpha1.DtabStatus]():
		w.out.WriteString("{}") // not ours to read: a file may be what kubectl get printed
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		w.custom(n, t, at)
	case t.Kind() == reflect.Struct:
		w.object(n, t, at)
	case t.Kind() == reflect.Map:
		w.stringMap(n, t, at)
	case t.Kind() == reflect.Slice:
		w.list(n, t, at)
	default:
		w.scalar(n, t, at, r)
	}
}

func (w *walker) wrong(n *yaml.Node, at *step, want string) {
	if w.full() {
		return
	}
	w.at(n, at.String(), "expected "+want+", found "+found(n))
}

// full counts a mistake that is beyond those listed. It spares making its message.
func (w *walker) full() bool {
	if len(w.ps.list) < MaxProblems {
		return false
	}
	w.ps.more++
	return true
}

func (w *walker) object(n *yaml.Node, t reflect.Type, at *step) {
	if n.Kind != yaml.MappingNode {
		w.wrong(n, at, "an object")
		return
	}
	p := w.planOf(t)
	lines := make([]int, len(p.names))
	w.out.WriteByte('{')
	comma := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field := w.knownKey(key, p, lines, at)
		if field < 0 || value.ShortTag() == "!!null" { // null is the same as no key
			continue
		}
		if comma {
			w.out.WriteByte(',')
		}
		comma = true
		w.quote(p.names[field])
		w.out.WriteByte(':')
		w.value(value, p.types[field], &step{parent: at, key: p.names[field]}, p.rules[field])
	}
	w.out.WriteByte('}')
}

// knownKey returns the field of a key, or -1 where the key is unknown or was given before. lines has the line of each field given.
func (w *walker) knownKey(key *yaml.Node, p *plan, lines []int, at *step) int {
	if key.Kind != yaml.ScalarNode {
		w.wrong(key, at, "a key")
		return -1
	}
	field, ok := p.index[key.Value]
	switch {
	case !ok:
		if w.full() {
			return -1
		}
		hint := spelling.DidYouMean(key.Value, p.names)
		if name, _, found := strings.Cut(key.Value, ":"); found && slices.Contains(p.names, name) {
			hint = fmt.Sprintf(": write a blank after the colon of %q, which is part of the key otherwise", name)
		} else if hint == "" {
			hint = ", expected " + orList(p.names)
		}
		w.at(key, at.String(), "unknown key "+shown(key.Value)+hint)
		return -1
	case lines[field] > 0:
		if !w.full() {
			w.at(key, at.String(), fmt.Sprintf("duplicate key %q, first given on line %d", key.Value, w.line+lines[field]))
		}
		return -1
	}
	lines[field] = key.Line
	return field
}

// stringMap reads a map whose values are strings or have an unmarshaler of their own.
func (w *walker) stringMap(n *yaml.Node, t reflect.Type, at *step) {
	if n.Kind != yaml.MappingNode {
		w.wrong(n, at, "an object")
		return
	}
	lines := map[string]int{}
	w.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			w.wrong(key, at, "a key")
			continue
		}
		if first, ok := lines[key.Value]; ok {
			if !w.full() {
				w.at(key, at.String(), fmt.Sprintf("duplicate key %s, first given on line %d", shown(key.Value), w.line+first))
			}
			continue
		}
		lines[key.Value] = key.Line
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.quote(key.Value)
		w.out.WriteByte(':')
		w.value(value, t.Elem(), &step{parent: at, key: key.Value}, rule{})
	}
	w.out.WriteByte('}')
}

func (w *walker) list(n *yaml.Node, t reflect.Type, at *step) {
	if n.Kind != yaml.SequenceNode {
		want := "a list"
		if t.Elem() == reflect.TypeFor[v1alpha1.Dentry]() && n.Kind == yaml.ScalarNode {
			want = `a list of rules, as in "- {prefix: /svc, dst: /host}" (a dtab as text, as Linkerd has it, is not taken here)`
		}
		w.wrong(n, at, want)
		return
	}
	w.out.WriteByte('[')
	for i, item := range n.Content {
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.value(item, t.Elem(), &step{parent: at, index: i}, rule{})
	}
	w.out.WriteByte(']')
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// scalar reads a string, a boolean, an integer or a number. An integer has its decimal form: YAML 1.1 and 1.2 disagree about 010, and
// readers about 1_000. A value that is given but counts as absent once decoded is held against its rule here.
func (w *walker) scalar(n *yaml.Node, t reflect.Type, at *step, r rule) {
	tag := n.ShortTag()
	message := ""
	switch t.Kind() {
	case reflect.String:
		if n.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!timestamp" {
			hint := ""
			if n.Kind == yaml.ScalarNode && tag != "!!null" {
				hint = " in quotes"
			}
			w.wrong(n, at, "a string"+hint)
			return
		}
		if n.Value == "" && !r.required {
			message = r.checkString("")
		}
		w.quote(n.Value)
	case reflect.Bool:
		if tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			w.wrong(n, at, "true or false")
			return
		}
		w.out.WriteString(n.Value)
	case reflect.Int32, reflect.Int64:
		v, err := strconv.ParseInt(n.Value, 10, t.Bits())
		if tag != "!!int" || !decimal.MatchString(n.Value) || err != nil {
			w.wrong(n, at, "a decimal integer")
			return
		}
		if v == 0 && !r.required {
			message = r.checkInt(0)
		}
		w.out.WriteString(n.Value)
	case reflect.Float64:
		v, err := strconv.ParseFloat(n.Value, 64)
		if tag != "!!int" && tag != "!!float" || !json.Valid([]byte(n.Value)) || err != nil {
			w.wrong(n, at, "a number, as in 0.5")
			return
		}
		if v == 0 {
			message = r.checkNumber(0)
		}
		w.out.WriteString(n.Value)
	default:
		w.wrong(n, at, "a value of type "+t.String())
	}
	if message != "" && !w.full() {
		w.at(n, at.String(), message)
	}
}

// custom reads a value whose type has an unmarshaler of its own, as quantities and times have.
func (w *walker) custom(n *yaml.Node, t reflect.Type, at *step) {
	data, err := json.Marshal(plain(n))
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil {
		w.wrong(n, at, "a "+strings.ToLower(t.Name()))
		return
	}
	w.out.Write(data)
}

// plain returns a node as values of encoding/json.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i := range n.Content {
			list[i] = plain(n.Content[i])
		}
		return list
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
	case "!!bool":
		return n.Value == "true"
	}
	return n.Value
}

func (w *walker) quote(s string) {
	data, _ := json.Marshal(s) // a string always has a JSON form
	w.out.Write(data)
}
