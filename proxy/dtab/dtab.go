package dtab

import "slices"

// Dentry is one rule of a dtab: paths that begin with Prefix become Dst.
type Dentry struct {
	Prefix Prefix
	Dst    Tree
	// Source is put on every node of the trees that this dentry produces.
	Source Source
}

// ParseDentry reads a dentry whose two sides are given apart. The error is an *Error whose Field is "prefix" or "dst", and whose
// position counts from the start of that field.
func ParseDentry(prefix, dst string) (Dentry, error) { return new(Parser).dentry(prefix, dst) }

// Check returns the error of ParseDentry.
func (shared *Parser) Check(prefix, dst string) error {
	_, err := shared.again().dentry(prefix, dst)
	return err
}

func (shared *Parser) dentry(prefix, dst string) (Dentry, error) {
	p := parser{memory: shared, in: prefix, field: "prefix"}
	x := p.prefix()
	p.end("'/' or the end")
	if p.err != nil {
		return Dentry{}, p.err
	}
	p = parser{memory: shared, in: dst, field: "dst"}
	t := p.wholeTree()
	p.end("'|', '&' or the end")
	if p.err != nil {
		return Dentry{}, p.err
	}
	return Dentry{Prefix: x, Dst: t}, nil
}

// String returns the show form, as in "/svc=>/host".
func (d Dentry) String() string { return string(d.appendShow(nil)) }

func (d Dentry) appendShow(b []byte) []byte {
	b = append(d.Prefix.appendShow(b), "=>"...)
	return d.Dst.appendShow(b, Leaf)
}

// Equal reports whether prefix and dst are equal. Sources do not count.
func (d Dentry) Equal(e Dentry) bool { return d.Prefix.Equal(e.Prefix) && d.Dst.Equal(e.Dst) }

// Dtab is a delegation table. Later dentries are preferred to earlier ones. A Dtab is never modified once made.
type Dtab []Dentry

// Parse reads dentries separated by ";", with one trailing ";" allowed. A text of blanks and comments alone is the empty dtab.
// Each dentry gets its position as Source.Index. The error is an *Error.
func Parse(s string) (Dtab, error) {
	p := parser{memory: new(Parser), in: s}
	d := p.dtab()
	p.end("';', '|', '&' or the end")
	if p.err != nil {
		return nil, p.err
	}
	return d, nil
}

// String returns the show form, which Parse reads back as an equal dtab.
func (d Dtab) String() string {
	var b []byte
	for i, e := range d {
		if i > 0 {
			b = append(b, ';')
		}
		b = e.appendShow(b)
	}
	return string(b)
}

// Equal reports whether both dtabs have equal dentries in the same order. Sources do not count.
func (d Dtab) Equal(e Dtab) bool { return slices.EqualFunc(d, e, Dentry.Equal) }

// Concat returns a new dtab of d followed by others, so that the last of others is preferred to all. Sources stay.
func (d Dtab) Concat(others ...Dtab) Dtab {
	return slices.Concat(append([]Dtab{d}, others...)...)
}

// StripPrefix returns d without its leading dentries where these equal all of prefix, and d itself otherwise.
func (d Dtab) StripPrefix(prefix Dtab) Dtab {
	if len(prefix) <= len(d) && d[:len(prefix)].Equal(prefix) {
		return d[len(prefix):]
	}
	return d
}

// Simplify returns d with every dst simplified, and without the dentries whose dst is then Neg. It is for showing: two or more
// "~" for one prefix hide a namer (Lookup gives "~ | ~", not "~"), and do so no longer once they are gone.
func (d Dtab) Simplify() Dtab {
	var out Dtab
	for _, e := range d {
		if e.Dst = e.Dst.Simplify(); e.Dst.Kind != Neg {
			out = append(out, e)
		}
	}
	return out
}

// Lookup does one lookup step. Every dentry whose prefix matches the front of p gives its tree, with the rest of p appended to
// every leaf and its Source on every node. No match gives Neg, one gives that tree, more give an Alt of the trees, last dentry
// first. The cost grows with the dtab: a dtab that is used again should be compiled.
func (d Dtab) Lookup(p Path) Tree {
	return join(d.appendHits(nil, p))
}

// appendHits appends the rewritten tree of every matching dentry, last dentry first.
func (d Dtab) appendHits(hits []Weighted, p Path) []Weighted {
	for i := len(d) - 1; i >= 0; i-- {
		if n, ok := d[i].Prefix.Matches(p); ok {
			hits = append(hits, d[i].hit(p, n))
		}
	}
	return hits
}

// hit returns the dst for p, of which the prefix used n elements.
func (d *Dentry) hit(p Path, n int) Weighted {
	return Weighted{Weight: 1, Tree: d.Dst.rewrite(behind(p, n), d.Source)}
}

// behind returns the elements of p that follow the first n.
func behind(p Path, n int) Path { return p[n:len(p):len(p)] }

// join makes one tree of the hits of a lookup.
func join(hits []Weighted) Tree {
	switch len(hits) {
	case 0:
		return Tree{Kind: Neg}
	case 1:
		return hits[0].Tree
	}
	return Tree{Kind: Alt, Branches: hits}
}
