package naming

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/spelling"
)

// Limits of an explanation.
const (
	// MaxSteps bounds the steps that are shown of one delegation. What requests take is right beyond it, and so is the outcome.
	MaxSteps = 1000
	// MaxStepAddrs bounds the endpoints that are shown of one leaf.
	MaxStepAddrs = 100
)

// Explanation is a delegation with every branch tried, also those that requests never reach.
type Explanation struct {
	Root *Step
	// Tree, State and Err are what Name.Load would return of a name bound now.
	Tree  Tree
	State State
	Err   error
}

// Explain delegates a path as Bind does, with the rules of local, and tells how. It waits until the namers have answered and the
// endpoints of the leaves are known, or until ctx ends: what is pending then is shown so.
func (in *Interpreter) Explain(ctx context.Context, p dtab.Path, local dtab.Dtab) *Explanation {
	answers := deps{held: make(map[depKey]*dep)}
	defer answers.close()
	for {
		answers.round++
		rules := *in.current()
		rules.health = rules.glance
		x := &explorer{evaluation: evaluation{rules: &rules, local: ownRules(local), deps: &answers}}
		out := x.explain(p)
		if !x.pending || !answers.wait(ctx, x.changed) {
			return out
		}
	}
}

// wait blocks until an answer or one of the channels changes. It returns false when ctx ends.
func (ds *deps) wait(ctx context.Context, more []<-chan struct{}) bool {
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())}}
	for _, d := range ds.held {
		if d.round == ds.round {
			more = append(more, d.changed)
		}
	}
	for _, c := range more {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)})
	}
	chosen, _, _ := reflect.Select(cases)
	return chosen != 0
}

// explorer delegates as evaluation does, with its primitives and its limits, and makes a step of everything. Branches that the
// delegation does not reach are left for later, so that they never count against what it does.
type explorer struct {
	evaluation
	shown int
	// prefix is what longest returns, once it is known.
	prefix int
	// later are the branches that the delegation did not reach. beyond is true once they are being followed.
	later  []*Step
	beyond bool
	// pending says that an answer or an endpoint set is; changed are the channels of the latter.
	pending bool
	changed []<-chan struct{}
}

func (x *explorer) explain(p dtab.Path) *Explanation {
	root := &Step{Path: p.String()}
	x.shown = 1
	from, first := x.begin()
	from.trail = &visit{path: p, then: len(from.then)}
	var out outcome
	if first != nil {
		out = x.replace(root, first, 0, from)
	} else {
		out = x.bind(root, p, 0, from)
	}
	if over := x.exceeded(); over != nil {
		out = outcome{verdict: broken, err: &RuleError{p, over}}
		root.Message, root.Primary = over.Error(), true
		root.finish(out)
	} else {
		root.mark(1)
	}
	x.told(out)
	x.beyond = true
	for len(x.later) > 0 && x.shown < MaxSteps {
		s := x.later[0]
		x.later = x.later[1:]
		s.more()
	}
	for _, s := range x.later {
		s.Truncated = true
	}
	e := &Explanation{Root: root, State: Ok}
	switch out.verdict {
	case pending:
		e.State = Pending
	case broken:
		e.State, e.Err = Failed, out.err
	case bound:
		e.Tree = out.tree
	default:
		e.Tree = constantTree(out.verdict)
	}
	return e
}

// add makes a step below s. Beyond the limit it is only evaluated, and not shown.
func (x *explorer) add(s *Step, step func() *Step) (c *Step, shown bool) {
	if x.shown >= MaxSteps || s.detached {
		s.Truncated = true
		return &Step{detached: true}, false
	}
	x.shown++
	return step(), true
}

// finish notes what a step came to.
func (s *Step) finish(out outcome) outcome {
	s.out, s.visited, s.Outcome = out, true, outcomeName(out.verdict)
	return out
}

func outcomeName(v verdict) string {
	return map[verdict]string{bound: "bound", neg: "neg", fail: "fail", empty: "empty", pending: "pending", broken: "error"}[v]
}

// exception makes s the step of an error.
func (s *Step) exception(err error) outcome {
	s.Type, s.Message = StepException, message(err, s.Path)
	return s.finish(outcome{verdict: broken, err: err})
}

