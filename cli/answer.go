package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/proxy/app"
	"github.com/fairlead/fairlead/proxy/config"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

// answerer knows where names lead: a proxy that serves, or the documents of files.
type answerer interface {
	Delegate(ctx context.Context, q *app.DelegateQuestion) (*naming.Step, error)
	Compare(ctx context.Context, q *app.CompareQuestion) (*app.Comparison, error)
}

// errNotAsked is why the endpoints of names in files are not known.
var errNotAsked = errors.New("no cluster was asked")

// existing takes the place of the namers of a cluster: the names of a list exist, or without one every name that is long enough.
type existing struct {
	prefix   dtab.Path
	elements int
	list     []dtab.Path
}

// Lookup implements naming.Namer.
func (e *existing) Lookup(p dtab.Path) naming.Live[naming.Tree] {
	used := len(e.prefix) + e.elements
	whole := e.prefix.Append(p...)
	if e.list != nil {
		used = 0
		for _, id := range e.list {
			if whole.HasPrefix(id) {
				used = len(id)
			}
		}
	}
	if used == 0 || used > len(whole) {
		return naming.Fixed(naming.Neg())
	}
	addrs := naming.NewVar[naming.Addrs]()
	addrs.Fail(errNotAsked)
	return naming.Fixed(naming.BoundLeaf(&naming.Bound{ID: whole[:used:used], Residual: whole[used:], Addrs: addrs}))
}

// preview answers by a configuration. The caller owes a call of the function that is returned.
func (o *options) preview(ctx context.Context, cfg *config.Config) (answerer, func(), error) {
	var list []dtab.Path
	for _, text := range o.bound {
		id, err := dtab.ParsePath(text)
		if err != nil {
			return nil, nil, at("--bound", err)
		}
		list = append(list, id)
	}
	a, err := app.Preview(ctx, cfg, func(prefix dtab.Path, elements int) naming.Namer {
		return &existing{prefix, elements, list}
	})
	if err != nil {
		return nil, nil, err
	}
	return a, func() { _ = a.Shutdown(ctx) }, nil // it serves nothing
}

// describe says in one line where a name leads.
func describe(l *app.Leads, id func(string) string) string {
	if len(l.Split) == 0 {
		return strings.TrimSuffix(nowhere(l.Outcome)+": "+l.Message, ": ")
	}
	parts := make([]string, len(l.Split))
	for i, p := range l.Split {
		parts[i] = percent(p.Share) + " " + id(p.ID)
	}
	return strings.Join(parts, ", ")
}

// untransformed is a bound name without the transformers it went through, which make it long.
func untransformed(id string) string {
	p, err := dtab.ParsePath(id)
	if err != nil {
		return id // "$"
	}
	return p.Untransformed().String()
}

// whole is a bound name as it is.
func whole(id string) string { return id }

// nowhere says what an outcome without a bound name is.
func nowhere(outcome string) string {
	switch outcome {
	case "neg":
		return "does not exist (~)"
	case "fail":
		return "stopped (!)"
	case "empty":
		return "nothing ($)"
	case "pending":
		return "not known yet"
	}
	return outcome
}

func percent(share float64) string {
	s := fmt.Sprintf("%.1f", share*100)
	return strings.TrimSuffix(s, ".0") + "%"
}
