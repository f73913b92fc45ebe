package dtab

import (
	"fmt"
	"strconv"
	"strings"
)

// parser reads one text by recursive descent. The first error is kept and moves the position to the end, so that every loop
// ends; what was read is then of no use.
type parser struct {
	memory *Parser
	in     string
	pos    int
	field  string
	err    *Error

	nesting, nodes int
}

// fail keeps the error that the character at the position is not what was expected.
func (p *parser) fail(expected, want string) {
	if p.err == nil {
		p.err = newError(p.in, p.pos, expected, want)
		p.err.Field = p.field
	}
	p.pos = len(p.in)
}

// exceed keeps the error that a limit was passed at the position.
func (p *parser) exceed(limit string, value int, of string) {
	if p.err == nil {
		s := fmt.Sprintf("at most %d %s", value, of)
		p.fail(s, s)
		p.err.Limit = limit
	}
}

// peek returns the next byte. At the end it returns 0, which the grammar gives no meaning.
func (p *parser) peek() byte {
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return 0
}

func (p *parser) maybe(c byte) bool {
	if p.pos < len(p.in) && p.in[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// eat reads c. want says what stands there in the grammar, where "c" alone would not tell.
func (p *parser) eat(c byte, want string) {
	if !p.maybe(c) {
		p.fail("'"+string(rune(c))+"'", want)
	}
}

// blanks skips white space and comments.
func (p *parser) blanks() {
	for p.pos < len(p.in) {
		switch p.in[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		case '#':
			i := strings.IndexByte(p.in[p.pos:], '\n')
			if i < 0 {
				p.pos = len(p.in)
				return
			}
			p.pos += i + 1
		default:
			return
		}
	}
}

// end checks that only blanks are left. want says what could also have stood there.
func (p *parser) end(want string) {
	p.blanks()
	if p.pos < len(p.in) {
		p.fail("end of input", want)
	}
}

func (p *parser) labelNext() bool {
	c := p.peek()
	return c == '\\' || showable(c)
}

// label reads one element.
func (p *parser) label() string {
	start := p.pos
	for showable(p.peek()) {
		p.pos++
	}
	if p.peek() != '\\' {
		if p.pos == start {
			p.fail("label char", "a label character")
		}
		return p.in[start:p.pos]
	}
	b := []byte(p.in[start:p.pos])
	for p.labelNext() {
		if c := p.peek(); c != '\\' {
			b = append(b, c)
			p.pos++
			continue
		}
		p.pos++
		p.eat('x', `'x' and two hexadecimal digits after '\'`)
		hi := p.hex()
		b = append(b, hi<<4|p.hex())
	}
	return string(b)
}

func (p *parser) hex() byte {
	c := p.peek()
	switch {
	case '0' <= c && c <= '9':
		c -= '0'
	case 'a' <= c && c <= 'f':
		c -= 'a' - 10
	case 'A' <= c && c <= 'F':
		c -= 'A' - 10
	default:
		p.fail("hex char", "a hexadecimal digit")
		return 0
	}
	p.pos++
	return c
}

// elements returns how many elements the path has that begins here, if it is one.
func (p *parser) elements() int {
	n := 1
	for _, c := range []byte(p.in[p.pos:]) {
		switch {
		case c == '/' && n < MaxPathElements:
			n++
		case c != '*' && c != '\\' && !showable(c):
			return n
		}
	}
	return n
}

func (p *parser) path() Path {
	p.blanks()
	p.eat('/', "'/'")
	if !p.labelNext() {
		return nil
	}
	path := Path(p.memory.paths.take(p.elements()))
	for {
		if len(path) == MaxPathElements {
			p.exceed("MaxPathElements", MaxPathElements, "path elements")
			return nil
		}
		path = append(path, p.label())
		if !p.maybe('/') {
			return path
		}
	}
}

func (p *parser) prefix() Prefix {
	p.blanks()
	p.eat('/', "'/'")
	if !p.labelNext() && p.peek() != '*' {
		return nil
	}
	x := Prefix(p.memory.prefixes.take(p.elements()))
	for {
		if len(x) == MaxPathElements {
			p.exceed("MaxPathElements", MaxPathElements, "path elements")
			return nil
		}
		if p.maybe('*') {
			x = append(x, Elem{Any: true})
		} else {
			x = append(x, Elem{Label: p.label()})
		}
		if !p.maybe('/') {
			return x
		}
	}
}

func (p *parser) wholeTree() Tree {
	p.nesting, p.nodes = 0, 0
	return p.alt()
}

func (p *parser) alt() Tree             { return p.branches(Alt, '|', p.unionBranch) }
func (p *parser) union() Tree           { return p.branches(Union, '&', p.weighted) }
func (p *parser) unionBranch() Weighted { return Weighted{Weight: 1, Tree: p.union()} }

// branches reads one or more branches with sep between them. One branch alone is no node, and loses its weight.
func (p *parser) branches(kind Kind, sep byte, branch func() Weighted) Tree {
	first := branch()
	p.blanks()
	if p.peek() != sep {
		return first.Tree
	}
	t := Tree{Kind: kind, Branches: append(p.memory.branches.take(2), first)}
	p.count()
	for p.maybe(sep) {
		t.Branches = append(t.Branches, branch())
		p.blanks()
	}
	return t
}

// count counts one node of the tree.
func (p *parser) count() {
	if p.nodes++; p.nodes > MaxTreeNodes {
		p.exceed("MaxTreeNodes", MaxTreeNodes, "nodes in a tree")
	}
}

func (p *parser) weighted() Weighted {
	p.blanks()
	weight := 1.0
	if c := p.peek(); c == '.' || '0' <= c && c <= '9' {
		weight = p.weight()
		p.blanks()
		p.eat('*', "'*' after a weight")
	}
	return Weighted{Weight: weight, Tree: p.simple()}
}

func (p *parser) weight() float64 {
	start := p.pos
	whole := p.digits()
	fraction := 0
	if p.maybe('.') {
		fraction = p.digits()
	}
	switch {
	case p.peek() == '.':
		p.fail("number char", "a digit or '*'")
	case whole+fraction == 0:
		p.fail("weight", "a digit")
	case whole > MaxWeightDigits || fraction > MaxWeightDigits:
		p.pos = start
		p.exceed("MaxWeightDigits", MaxWeightDigits, "digits on each side of the point of a weight")
	}
	if p.err != nil {
		return 0
	}
	w, err := strconv.ParseFloat(p.in[start:p.pos], 64)
	if err != nil || w > MaxWeight {
		p.pos = start
		p.exceed("MaxWeight", MaxWeight, "as a weight")
	}
	return w
}

func (p *parser) digits() (n int) {
	for ; '0' <= p.peek() && p.peek() <= '9'; n++ {
		p.pos++
	}
	return n
}

func (p *parser) simple() Tree {
	p.blanks()
	switch p.peek() {
	case '(':
		return p.parenthesised()
	case '/':
		p.count()
		return Tree{Kind: Leaf, Path: p.path()}
	case '~':
		return p.single(Neg)
	case '!':
		return p.single(Fail)
	case '$':
		return p.single(Empty)
	}
	p.fail("simple", "a path, '~', '!', '$' or '('")
	return Tree{}
}

func (p *parser) single(k Kind) Tree {
	p.pos++
	p.count()
	return Tree{Kind: k}
}

func (p *parser) parenthesised() Tree {
	if p.nesting == MaxNesting {
		p.exceed("MaxNesting", MaxNesting, "nested parentheses")
		return Tree{}
	}
	p.nesting++
	p.pos++
	t := p.alt()
	p.blanks()
	p.eat(')', "'|', '&' or ')'")
	p.nesting--
	return t
}

func (p *parser) dtab() Dtab {
	var d Dtab
	for {
		if p.blanks(); p.pos == len(p.in) {
			return d
		}
		if len(d) == MaxDentries {
			p.exceed("MaxDentries", MaxDentries, "dentries")
			return nil
		}
		x := p.prefix()
		p.blanks()
		p.eat('=', "'=>' after the prefix")
		p.eat('>', "'=>' after the prefix")
		t := p.wholeTree()
		d = append(d, Dentry{Prefix: x, Dst: t, Source: Source{Index: len(d)}})
		if p.blanks(); !p.maybe(';') {
			return d
		}
	}
}
