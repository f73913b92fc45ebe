package app

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/route"
)

// CompareQuestion is what /diff.json is asked: what would move if these were the rules of a router.
type CompareQuestion struct {
	Router string `json:"router"`
	Rules  []Rule `json:"rules"`
	// Names to look at in place of those in use, at most route.MaxNames.
	Names []string `json:"names,omitempty"`
}

// Rule is a dentry and where it stands.
type Rule struct {
	Prefix string `json:"prefix"`
	Dst    string `json:"dst"`
	Object string `json:"object,omitempty"`
	Index  int    `json:"index"`
}

// Rules returns the rules of a dtab.
func Rules(d dtab.Dtab) []Rule {
	out := make([]Rule, len(d))
	for i := range d {
		out[i] = Rule{d[i].Prefix.String(), d[i].Dst.String(), d[i].Source.Object, d[i].Source.Index}
	}
	return out
}

// Comparison is the answer.
type Comparison struct {
	Router string `json:"router"`
	// Names is the number of names in question, and Compared that of those for which there was time.
	Names    int          `json:"names"`
	Compared int          `json:"compared"`
	Changed  []Difference `json:"changed"`
}

// Difference is a name that would lead elsewhere.
type Difference struct {
	Name     string `json:"name"`
	Requests uint64 `json:"requests"`
	// Moved is the share of its requests that would go elsewhere, from 0 to 1.
	Moved float64 `json:"moved"`
	Old   Leads   `json:"old"`
	New   Leads   `json:"new"`
}

func (a *App) answerCompare(ctx context.Context, _ url.Values, body []byte) (any, error) {
	var q CompareQuestion
	if err := decodeQuestion(body, &q); err != nil {
		return nil, err
	}
	return a.Compare(ctx, &q)
}

// Compare answers /diff.json. The error is an *admin.Refusal.
func (a *App) Compare(ctx context.Context, q *CompareQuestion) (*Comparison, error) {
	r, err := a.router(q.Router)
	if err != nil {
		return nil, err
	}
	rules := make(dtab.Dtab, 0, len(q.Rules))
	for i, rule := range q.Rules {
		d, err := dtab.ParseDentry(rule.Prefix, rule.Dst)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "rules[%d].%v", i, err)
		}
		d.Source = dtab.Source{Object: rule.Object, Index: rule.Index}
		rules = append(rules, d)
	}
	uses := r.routes.Uses()
	if q.Names != nil {
		if uses, err = named(q.Names); err != nil {
			return nil, err
		}
	}
	return compare(ctx, r, rules, uses), nil
}

func named(names []string) ([]route.Use, error) {
	if len(names) > route.MaxNames {
		return nil, refuse(http.StatusBadRequest, "names: %d, at most %d are taken", len(names), route.MaxNames)
	}
	uses := make([]route.Use, len(names))
	for i, name := range names {
		path, err := dtab.ParsePath(name)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "names[%d]: %v", i, err)
		}
		uses[i].Path = path
	}
	return uses, nil
}

// compare binds the names under the rules in use and under the others, with the same namers.
func compare(ctx context.Context, r *router, rules dtab.Dtab, uses []route.Use) *Comparison {
	other, by := naming.NewInterpreter(), r.bindings.Load()
	other.SetHealth(r.routes.Glance(), r.routes.Glance())
	other.Set(dtab.Compile(rules), by.mounts, 0, by.changes...)
	out := &Comparison{Router: r.name, Names: len(uses), Changed: []Difference{}}
	for _, u := range uses {
		if ctx.Err() != nil {
			break
		}
		before := leadsOf(settled(ctx, r.routes.Follow(u.Path)))
		after := leadsOf(settled(ctx, other.Bind(u.Path, nil, func(naming.Tree, naming.State, error) {})))
		out.Compared++
		if moved := before.Moved(&after); moved > 0 {
			out.Changed = append(out.Changed, Difference{Name: u.Path.String(), Requests: u.Requests, Moved: moved, Old: before, New: after})
		}
	}
	return out
}

// settled waits for a name that a namer has not answered yet, at most as long as one explanation would.
func settled(ctx context.Context, n *naming.Name) *naming.Name {
	limit := time.NewTimer(delegateTimeout)
	defer limit.Stop()
	for {
		changed := n.Changed()
		if _, state, _ := n.Load(); state != naming.Pending {
			return n
		}
		select {
		case <-changed:
		case <-limit.C:
			return n
		case <-ctx.Done():
			return n
		}
	}
}
