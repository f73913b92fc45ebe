package naming

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// Limits of one delegation.
const (
	// MaxLookups bounds the look-ups of one evaluation: a union that doubles at each step reaches any depth's worth of leaves.
	MaxLookups = 4096
	// MaxLocalLookups bounds the part of them that the rules of a request itself lead to: each is work, and memory for as long as the
	// name is kept, that any client may ask for.
	MaxLocalLookups = 256
	// LocalObject is the Source.Object of the rules that a request brought with it.
	LocalObject = "l5d-dtab"
	// maxErrorPath bounds the path in the text of an error: loops make long ones.
	maxErrorPath = 128
)

// Errors of a delegation. They come from the rules, so that no earlier answer stands in for them.
var (
	// ErrMaxDepth is Linkerd's "Max recursion level: 100 reached in Namer lookup".
	ErrMaxDepth = fmt.Errorf("max recursion level: %d reached in namer lookup", dtab.MaxDepth)
	// ErrMaxLookups means that the rules fan out too far.
	ErrMaxLookups = fmt.Errorf("more than %d lookups for one name", MaxLookups)
	// ErrMaxLocalLookups means that the rules of the request itself fan out too far.
	ErrMaxLocalLookups = fmt.Errorf("more than %d lookups by rules of the request itself", MaxLocalLookups)
	// ErrLocalAddress means that a request's own rules lead to an address.
	ErrLocalAddress = errors.New("rules of the request itself may not lead to an address")
)

// RuleError is an error that the rules themselves make: another answer of a namer does not mend it.
type RuleError struct {
	Path dtab.Path
	Err  error
}

// Error implements error.
func (e *RuleError) Error() string {
	return cut(e.Path.String(), maxErrorPath) + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *RuleError) Unwrap() error { return e.Err }

// verdict is what a part of a delegation came to. The order is that of a union's preference among branches that gave no tree.
type verdict uint8

const (
	bound verdict = iota
	neg
	fail
	empty
	pending
	broken
)

type outcome struct {
	verdict verdict
	tree    Tree
	err     error
	// ends says of a bound tree without a live endpoint that no alternate may take its place: the delegation would end without it.
	ends bool
}

// origin is the rule that a path came from: what its traffic is attributed to.
type origin struct {
	source dtab.Source
	path   dtab.Path
	local  bool
	// then holds the transformers that a bound name goes through after those of its namer.
	then transformers
	// trail holds the paths from the first one on, where they are wanted.
	trail *visit
}

// evaluation is one pass over the rules for one name. deps keeps what the namers answered over passes.
type evaluation struct {
	rules *rules
	// isOwn says that the path is the request's own, as local is.
	isOwn   bool
	local   dtab.Dtab
	deps    *deps
	lookups int
	asked   int
	// byLocal counts those of lookups that the request's own rules led to.
	byLocal int
}

// run delegates the path. Rules that exceed MaxLookups anywhere are an error as a whole: a union would otherwise spread its requests
// over whatever was reached in time.
func (e *evaluation) run(p dtab.Path) outcome {
	from, first := e.begin()
	var out outcome
	if first != nil {
		out = e.replace(first, 0, from)
	} else {
		out = e.bind(p, 0, from)
	}
	if over := e.exceeded(); over != nil {
		return outcome{verdict: broken, err: &RuleError{p, over}}
	}
	e.told(out)
	return out
}

// begin returns where a delegation comes from, and the transformer that is all of it, or nil.
func (e *evaluation) begin() (origin, *Transformer) {
	from := origin{local: e.isOwn, then: e.rules.transformers}
	t, rest := from.then.constant()
	if t != nil {
		from.then = rest
	}
	return from, t
}

// exceeded returns the limit that was passed anywhere in the delegation, or nil.
func (e *evaluation) exceeded() error {
	switch {
	case e.lookups > MaxLookups || e.asked > MaxLookups:
		return ErrMaxLookups
	case e.byLocal > MaxLocalLookups:
		return ErrMaxLocalLookups
	}
	return nil
}

// enter counts a look-up, and returns the limit that it passes, or nil.
func (e *evaluation) enter(depth int, from origin) error {
	if depth >= dtab.MaxDepth {
		return &depthError{}
	}
	e.lookups++
	if from.local {
		e.byLocal++
	}
	return e.exceeded()
}

// bind is Linkerd's delegation (linkerd1.md section 4.3): the dtab first, then the namers, for every path.
func (e *evaluation) bind(p dtab.Path, depth int, from origin) outcome {
	if err := e.enter(depth, from); err != nil {
		return outcome{verdict: broken, err: &RuleError{p, err}}
	}
	tree := e.rules.table.LookupWith(e.local, p)
	if tree.Kind == dtab.Neg {
		return e.lookup(p, depth, from)
	}
	return e.rewritten(tree, p, depth, from)
}

// lookup asks the namers, the last mounted first.
func (e *evaluation) lookup(p dtab.Path, depth int, from origin) outcome {
	for i := len(e.rules.mounts) - 1; i >= 0; i-- {
		m := &e.rules.mounts[i]
		if !p.HasPrefix(m.Prefix) {
			continue
		}
		if out := e.ask(m, p, depth, from); out.verdict != neg {
			return out
		}
	}
	return outcome{verdict: neg}
}

func (e *evaluation) ask(m *Mount, p dtab.Path, depth int, from origin) outcome {
	if err := e.mayAsk(m, from); err != nil {
		return outcome{verdict: broken, err: &RuleError{p, err}}
	}
	if t, rest := transformers(m.Transformers).constant(); t != nil {
		from.then = slices.Concat(rest, from.then)
		return e.replace(t, depth, from)
	}
	tree, out := e.consult(m, p)
	if out.verdict != bound {
		return out
	}
	return e.answered(tree, m, depth, from)
}

