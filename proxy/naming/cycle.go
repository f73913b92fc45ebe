package naming

import (
	"slices"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// visit is a path that an explanation came by, with what led to it from the one above.
type visit struct {
	above *visit
	path  dtab.Path
	// taken is the number of elements that a rule took off the path above, and given that of those it put there. What a namer answered
	// (asked) may be anything.
	taken, given int
	asked        bool
	// then is the number of transformers that are yet to be gone through.
	then int
}

// ruled is the origin of what a rule made of p.
func (from origin) ruled(b branch, p dtab.Path) origin {
	next := from.by(*b.tree, p)
	taken := len(b.dentry.Prefix)
	next.trail = &visit{above: from.trail, path: b.tree.Path, taken: taken, given: len(b.tree.Path) - len(p) + taken, then: len(from.then)}
	return next
}

// answering is the origin of the path that a namer answered.
func (from origin) answering(p dtab.Path) origin {
	from.trail = &visit{above: from.trail, path: p, asked: true, then: len(from.then)}
	return from
}

// span is what several rules do, one after the other: they take elements off a path and put others there. They looked at no more than
// so many of it.
type span struct{ taken, given, looked int }

// after returns the span of a rule and what follows it. Each look-up looks at as many elements as the longest prefix has.
func (s span) after(rule *visit, longest int) span {
	return span{
		taken:  rule.taken + max(0, s.taken-rule.given),
		given:  s.given + max(0, rule.given-s.taken),
		looked: max(longest, rule.taken+max(0, s.looked-rule.given)),
	}
}

// repeats reports whether what led from one path to the other leads from there on in the same way, for ever.
func (s span) repeats(from, to dtab.Path) bool {
	return s.taken <= s.given && s.looked <= min(len(from), len(to)) && slices.Equal(from[:s.looked], to[:s.looked])
}

// cycle returns the way from the last path of a trail to itself, or nil where it is in no circle. As in the findings of package lint
// the paths are without what a request adds, where only rules are in the way.
func (v *visit) cycle(longest func() int) []string {
	s, asked := span{}, false
	for at := v; at.above != nil; at = at.above {
		from := at.above
		if asked = asked || at.asked; !asked {
			s = s.after(at, longest())
		}
		if from.then == v.then && (slices.Equal(from.path, v.path) || !asked && s.repeats(from.path, v.path)) {
			return v.way(from, s, asked)
		}
	}
	return nil
}

// way shows the paths from one above v to v. Those that rules alone make begin with what v has from its rule.
func (v *visit) way(from *visit, s span, asked bool) []string {
	var steps []*visit
	for at := v; at != from; at = at.above {
		steps = append(steps, at)
	}
	slices.Reverse(steps)
	known := v.path
	if !asked {
		known = v.path[:min(len(v.path), max(v.given, s.taken))]
	}
	out := []string{known.String()}
	for _, step := range steps {
		if asked {
			known = step.path
		} else {
			known = step.path[:step.given:step.given].Append(known[min(step.taken, len(known)):]...)
		}
		out = append(out, known.String())
	}
	return out
}

// longest returns how many elements of a path a look-up looks at.
func (x *explorer) longest() int {
	if x.prefix == 0 {
		x.prefix = max(1, x.rules.table.LongestPrefix())
		for i := range x.local {
			x.prefix = max(x.prefix, len(x.local[i].Prefix))
		}
	}
	return x.prefix
}

// cut makes s the step of a path that leads in a circle: what follows it would repeat what stands above it, until a limit ends it. What
// requests get of it is found out all the same.
func (x *explorer) cut(s *Step, cycle []string, p dtab.Path, depth int, from origin) outcome {
	out := outcome{verdict: broken, err: &RuleError{p, &depthError{}}}
	if !x.beyond {
		out = x.follow(&Step{Path: s.Path, detached: true}, p, depth, from)
	}
	s.Type, s.Cycle = StepDelegate, cycle
	if out.verdict == broken {
		s.Type, s.Message = StepException, message(out.err, s.Path)
	}
	return s.finish(out)
}
