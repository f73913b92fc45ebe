package dtab

import "slices"

// Elem is one element of a prefix: a label, or the wildcard that stands for any one element.
type Elem struct {
	// Label is the raw bytes to match. It counts only where Any is false.
	Label string
	// Any is the wildcard, written "*".
	Any bool
}

// Prefix is what a dentry matches the front of a path with. Nil is "/" and matches every path.
type Prefix []Elem

// ParsePrefix reads one prefix, with blanks and comments around it allowed. The error is an *Error.
func ParsePrefix(s string) (Prefix, error) {
	p := parser{memory: new(Parser), in: s}
	prefix := p.prefix()
	p.end("end of input")
	if p.err != nil {
		return nil, p.err
	}
	return prefix, nil
}

// String returns the show form, in which the wildcard is "*".
func (x Prefix) String() string { return string(x.appendShow(nil)) }

func (x Prefix) appendShow(b []byte) []byte {
	if len(x) == 0 {
		return append(b, '/')
	}
	for _, e := range x {
		b = append(b, '/')
		if e.Any {
			b = append(b, '*')
		} else {
			b = appendElement(b, e.Label)
		}
	}
	return b
}

// Equal reports whether both prefixes have the same elements. A wildcard equals only a wildcard.
func (x Prefix) Equal(y Prefix) bool {
	return slices.EqualFunc(x, y, func(a, b Elem) bool { return a.Any == b.Any && (a.Any || a.Label == b.Label) })
}

// Matches reports whether p begins with this prefix, and how many elements of p the match uses. A wildcard uses exactly one.
func (x Prefix) Matches(p Path) (n int, ok bool) {
	if len(p) < len(x) {
		return 0, false
	}
	for i, e := range x {
		if !e.Any && e.Label != p[i] {
			return 0, false
		}
	}
	return len(x), true
}
