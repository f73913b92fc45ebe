package lint

import (
	"github.com/fairlead/fairlead/proxy/dtab"
)

// Limits of the search for what names may begin with. Longer fronts are cut, which only makes them match more.
const (
	maxFront  = 8
	maxFronts = 50_000
)

// reach finds the rules for names that neither a request nor another rule leads to. Where that cannot be told, it finds none.
func (c *checker) reach() {
	reached := make([]bool, len(c.in.Dtab))
	queue := []dtab.Prefix{literal(c.in.Entry)}
	seen := make(map[string]bool)
	for len(queue) > 0 {
		front := queue[0]
		queue = queue[1:]
		if len(front) > maxFront {
			front = front[:maxFront]
		}
		key := front.String()
		if seen[key] {
			continue
		}
		seen[key] = true
		hits := c.index.matches(nil, front, true)
		if c.work += len(hits); len(seen) > maxFronts || c.work > reachWork {
			return
		}
		for _, h := range hits {
			d := &c.in.Dtab[h.rule]
			reached[h.rule] = true
			for _, l := range leavesOf(nil, &d.Dst, true) {
				next := literal(l.path)
				if len(front) > len(d.Prefix) {
					next = append(next, front[len(d.Prefix):]...)
				}
				queue = append(queue, next)
				to, ok, all := c.rewritten(l.path)
				if all || len(l.path) < 2 && (len(l.path) == 0 || l.path[0] == "$" || l.path[0] == "#") {
					return // it may lead anywhere
				}
				if ok {
					queue = append(queue, to)
				}
			}
		}
	}
	for i, ok := range reached {
		if !ok {
			c.report(i, Warning, Unreachable, "nothing leads to names below "+c.in.Dtab[i].Prefix.String()+": requests ask for "+
				c.in.Entry.String()+"/..., and no rule goes there", "correct the prefix; keep it only if requests bring rules of their own (l5d-dtab) that lead to it (fairlead dtab lint --ignore unreachable)")
		}
	}
}
