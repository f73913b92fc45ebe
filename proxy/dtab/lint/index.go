package lint

import "github.com/fairlead/fairlead/proxy/dtab"

// index finds the rules that may match a path of which only the front is known. It is a tree of prefixes.
type index struct {
	labels map[string]*index
	any    *index
	rules  []int
}

func newIndex(d dtab.Dtab) *index {
	root := &index{}
	for i := range d {
		at := root
		for _, e := range d[i].Prefix {
			at = at.child(e)
		}
		at.rules = append(at.rules, i)
	}
	return root
}

func (x *index) child(e dtab.Elem) *index {
	if e.Any {
		if x.any == nil {
			x.any = &index{}
		}
		return x.any
	}
	if x.labels == nil {
		x.labels = make(map[string]*index)
	}
	if x.labels[e.Label] == nil {
		x.labels[e.Label] = &index{}
	}
	return x.labels[e.Label]
}

// match is a rule that may match, and whether it does whatever follows the known front.
type match struct {
	rule int
	sure bool
}

// matches appends the rules that may match a path that begins with front. An element of front that is Any may be any label.
func (x *index) matches(out []match, front dtab.Prefix, sure bool) []match {
	for _, r := range x.rules {
		out = append(out, match{r, sure})
	}
	if len(front) == 0 {
		return x.all(out)
	}
	if x.any != nil {
		out = x.any.matches(out, front[1:], sure)
	}
	if front[0].Any {
		for _, n := range x.labels {
			out = n.matches(out, front[1:], false)
		}
	} else if n := x.labels[front[0].Label]; n != nil {
		out = n.matches(out, front[1:], sure)
	}
	return out
}

// all appends the rules below x, which need more than is known of the path.
func (x *index) all(out []match) []match {
	visit := func(n *index) {
		for _, r := range n.rules {
			out = append(out, match{r, false})
		}
		out = n.all(out)
	}
	if x.any != nil {
		visit(x.any)
	}
	for _, n := range x.labels {
		visit(n)
	}
	return out
}

// below returns the rules whose prefix is p, or one that matches only paths that p matches, and how much work that was.
func (x *index) below(p dtab.Prefix) (rules []int, work int) {
	nodes := []*index{x}
	for _, e := range p {
		var next []*index
		for _, n := range nodes {
			if e.Any {
				for _, l := range n.labels {
					next = append(next, l)
				}
				if n.any != nil {
					next = append(next, n.any)
				}
			} else if l := n.labels[e.Label]; l != nil {
				next = append(next, l)
			}
		}
		nodes = next
		work += len(nodes)
	}
	var out []match
	for _, n := range nodes {
		for _, r := range n.rules {
			out = append(out, match{rule: r})
		}
		out = n.all(out)
	}
	rules = make([]int, len(out))
	for i, m := range out {
		rules[i] = m.rule
	}
	return rules, work + len(rules)
}

// literal is a path as a prefix without wildcards.
func literal(p dtab.Path) dtab.Prefix {
	out := make(dtab.Prefix, len(p))
	for i, label := range p {
		out[i].Label = label
	}
	return out
}