// message is the text of an error without what the step says by itself.
func message(err error, path string) string {
	var rule *RuleError
	var namer *namerError
	switch {
	case errors.Is(err, ErrMaxDepth):
		return "Max recursion level reached."
	case errors.As(err, &namer):
		return namer.err.Error()
	case errors.As(err, &rule) && rule.Path.String() == path:
		return rule.Err.Error()
	}
	return err.Error()
}

// bind is evaluation.bind: the dtab first, then the namers.
func (x *explorer) bind(s *Step, p dtab.Path, depth int, from origin) outcome {
	if err := x.admit(s, depth, from); err != nil {
		return s.exception(&RuleError{p, err})
	}
	if s.detached || from.trail == nil {
		return x.follow(s, p, depth, from)
	}
	if cycle := from.trail.cycle(x.longest); cycle != nil {
		return x.cut(s, cycle, p, depth, from)
	}
	return x.follow(s, p, depth, from)
}

// follow makes what follows the step of a path.
func (x *explorer) follow(s *Step, p dtab.Path, depth int, from origin) outcome {
	hits := x.rules.table.Hits(x.local, p)
	switch {
	case len(hits) == 0:
		return x.lookup(s, p, depth, from)
	case len(hits) == 1 && hits[0].Tree.Kind == dtab.Neg:
		return x.onlyNeg(s, hits[0], p, depth, from)
	}
	var branches []branch
	for i := range hits {
		branches = appendFlat(branches, &hits[i].Tree, &hits[i].Dentry)
	}
	return x.joined(s, branches, p, depth, from)
}

// admit counts a look-up. Of branches that the delegation does not reach only the steps count.
func (x *explorer) admit(s *Step, depth int, from origin) error {
	switch {
	case !x.beyond:
		return x.enter(depth, from)
	case depth >= dtab.MaxDepth:
		return &depthError{}
	case s.detached:
		return ErrMaxLookups
	}
	return nil
}

// onlyNeg is for a path that a single "~" is the rule of: the namers are asked as if there were none.
func (x *explorer) onlyNeg(s *Step, hit dtab.Hit, p dtab.Path, depth int, from origin) outcome {
	explicit, shown := x.add(s, branch{&hit.Tree, &hit.Dentry}.step)
	explicit.Type = StepNeg
	explicit.finish(constant(dtab.Neg))
	answer := &Step{Path: p.String(), detached: s.detached}
	out := x.lookup(answer, p, depth, from)
	switch {
	case answer.Type != StepNeg && shown:
		s.Type, s.Alt = StepAlt, []*Step{explicit, answer}
	case shown:
		s.Type, s.Delegate = StepDelegate, explicit
	default:
		s.Type = StepDelegate
	}
	return s.finish(out)
}

// branch is one tree of a rule.
type branch struct {
	tree   *dtab.Tree
	dentry *dtab.Dentry
}

func (b branch) step() *Step {
	d := b.dentry
	return &Step{Path: b.tree.String(), Dentry: &StepDentry{
		Prefix: d.Prefix.String(), Dst: d.Dst.String(), Object: d.Source.Object, Index: d.Source.Index,
	}}
}

// appendFlat appends the alternates of a tree: those inside one rule stand beside those of other rules, which evaluates alike.
func appendFlat(out []branch, t *dtab.Tree, d *dtab.Dentry) []branch {
	if t.Kind != dtab.Alt {
		return append(out, branch{t, d})
	}
	for i := range t.Branches {
		out = appendFlat(out, &t.Branches[i].Tree, d)
	}
	return out
}

// joined makes s the step of the alternates of p.
func (x *explorer) joined(s *Step, branches []branch, p dtab.Path, depth int, from origin) outcome {
	if len(branches) > 1 {
		return x.alternates(s, len(branches), func(i int) (func() *Step, func(*Step) outcome) {
			return branches[i].step, func(c *Step) outcome { return x.rewritten(c, branches[i], p, depth, from) }
		})
	}
	if branches[0].tree.Kind == dtab.Union {
		return x.spread(s, branches[0], p, depth, from)
	}
	return x.delegated(s, branches[0].step, func(c *Step) outcome { return x.rewritten(c, branches[0], p, depth, from) })
}

// delegated makes s lead to one step.
func (x *explorer) delegated(s *Step, step func() *Step, evaluate func(*Step) outcome) outcome {
	s.Type = StepDelegate
	c, shown := x.add(s, step)
	if shown {
		s.Delegate = c
	}
	return s.finish(evaluate(c))
}

