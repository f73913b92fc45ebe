// Package dtab is the language of delegation tables: paths, name trees, dentries and dtabs, with their one parser, their show
// form, and the single lookup step that rewrites a path by a dtab.
//
// It follows Finagle (NameTree, Path, Dtab) in grammar, in show form and in the text of parse errors. It does not delegate: it
// knows no namer, binds nothing and never looks a result up again. That is the work of package naming.
package dtab

import (
	"slices"
	"strings"
)

// The limits of this package. A text that exceeds one is refused with an *Error whose Limit names the constant.
const (
	// MaxPathElements is the largest number of elements of a parsed path or prefix.
	MaxPathElements = 1024
	// MaxNesting is how deep parentheses may nest in one tree.
	MaxNesting = 100
	// MaxTreeNodes is the largest number of nodes of one parsed tree.
	MaxTreeNodes = 4096
	// MaxDentries is the largest number of dentries that Parse reads from one text.
	MaxDentries = 250_000
	// MaxWeight is the largest weight of a union branch.
	MaxWeight = 1e9
	// MaxWeightDigits is the largest number of digits before, and again after, the point of a weight.
	MaxWeightDigits = 20
	// MaxDepth is how many times one name may be looked up in the course of its delegation. Nothing here enforces it: it stands
	// with the language because it decides what a dtab means (Finagle: "Max recursion level: 100 reached in Namer lookup").
	MaxDepth = 100
)

// Path is a sequence of elements, each raw bytes and not empty. Nil is the root, "/". A Path is never modified once made, so
// paths share memory freely.
type Path []string

// ParsePath reads one path, with blanks and comments around it allowed. The error is an *Error.
func ParsePath(s string) (Path, error) {
	p := parser{memory: new(Parser), in: s}
	path := p.path()
	p.end("end of input")
	if p.err != nil {
		return nil, p.err
	}
	return path, nil
}

// String returns the show form: an element whose bytes are all showable is printed as it is, of any other element every byte is
// printed as \xNN.
func (p Path) String() string {
	if len(p) == 0 {
		return "/"
	}
	n := 0
	for _, e := range p {
		n += 1 + len(e)
	}
	b := make([]byte, 0, n)
	return string(p.appendShow(b))
}

func (p Path) appendShow(b []byte) []byte {
	if len(p) == 0 {
		return append(b, '/')
	}
	for _, e := range p {
		b = append(b, '/')
		b = appendElement(b, e)
	}
	return b
}

func appendElement(b []byte, e string) []byte {
	const hex = "0123456789abcdef"
	if !strings.ContainsFunc(e, func(r rune) bool { return r >= 0x80 || !showable(byte(r)) }) {
		return append(b, e...)
	}
	for i := range len(e) {
		b = append(b, '\\', 'x', hex[e[i]>>4], hex[e[i]&15])
	}
	return b
}

// showable reports whether c may stand in a label as itself.
func showable(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		return true
	}
	switch c {
	case '_', ':', '.', '#', '$', '%', '-':
		return true
	}
	return false
}

// Equal reports whether both paths have the same elements.
func (p Path) Equal(q Path) bool { return slices.Equal(p, q) }

// HasPrefix reports whether p begins with all elements of q. Every path has the prefix "/".
func (p Path) HasPrefix(q Path) bool {
	return len(p) >= len(q) && slices.Equal(p[:len(q)], q)
}

// Append returns a new path of p followed by elems. It copies, so that two paths made from one never share a tail.
func (p Path) Append(elems ...string) Path {
	if len(p)+len(elems) == 0 {
		return nil
	}
	q := make(Path, 0, len(p)+len(elems))
	return append(append(q, p...), elems...)
}

// Untransformed returns the part of a bound name behind the prefixes that transformers put before it (/%/<kind>/<params>, any
// number of them), or the whole of a name that has none. Names of namers begin with # or $, which no parameter is.
func (p Path) Untransformed() Path {
	if len(p) == 0 || p[0] != "%" {
		return p
	}
	for i, e := range p {
		if e == "#" || e == "$" {
			return p[i:]
		}
	}
	return p
}

// Transformers returns the kinds of the transformers that a bound name went through, the last of them first.
func (p Path) Transformers() []string {
	var kinds []string
	front := p[:len(p)-len(p.Untransformed())]
	for i := 0; i+1 < len(front); i++ {
		if front[i] == "%" {
			kinds = append(kinds, front[i+1])
		}
	}
	return kinds
}
