package conformance

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/dtab/lint"
)

// What lint says of random rules holds by the reference evaluator: a rule that is hidden or not reached can go without a difference to
// any name, and what leads back to itself ends in an error.
func TestLintIsRight(t *testing.T) {
	const dtabs, paths = 2_000, 8
	random := rand.New(rand.NewPCG(5, 6))
	given := []givenNamer{
		{Kind: "error", Prefix: "/#/broken"},
		{Kind: "io.l5d.rewrite", Prefix: "/#/turn", Pattern: "/{x}/{y}", Name: "/{y}/{x}"},
	}
	names := []string{"/#/a", "/#/b/c", "/#/c/a/b"}
	namers := []lint.Namer{
		{Prefix: dtab.Path{"#"}}, {Prefix: dtab.Path{"#", "broken"}}, {Prefix: dtab.Path{"#", "turn"}, Rewrite: "/{y}/{x}"},
	}
	bind := func(d dtab.Dtab, p dtab.Path) (string, bool) {
		o := &oracle{t: t, dtab: d, bound: names, given: given, maxVisits: 500}
		tree, err := o.bind(p, 0)
		if err != nil {
			return "error:" + err.Error(), !errors.Is(err, errMaxVisits) && len(o.visits) < o.maxVisits
		}
		return tree.String(), len(o.visits) < o.maxVisits
	}
	counts := map[string]int{}
	for n := range dtabs {
		d := layeredDtab(random)
		if n%4 == 0 {
			d = append(randomDtab(random), layeredDtab(random)...)
		}
		for i := range d {
			d[i].Source = dtab.Source{Object: "test/rules", Index: i}
		}
		for _, f := range lint.Check(lint.Input{Dtab: d, Entry: dtab.Path{"svc"}, Namers: namers}).Findings {
			if counts[f.Code]++; counts[f.Code] > 3000 {
				continue
			}
			for range paths {
				p := dtab.Path{"svc"}.Append(randomPath(random, random.IntN(3))...)
				switch f.Code {
				case lint.Shadowed, lint.Unreachable:
					if f.Code == lint.Shadowed {
						p = below(random, d[f.Index].Prefix)
					}
					with, ok := bind(d, p)
					without, ok2 := bind(slices.Delete(slices.Clone(d), f.Index, f.Index+1), p)
					if ok && ok2 && with != without {
						t.Fatalf("%s by %s: %s, without rule %d %s, which is said to be %s: %s", p, d, with, f.Index, without, f.Code, f.Why)
					}
				case lint.Loop, lint.SelfReference:
					if f.Severity != lint.Error {
						continue
					}
					p := must(t, dtab.ParsePath, f.Cycle[0]).Append(randomPath(random, random.IntN(3))...)
					if got, ok := bind(d, p); ok && got != "error:"+errMaxDepth.Error() {
						t.Fatalf("%s by %s: %s, but rule %d is said to be a %s: %s", p, d, got, f.Index, f.Code, f.Why)
					}
				case lint.NoNamer:
					if got, ok := bind(d, leafOf(t, f).Append(randomPath(random, random.IntN(3))...)); ok && got != "~" {
						t.Fatalf("%s: %s leads to %s: %s", d, f.Text, got, f.Why)
					}
				}
			}
		}
	}
	t.Log(counts)
	for _, code := range []string{lint.Shadowed, lint.Unreachable, lint.Loop, lint.SelfReference, lint.NoNamer, lint.UnreachableBranch, lint.ZeroWeights} {
		if counts[code] < 20 {
			t.Errorf("only %d findings of %s: %v", counts[code], code, counts)
		}
	}
}

// below returns a path that the prefix matches.
func below(r *rand.Rand, x dtab.Prefix) dtab.Path {
	var p dtab.Path
	for _, e := range x {
		if e.Any {
			e.Label = []string{"a", "b", "c", "d"}[r.IntN(4)]
		}
		p = p.Append(e.Label)
	}
	return p.Append(randomPath(r, r.IntN(3))...)
}

// leafOf returns the leaf that a finding of no-namer names.
func leafOf(t *testing.T, f lint.Finding) dtab.Path {
	t.Helper()
	const begin, end = "no namer and no rule is there for ", ", so it leads nowhere"
	return must(t, dtab.ParsePath, f.Why[len(begin):len(f.Why)-len(end)])
}