// alternates makes s an alt of n steps. Those after the one that decides are left for later.
func (x *explorer) alternates(s *Step, n int, next func(int) (func() *Step, func(*Step) outcome)) outcome {
	s.Type = StepAlt
	reached := 0
	steps := make([]*Step, n)
	out := x.alt(n, func(i int) outcome {
		reached = i + 1
		step, evaluate := next(i)
		c, shown := x.add(s, step)
		if shown {
			s.Alt = append(s.Alt, c)
		}
		steps[i] = c
		return evaluate(c)
	})
	for _, i := range out.unwell {
		steps[i].Unhealthy, steps[i].passed = true, i != out.index
	}
	for i := reached; i < n && !s.detached; i++ {
		step, evaluate := next(i)
		c, shown := x.add(s, step)
		if !shown {
			break
		}
		c.Type, c.more = StepDelegate, func() { evaluate(c) }
		s.Alt = append(s.Alt, c)
		x.later = append(x.later, c)
	}
	return s.finish(out.outcome)
}

// unite makes s a union of n steps.
func (x *explorer) unite(s *Step, n int, next func(int) (float64, func() *Step, func(*Step) outcome)) outcome {
	s.Type = StepUnion
	return s.finish(union(n, func(i int) (float64, outcome) {
		weight, step, evaluate := next(i)
		c, shown := x.add(s, step)
		if shown {
			s.Union = append(s.Union, StepShare{weight, c})
		}
		out := evaluate(c)
		if out.verdict == bound || out.verdict == empty {
			s.kept++
			s.total += weight
		}
		return weight, out
	}))
}

func (x *explorer) spread(s *Step, u branch, p dtab.Path, depth int, from origin) outcome {
	return x.unite(s, len(u.tree.Branches), func(i int) (float64, func() *Step, func(*Step) outcome) {
		b := branch{&u.tree.Branches[i].Tree, u.dentry}
		return u.tree.Branches[i].Weight, b.step, func(c *Step) outcome { return x.rewritten(c, b, p, depth, from) }
	})
}

// rewritten is evaluation.rewritten.
func (x *explorer) rewritten(s *Step, b branch, p dtab.Path, depth int, from origin) outcome {
	switch b.tree.Kind {
	case dtab.Leaf:
		return x.bind(s, b.tree.Path, depth+1, from.ruled(b, p)).through(turn{source: b.tree.Source, path: p})
	case dtab.Alt:
		return x.joined(s, appendFlat(nil, b.tree, b.dentry), p, depth, from)
	case dtab.Union:
		return x.spread(s, b, p, depth, from)
	}
	s.Type = b.tree.Kind.String()
	return s.finish(constant(b.tree.Kind))
}

// lookup is evaluation.lookup. What a namer says outright does not exist is no step.
func (x *explorer) lookup(s *Step, p dtab.Path, depth int, from origin) outcome {
	var tried []*Step
	out := constant(dtab.Neg)
	for i := len(x.rules.mounts) - 1; i >= 0 && out.verdict == neg; i-- {
		m := &x.rules.mounts[i]
		if !p.HasPrefix(m.Prefix) {
			continue
		}
		c := &Step{Path: p.String(), Dentry: s.Dentry, Namer: m.Prefix.String(), detached: s.detached}
		if out = x.asked(c, m, p, depth, from); c.Type != StepNeg {
			tried = append(tried, c)
		}
	}
	switch len(tried) {
	case 0:
		s.Type = StepNeg
		if out.verdict == neg {
			s.Message = x.noNamer(p)
		}
	case 1:
		more := s.more
		*s = *tried[0]
		s.more = more
	default:
		s.Type, s.Alt = StepAlt, tried
	}
	return s.finish(out)
}

// noNamer says that no namer answers for a path below /#, or "" where one does, or for any other path.
func (x *explorer) noNamer(p dtab.Path) string {
	if len(p) < 2 || p[0] != "#" {
		return ""
	}
	var near []string
	for i := range x.rules.mounts {
		prefix := x.rules.mounts[i].Prefix
		if p.HasPrefix(prefix) {
			return ""
		}
		if len(prefix) == 2 {
			near = append(near, prefix.String())
		}
	}
	return "no namer has this prefix" + spelling.DidYouMean(p[:2].String(), near)
}

