package dtab

import "iter"

// Rules are dentries in their order, as a Table is made of. A proxy has hundreds of thousands of them, and requests meet few: those
// that came as texts stay texts, and each is parsed again when it is asked for. Nil has none. Rules are never modified once made, so any
// goroutine may use them.
type Rules struct {
	// One of the two is nil.
	parsed Dtab
	texts  Texts
	// object is that of the texts.
	object string
}

// Texts are the two sides of dentries. They never change.
type Texts interface {
	Len() int
	Text(i int) (prefix, dst string)
}

// RulesOf returns the dentries of d, with the Sources they have.
func RulesOf(d Dtab) *Rules {
	if len(d) == 0 {
		return nil
	}
	return &Rules{parsed: d}
}

// TextRules returns the dentries that texts hold, in none of which Parser.Check found an error. Their Sources are of the object.
func TextRules(object string, texts Texts) *Rules {
	if texts.Len() == 0 {
		return nil
	}
	return &Rules{texts: texts, object: object}
}

// Len returns the number of dentries.
func (r *Rules) Len() int {
	switch {
	case r == nil:
		return 0
	case r.texts == nil:
		return len(r.parsed)
	}
	return r.texts.Len()
}

// At returns dentry i.
func (r *Rules) At(i int) Dentry { return Dentry{r.prefix(new(Parser), i), r.dst(i), r.source(i)} }

// All yields each dentry with its index.
func (r *Rules) All() iter.Seq2[int, Dentry] {
	return func(yield func(int, Dentry) bool) {
		for i := range r.Len() {
			if !yield(i, r.At(i)) {
				return
			}
		}
	}
}

// Dtab returns all dentries.
func (r *Rules) Dtab() Dtab {
	switch {
	case r == nil:
		return nil
	case r.texts == nil:
		return r.parsed
	}
	d := make(Dtab, 0, r.Len())
	for _, e := range r.All() {
		d = append(d, e)
	}
	return d
}

// prefix returns the prefix of dentry i, which is good until memory is used again.
func (r *Rules) prefix(memory *Parser, i int) Prefix {
	if r.texts == nil {
		return r.parsed[i].Prefix
	}
	text, _ := r.texts.Text(i)
	p := parser{memory: memory.again(), in: text}
	return p.prefix()
}

func (r *Rules) dst(i int) Tree {
	if r.texts == nil {
		return r.parsed[i].Dst
	}
	_, text := r.texts.Text(i)
	p := parser{memory: new(Parser), in: text}
	return p.wholeTree()
}

func (r *Rules) source(i int) Source {
	if r.texts == nil {
		return r.parsed[i].Source
	}
	return Source{Object: r.object, Index: i}
}
