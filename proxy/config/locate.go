package config

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Locate returns err, which AcceptMesh, AcceptDtab or Build gave for one of these objects, with the file, line and column of each
// problem. Other objects, and nil, come back as they are. The document is read again for it: mistakes are rare.
func (d *Documents) Locate(object any, err *Error) *Error {
	c, ok := d.sources[object]
	if err == nil || !ok {
		return err
	}
	out := &Error{Reason: err.Reason, More: err.More, Problems: make([]Problem, len(err.Problems))}
	root := (&walker{ps: &problems{}}).parse(c.text)
	for i, p := range err.Problems {
		inLine, inColumn := p.Line, p.Column
		p.File, p.Line, p.Column = d.name, c.line+1, 1
		if root != nil {
			n, exact := lookup(root, p.Field)
			p.Line, p.Column = n.Line, n.Column
			if exact && inLine > 0 {
				p.Line, p.Column = inside(c.text, n, inLine, inColumn)
			}
			p.Line += c.line
		}
		out.Problems[i] = p
	}
	inOrder(out.Problems)
	return out
}

// inOrder sorts the problems of one file by where they stand in it.
func inOrder(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
}

// lookup returns the node of a field, or of the nearest one around it that is there.
func lookup(root *yaml.Node, field string) (n *yaml.Node, exact bool) {
	n = root
	for _, part := range strings.Split(field, ".") {
		name, indexes, _ := strings.Cut(part, "[")
		next := child(n, name)
		if next == nil {
			return n, false
		}
		n = next
		for indexes != "" {
			var index string
			index, indexes, _ = strings.Cut(indexes, "]")
			indexes = strings.TrimPrefix(indexes, "[")
			i, err := strconv.Atoi(index)
			if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
				return n, false
			}
			n = n.Content[i]
		}
	}
	return n, true
}

// inside returns where in the text a place in the value of a scalar stands. Where the value is not written as it is (escapes,
// folded lines), it returns where the scalar begins.
func inside(text []byte, n *yaml.Node, line, column int) (int, int) {
	values := strings.Split(n.Value, "\n")
	if line > len(values) {
		return n.Line, n.Column
	}
	atLine, atColumn := n.Line, n.Column
	switch n.Style {
	case yaml.LiteralStyle:
		first := textLine(text, n.Line+1)
		atLine, atColumn = n.Line+line, 1+len(first)-len(strings.TrimLeft(first, " "))
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		if line > 1 {
			return n.Line, n.Column
		}
		atColumn++
	case 0:
		if line > 1 {
			return n.Line, n.Column
		}
	default:
		return n.Line, n.Column
	}
	runes := []rune(textLine(text, atLine))
	value := values[line-1]
	from, to := atColumn-1, atColumn-1+utf8.RuneCountInString(value)
	if to > len(runes) || string(runes[from:to]) != value {
		return n.Line, n.Column
	}
	return atLine, atColumn + column - 1
}

// textLine returns a line, counted from 1.
func textLine(text []byte, line int) string {
	for ; line > 1; line-- {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return ""
		}
		text = text[i+1:]
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return strings.TrimRight(string(first), "\r")
}
