// Package rewrite is the io.l5d.rewrite namer: a pattern with captures takes the place of the front of a name.
package rewrite

import (
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// Namer rewrites names that begin with its pattern (linkerd1.md section 4.7). The result re-enters the dtab.
type Namer struct {
	pattern []element
	name    []element
	exact   bool
}

// element is one part of a pattern or a name: texts with variables between them.
type element struct {
	// texts has one more than variables has; the first stands before the first variable.
	texts     []string
	variables []string
	// any is the wildcard of a pattern, which matches one whole element.
	any bool
	// whole means that nothing may stand before the first text or after the last.
	whole bool
}

// New returns the namer. Pattern and name are paths whose elements may hold {variables}, and pattern may hold the wildcard *; every
// variable of name must be captured by pattern. The part of a name beyond the pattern is dropped, or makes it Neg where exact is set.
func New(pattern, name string, exact bool) (*Namer, error) {
	p, err := elements(pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	n, err := elements(name)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", name, err)
	}
	captured := make(map[string]bool)
	for i := range p {
		for _, v := range p[i].variables {
			captured[v] = true
		}
		p[i].whole = exact
	}
	for _, e := range n {
		if e.any {
			return nil, fmt.Errorf("name %q: a wildcard says nothing here", name)
		}
		for _, v := range e.variables {
			if !captured[v] {
				return nil, fmt.Errorf("name %q: {%s} is not in pattern %q", name, v, pattern)
			}
		}
	}
	return &Namer{pattern: p, name: n, exact: exact}, nil
}

func elements(s string) ([]element, error) {
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return nil, fmt.Errorf("expected a leading /")
	}
	if rest == "" {
		return nil, nil
	}
	var out []element
	for part := range strings.SplitSeq(rest, "/") {
		e, err := parseElement(part)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func parseElement(part string) (element, error) {
	switch part {
	case "":
		return element{}, fmt.Errorf("expected text between slashes")
	case "*":
		return element{any: true}, nil
	}
	var e element
	for {
		text, rest, more := strings.Cut(part, "{")
		if text != "" {
			path, err := dtab.ParsePath("/" + text)
			if err != nil {
				return element{}, err
			}
			if len(path) != 1 || strings.TrimSpace(text) != text {
				return element{}, fmt.Errorf("expected text without blanks in %q", part)
			}
			text = path[0]
		}
		e.texts = append(e.texts, text)
		if !more {
			return e, nil
		}
		variable, after, closed := strings.Cut(rest, "}")
		if !closed || variable == "" || strings.Contains(variable, "{") {
			return element{}, fmt.Errorf("expected a name and } after { in %q", part)
		}
		e.variables, part = append(e.variables, variable), after
	}
}

// Lookup implements naming.Namer.
func (n *Namer) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	if len(p) < len(n.pattern) || n.exact && len(p) > len(n.pattern) {
		return naming.Fixed(naming.Neg())
	}
	vars := make(map[string]string)
	for i, e := range n.pattern {
		if !e.match(p[i], vars) {
			return naming.Fixed(naming.Neg())
		}
	}
	out := make(dtab.Path, len(n.name))
	for i, e := range n.name {
		if out[i] = e.fill(vars); out[i] == "" {
			return naming.Fixed(naming.Neg()) // no path has such an element
		}
	}
	return naming.Fixed(naming.PathLeaf(out))
}

// match puts into vars what the variables stand for: the first text stands as early as it can, each later one as late as it can.
func (e *element) match(s string, vars map[string]string) bool {
	if e.any {
		return true
	}
	n := len(e.variables)
	if n == 0 {
		return s == e.texts[0]
	}
	if e.whole && !(strings.HasPrefix(s, e.texts[0]) && strings.HasSuffix(s, e.texts[n])) {
		return false
	}
	front := strings.Index(s, e.texts[0])
	if front < 0 {
		return false
	}
	front += len(e.texts[0])
	found := make([]int, n) // where the text after each variable stands
	end := len(s)
	for i := n - 1; i >= 0; i-- {
		if end = strings.LastIndex(s[:end], e.texts[i+1]); end < front {
			return false
		}
		found[i] = end
	}
	for i, v := range e.variables {
		vars[v] = s[front:found[i]]
		front = found[i] + len(e.texts[i+1])
	}
	return true
}

func (e *element) fill(vars map[string]string) string {
	var b strings.Builder
	b.WriteString(e.texts[0])
	for i, v := range e.variables {
		b.WriteString(vars[v])
		b.WriteString(e.texts[i+1])
	}
	return b.String()
}