// mayAsk counts a question to a namer, and returns why it may not be asked, or nil.
func (e *evaluation) mayAsk(m *Mount, from origin) error {
	if from.local && m.Address {
		return ErrLocalAddress
	}
	if e.asked++; e.asked > MaxLookups {
		return ErrMaxLookups
	}
	return nil
}

// consult returns the answer of one namer, which is yet to be evaluated where the verdict is bound.
func (e *evaluation) consult(m *Mount, p dtab.Path) (Tree, outcome) {
	tree, state, err := e.deps.lookup(m, p)
	switch {
	case state == Pending:
		return Tree{}, outcome{verdict: pending}
	case state == Failed && isUnset(tree):
		var rule *RuleError
		if !errors.As(err, &rule) {
			err = &namerError{m.Prefix, err}
		}
		return Tree{}, outcome{verdict: broken, err: err}
	}
	return tree, outcome{verdict: bound}
}

// namerError is why a namer gave no answer.
type namerError struct {
	prefix dtab.Path
	err    error
}

// Error implements error.
func (e *namerError) Error() string { return "namer " + e.prefix.String() + ": " + e.err.Error() }

// Unwrap returns the cause.
func (e *namerError) Unwrap() error { return e.err }

// isUnset reports whether a namer never gave an answer: the zero Tree is a leaf of nothing.
func isUnset(t Tree) bool {
	return t.Kind == dtab.Leaf && t.Bound == nil && t.Path == nil
}

// rewritten evaluates a tree that the dtab gave for p.
func (e *evaluation) rewritten(t dtab.Tree, p dtab.Path, depth int, from origin) outcome {
	switch t.Kind {
	case dtab.Leaf:
		return e.bind(t.Path, depth+1, from.by(t, p)).through(turn{source: t.Source, path: p})
	case dtab.Alt:
		return e.alt(len(t.Branches), func(i int) outcome { return e.rewritten(t.Branches[i].Tree, p, depth, from) }).outcome
	case dtab.Union:
		return union(len(t.Branches), func(i int) (float64, outcome) {
			return t.Branches[i].Weight, e.rewritten(t.Branches[i].Tree, p, depth, from)
		})
	}
	return constant(t.Kind)
}

// by returns the origin of the leaf that a rule made of p. Rules of a Dtab object are what traffic is attributed to, whatever the
// Mesh's own rules make of their result. What a request's own rule wrote stays local until a rule of the mesh replaces all of it.
func (from origin) by(leaf dtab.Tree, p dtab.Path) origin {
	object := leaf.Source.Object
	carried := len(p) > 0 && len(leaf.Path) > 0 && leaf.Path[len(leaf.Path)-1] == p[len(p)-1]
	next := origin{source: from.source, path: from.path, local: object == LocalObject || from.local && carried, then: from.then}
	if object != "" || from.source.Object == "" {
		next.source, next.path = leaf.Source, leaf.Path
	}
	return next
}

// answered evaluates a tree that the namer of m gave.
func (e *evaluation) answered(t Tree, m *Mount, depth int, from origin) outcome {
	switch t.Kind {
	case dtab.Leaf:
		if t.Bound != nil {
			from.then = slices.Concat(m.Transformers, from.then)
			return e.transform(t.Bound, depth, from)
		}
		return e.bind(t.Path, depth+1, from).through(turn{by: m.Prefix})
	case dtab.Alt:
		return e.alt(len(t.Branches), func(i int) outcome { return e.answered(t.Branches[i].Tree, m, depth, from) }).outcome
	case dtab.Union:
		return union(len(t.Branches), func(i int) (float64, outcome) {
			return t.Branches[i].Weight, e.answered(t.Branches[i].Tree, m, depth, from)
		})
	}
	return constant(t.Kind)
}

func constant(k dtab.Kind) outcome {
	switch k {
	case dtab.Fail:
		return outcome{verdict: fail, tree: Tree{Kind: dtab.Fail}}
	case dtab.Empty:
		return outcome{verdict: empty, tree: Tree{Kind: dtab.Empty}}
	}
	return outcome{verdict: neg, tree: Neg()}
}

// union binds all branches. Neg and Fail are dropped and their weight goes to the others; Empty keeps its share. One good branch
// is enough. Without one, a branch that may yet be good is waited for, then what was dropped makes it Neg, and only where every
// branch broke is the first error the answer.
func union(n int, branch func(i int) (float64, outcome)) outcome {
	var kept []Weighted
	var waiting, dropped bool
	var failed *outcome
	for i := range n {
		weight, out := branch(i)
		switch out.verdict {
		case bound, empty:
			kept = append(kept, Weighted{Weight: weight, Tree: out.tree})
		case pending:
			waiting = true
		case neg, fail:
			dropped = true
		case broken:
			if failed == nil {
				failed = &out
			}
		}
	}
	switch {
	case len(kept) == 1:
		out := outcome{verdict: bound, tree: kept[0].Tree}
		if kept[0].Tree.Kind == dtab.Empty {
			out.verdict = empty
		}
		return out
	case len(kept) > 1:
		return outcome{verdict: bound, tree: Tree{Kind: dtab.Union, Branches: kept}}
	case waiting:
		return outcome{verdict: pending}
	case failed != nil && !dropped:
		return *failed
	}
	return outcome{verdict: neg, tree: Neg()}
}
