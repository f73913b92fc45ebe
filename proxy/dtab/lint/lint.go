// Package lint finds mistakes in the rules of one router by reading them: it asks no namer. It reports only what holds whatever the
// namers would answer, so that a finding is never a false alarm.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// Severity of a finding.
type Severity string

const (
	// Error is for rules that break every request that comes to them.
	Error Severity = "error"
	// Warning is for rules that do not do what they seem to.
	Warning Severity = "warning"
)

// Codes of findings.
const (
	// Loop is a rule that leads back to itself by way of others.
	Loop = "loop"
	// SelfReference is a rule whose destination it matches itself.
	SelfReference = "self-reference"
	// Shadowed is a rule that a later one always takes the place of.
	Shadowed = "shadowed"
	// Unreachable is a rule for names that nothing leads to.
	Unreachable = "unreachable"
	// UnreachableBranch is an alternate after one that always decides.
	UnreachableBranch = "unreachable-branch"
	// NoNamer is a destination that no namer and no rule is there for.
	NoNamer = "no-namer"
	// BadUtility is a destination below /$/ that is no name there.
	BadUtility = "bad-utility"
	// ZeroWeights is a union whose weights are all zero.
	ZeroWeights = "zero-weights"
)

// Codes returns all codes.
func Codes() []string {
	return []string{Loop, SelfReference, Shadowed, Unreachable, UnreachableBranch, NoNamer, BadUtility, ZeroWeights}
}

// Input is what is looked at.
type Input struct {
	// Dtab holds the rules in the order they apply, each with its Source.
	Dtab dtab.Dtab
	// Entry is what every name that requests ask for begins with.
	Entry dtab.Path
	// Namers are those of the Mesh.
	Namers []Namer
	// Ignore reports whether a finding about a rule of that object is only to be counted; nil: none is.
	Ignore func(code, object string) bool
}

// Namer is a namer at its whole prefix.
type Namer struct {
	Prefix dtab.Path
	// Rewrite is the name that io.l5d.rewrite makes, "/srv/{service}", and "" for a namer that binds.
	Rewrite string
}

// Finding is one mistake.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	// Object is namespace/name of the Dtab, "" for the rules of the Mesh. Index counts its rules from 0.
	Object string `json:"object,omitempty"`
	Index  int    `json:"index"`
	// Text is the rule.
	Text string `json:"text"`
	// Why says what is wrong, Do what to do about it.
	Why string `json:"why"`
	Do  string `json:"do"`
	// Cycle is the way of a loop, from a name to itself.
	Cycle []string `json:"cycle,omitempty"`
}

// Line says in one line what was found where. router may be "".
func (f *Finding) Line(router string) string {
	if router != "" {
		router = "router " + router + ": "
	}
	return fmt.Sprintf("%s: %s%s[%d] %s: %s", f.Severity, router, cmp.Or(f.Object, "mesh"), f.Index, f.Code, f.Text)
}

// MaxFindings bounds a report.
const MaxFindings = 1000

// Report is what was found.
type Report struct {
	// Findings in the order of the rules, at most MaxFindings. More counts those left out.
	Findings []Finding `json:"findings"`
	More     int       `json:"more,omitempty"`
	// Ignored counts those that Input.Ignore left out.
	Ignored int `json:"ignored,omitempty"`
	// Incomplete says that the rules are too many, or too entangled, to look at all of them.
	Incomplete bool `json:"incomplete,omitempty"`
}

// Check reads the rules.
func Check(in Input) Report {
	c := &checker{in: in, index: newIndex(in.Dtab), known: make(map[string]outcomes), shadowed: make(map[int]bool)}
	for i := range in.Dtab {
		c.weights(i, &in.Dtab[i].Dst)
		c.branches(i, &in.Dtab[i].Dst)
		c.utilityNames(i)
		c.loops(i)
	}
	c.shadows()
	c.reach()
	slices.SortStableFunc(c.found, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	out := Report{Findings: make([]Finding, len(c.found)), More: c.more, Ignored: c.ignored, Incomplete: c.work > maxWork}
	for i := range c.found {
		out.Findings[i] = c.found[i].Finding
	}
	return out
}

type placed struct {
	Finding
	at int
}

// checker holds what is known of one dtab.
type checker struct {
	in    Input
	index *index
	found []placed
	more  int
	// ignored counts the findings that nobody wants to see.
	ignored int
	// known are the outcomes of paths, and work how much was done to find them.
	known map[string]outcomes
	work  int
	// cuts counts the paths that were not followed to their end.
	cuts     int
	shadowed map[int]bool
}

func (c *checker) report(at int, s Severity, code, why, do string, cycle ...string) {
	d := &c.in.Dtab[at]
	if c.in.Ignore != nil && c.in.Ignore(code, d.Source.Object) {
		c.ignored++
		return
	}
	if len(c.found) == MaxFindings {
		c.more++
		return
	}
	c.found = append(c.found, placed{Finding{
		Severity: s, Code: code, Object: d.Source.Object, Index: d.Source.Index, Text: d.String(), Why: why, Do: do, Cycle: cycle,
	}, at})
}

// weights finds unions whose weights are all zero.
func (c *checker) weights(at int, t *dtab.Tree) {
	sum := 0.0
	for i := range t.Branches {
		sum += t.Branches[i].Weight
		c.weights(at, &t.Branches[i].Tree)
	}
	if t.Kind == dtab.Union && sum == 0 {
		c.report(at, Warning, ZeroWeights, "all weights of "+t.String()+" are 0, which spreads requests evenly over its branches",
			"give at least one branch a weight above 0, or write ~ to turn the rule off")
	}
}

// branches finds alternates that are never tried, and destinations that nothing is there for.
func (c *checker) branches(at int, t *dtab.Tree) {
	for i := range t.Branches {
		b := &t.Branches[i].Tree
		c.branches(at, b)
		if t.Kind == dtab.Alt && i+1 < len(t.Branches) && c.tree(b, nil)&neg == 0 {
			c.report(at, Warning, UnreachableBranch, "what follows "+b.String()+" is never tried: it decides, whatever becomes of it",
				"move it to the end, or remove what follows; alternates are for names that do not exist (~)")
			break
		}
	}
	if t.Kind == dtab.Leaf && len(t.Path) > 0 && c.path(t.Path, nil) == neg && len(c.index.matches(nil, literal(t.Path), true)) == 0 {
		c.report(at, Warning, NoNamer, "no namer and no rule is there for "+t.Path.String()+", so it leads nowhere",
			"correct the name, or add a namer with this prefix to the Mesh")
	}
}

// shadows finds rules that a later one always takes the place of. A rule that is shadowed itself hides nothing that the other one does
// not hide.
func (c *checker) shadows() {
	for j := len(c.in.Dtab) - 1; j >= 0; j-- {
		if c.shadowed[j] {
			continue
		}
		later := &c.in.Dtab[j]
		if c.tree(&later.Dst, nil)&neg != 0 {
			continue // earlier rules are its fallback
		}
		below, work := c.index.below(later.Prefix)
		if c.work += work; c.work > shadowWork {
			return
		}
		for _, i := range below {
			if i >= j || c.shadowed[i] {
				continue
			}
			c.shadowed[i] = true
			c.report(i, Warning, Shadowed, "a later rule takes all its names and never falls through to it: "+place(later),
				"remove one of them, or put the one that is meant to win last")
		}
	}
}

// place names a rule.
func place(d *dtab.Dentry) string {
	object := d.Source.Object
	if object == "" {
		object = "the Mesh"
	}
	return d.String() + " (" + object + ", rule " + strconv.Itoa(d.Source.Index) + ")"
}
