package naming

import "github.com/fairlead/fairlead/proxy/dtab"

// Transformer changes what names are bound to: the endpoints of a bound name (Change), or the name itself (Path). It is immutable and
// has an identity: what two leaves with the same endpoints become by the same Transformer is the same.
type Transformer struct {
	// Prefix, /%/<kind>/<params>, stands before the bound names that went through it.
	Prefix dtab.Path
	// Change returns the endpoints that take the place of those given, which it must not change. It is called after every change of
	// them, and its result depends on them and on the Transformer alone.
	Change func([]Endpoint) []Endpoint
	// Path, where it is not nil, takes the place of every bound name. It is looked up by the namers, not in the dtab.
	Path dtab.Path
	// Always makes Path also the answer for names that lead nowhere, or are not known yet.
	Always bool
}

// apply returns the bound name with its endpoints changed.
func (t *Transformer) apply(b *Bound) *Bound {
	out := *b
	out.ID = t.Prefix.Append(b.ID...)
	if t.Change != nil && b.Status == 0 {
		out.Addrs = transformed{Live: b.Addrs, by: t}
	}
	return &out
}

// named is the part of a Transformer that stays to be done once Path has been bound.
func (t *Transformer) named() *Transformer { return &Transformer{Prefix: t.Prefix} }

// transformed shows a live set of endpoints as a Transformer makes it. It is computed by whoever loads it: there is nothing to end. It
// is comparable, so that leaves with one set of endpoints still have one set.
type transformed struct {
	Live[Addrs]
	by *Transformer
}

// Load implements Live.
func (t transformed) Load() (Addrs, State, error) {
	a, s, err := t.Live.Load()
	if s == Pending || s == Failed && a.Endpoints == nil {
		return a, s, err
	}
	return Addrs{Endpoints: t.by.Change(a.Endpoints), None: a.None}, s, err
}

// Close implements Live; the name that was bound owns the endpoints.
func (t transformed) Close() {}

// Whole returns the endpoints that a bound name has before any transformer: what the namer knows of it.
func Whole(a Live[Addrs]) Live[Addrs] {
	for {
		t, ok := a.(transformed)
		if !ok {
			return a
		}
		a = t.Live
	}
}

// transformers are those of an evaluation that a bound leaf has yet to go through.
type transformers []*Transformer

// constant returns the last of them that ignores what it is given, and those after it.
func (ts transformers) constant() (t *Transformer, rest transformers) {
	for i := len(ts) - 1; i >= 0; i-- {
		if ts[i].Always {
			return ts[i], ts[i+1:]
		}
	}
	return nil, ts
}

// transform takes a bound leaf through the transformers.
func (e *evaluation) transform(b *Bound, depth int, from origin) outcome {
	for i, t := range from.then {
		if t.Path != nil {
			from.then = from.then[i+1:]
			return e.replace(t, depth, from)
		}
		b = t.apply(b)
	}
	return outcome{verdict: bound, tree: Tree{Kind: dtab.Leaf, Bound: b, Source: from.source, Path: from.path}}
}

// replace binds the path of a transformer by the namers. What is bound goes through those of from.then.
func (e *evaluation) replace(t *Transformer, depth int, from origin) outcome {
	if depth++; depth >= dtab.MaxDepth {
		return outcome{verdict: broken, err: &RuleError{t.Path, &depthError{}}}
	}
	return e.lookup(t.Path, depth, from.instead(t)).through(turn{by: t.Prefix})
}

// instead returns the origin of a transformer's path. The path is the configuration's own, so it may be an address whoever asked.
func (from origin) instead(t *Transformer) origin {
	from.local = false
	from.then = append(transformers{t.named()}, from.then...)
	return from
}