// asked makes s the step of what one namer answers.
func (x *explorer) asked(s *Step, m *Mount, p dtab.Path, depth int, from origin) outcome {
	if x.beyond {
		x.evaluation.asked = 0 // the delegation is over, and the steps bound what follows
	}
	if err := x.mayAsk(m, from); err != nil {
		return s.exception(&RuleError{p, err})
	}
	if t, rest := transformers(m.Transformers).constant(); t != nil {
		from.then = slices.Concat(rest, from.then)
		return x.replace(s, t, depth, from)
	}
	tree, out := x.consult(m, p)
	switch out.verdict {
	case bound:
		return x.answered(s, &tree, m, depth, from)
	case pending:
		x.pending = true
		s.Type, s.Message = StepPending, "namer "+m.Prefix.String()+" has not answered yet"
		return s.finish(out)
	}
	return s.exception(out.err)
}

// answered is evaluation.answered.
func (x *explorer) answered(s *Step, t *Tree, m *Mount, depth int, from origin) outcome {
	again := func() *Step { return &Step{Path: s.Path} }
	switch t.Kind {
	case dtab.Leaf:
		if t.Bound != nil {
			from.then = slices.Concat(m.Transformers, from.then)
			return x.transform(s, t.Bound, depth, from)
		}
		return x.delegated(s, func() *Step { return &Step{Path: t.Path.String()} }, func(c *Step) outcome {
			return x.bind(c, t.Path, depth+1, from.answering(t.Path)).through(turn{by: m.Prefix})
		})
	case dtab.Alt:
		return x.alternates(s, len(t.Branches), func(i int) (func() *Step, func(*Step) outcome) {
			return again, func(c *Step) outcome { return x.answered(c, &t.Branches[i].Tree, m, depth, from) }
		})
	case dtab.Union:
		return x.unite(s, len(t.Branches), func(i int) (float64, func() *Step, func(*Step) outcome) {
			b := &t.Branches[i]
			return b.Weight, again, func(c *Step) outcome { return x.answered(c, &b.Tree, m, depth, from) }
		})
	}
	s.Type = t.Kind.String()
	return s.finish(constant(t.Kind))
}

// transform is evaluation.transform: a step for each transformer, around what it makes.
func (x *explorer) transform(s *Step, b *Bound, depth int, from origin) outcome {
	if len(from.then) == 0 {
		return x.leaf(s, b, from)
	}
	t := from.then[0]
	from.then = from.then[1:]
	switch {
	case t.Path != nil:
		return x.replace(s, t, depth, from)
	case t.Change == nil: // it only names what another transformer did
		return x.transform(s, t.apply(b), depth, from)
	}
	return x.transformed(s, t, s.Path, func(c *Step) outcome { return x.transform(c, t.apply(b), depth, from) })
}

// replace is evaluation.replace.
func (x *explorer) replace(s *Step, t *Transformer, depth int, from origin) outcome {
	return x.transformed(s, t, t.Path.String(), func(c *Step) outcome {
		if depth+1 >= dtab.MaxDepth {
			return c.exception(&RuleError{t.Path, &depthError{}})
		}
		return x.lookup(c, t.Path, depth+1, from.instead(t)).through(turn{by: t.Prefix})
	})
}

// transformed makes s the step of a transformer, which makes path of it.
func (x *explorer) transformed(s *Step, t *Transformer, path string, evaluate func(*Step) outcome) outcome {
	s.Type, s.Name = StepTransformation, t.Prefix.String()
	c, shown := x.add(s, func() *Step { return &Step{Path: path} })
	if shown {
		s.Tree = c
	}
	return s.finish(evaluate(c))
}

// leaf makes s the step of a bound name.
func (x *explorer) leaf(s *Step, b *Bound, from origin) outcome {
	changed := b.Addrs.Changed()
	s.Type = StepLeaf
	s.Bound = &StepBound{ID: b.ID.String(), Path: b.Residual.String(), Status: b.Status, Addr: addrOf(b)}
	if s.Bound.Addr.State == "pending" {
		x.pending = true
		x.changed = append(x.changed, changed)
	}
	return s.finish(outcome{verdict: bound, tree: Tree{Kind: dtab.Leaf, Bound: b, Source: from.source, Path: from.path}})
}
