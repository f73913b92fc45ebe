package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead/fairlead/proxy/admin"
	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/route"
)

const (
	// delegateTimeout is how long /delegator.json waits for namers, as Linkerd does.
	delegateTimeout = 2 * time.Second
	// compareTimeout is how long /diff.json may take.
	compareTimeout = 10 * time.Second
	// maxCompareBytes bounds the rules that /diff.json takes.
	maxCompareBytes = 32 << 20
)

// DelegateQuestion is what /delegator.json is asked. Namespace is Linkerd's word for Router.
type DelegateQuestion struct {
	Router    string `json:"router,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Path      string `json:"path"`
	// Dtab holds rules as a request brings them in l5d-dtab.
	Dtab string `json:"dtab,omitempty"`
}

// Questions returns the pages that explain.
func (a *App) Questions() map[string]admin.Question {
	return map[string]admin.Question{
		"/delegator.json": {
			About: "where a name leads, every branch tried; ?router=outgoing&path=/svc/web&dtab=...", MaxBytes: 2 * route.MaxKeyBytes,
			Timeout: delegateTimeout, Answer: a.answerDelegate,
		},
		"/diff.json": {
			About: "which names in use other rules would move; POST", MaxBytes: maxCompareBytes,
			Timeout: compareTimeout, PostOnly: true, Answer: a.answerCompare,
		},
	}
}

func refuse(status int, format string, args ...any) *admin.Refusal {
	return &admin.Refusal{Status: status, Message: fmt.Sprintf(format, args...)}
}

// router returns the router of that name; "" is the first of the Mesh.
func (a *App) router(name string) (*router, error) {
	cfg, routers := a.Config(), a.snapshotRouters()
	if cfg == nil || len(cfg.Routers) == 0 {
		return nil, refuse(http.StatusServiceUnavailable, "nothing is served yet")
	}
	r := routers[cmp.Or(name, cfg.Routers[0].Name)]
	if r == nil {
		names := make([]string, len(cfg.Routers))
		for i := range cfg.Routers {
			names[i] = cfg.Routers[i].Name
		}
		return nil, refuse(http.StatusNotFound, "there is no router %q: expected one of %s", name, strings.Join(names, ", "))
	}
	return r, nil
}

func (a *App) answerDelegate(ctx context.Context, query url.Values, body []byte) (any, error) {
	q := DelegateQuestion{Router: query.Get("router"), Namespace: query.Get("namespace"), Path: query.Get("path"), Dtab: query.Get("dtab")}
	if body != nil {
		q = DelegateQuestion{}
		if err := decodeQuestion(body, &q); err != nil {
			return nil, err
		}
	}
	return a.Delegate(ctx, &q)
}

// Delegate answers /delegator.json. The error is an *admin.Refusal.
func (a *App) Delegate(ctx context.Context, q *DelegateQuestion) (*naming.Step, error) {
	r, err := a.router(cmp.Or(q.Router, q.Namespace))
	if err != nil {
		return nil, err
	}
	path, local, err := q.parse()
	if err != nil {
		return nil, err
	}
	e := r.routes.Explain(ctx, path, local)
	if e.State == naming.Pending {
		return nil, refuse(http.StatusServiceUnavailable, "no answer of the namers of %s within %s", q.Path, delegateTimeout)
	}
	return e.Root, nil
}

func decodeQuestion(body []byte, q any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(q)
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	return nil
}

func (q *DelegateQuestion) parse() (dtab.Path, dtab.Dtab, error) {
	if q.Path == "" {
		return nil, nil, refuse(http.StatusBadRequest, "path: required")
	}
	path, err := dtab.ParsePath(q.Path)
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "%v", positioned("path", err))
	}
	local, err := dtab.Parse(q.Dtab)
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "%v", positioned("dtab", err))
	}
	if len(local) > maxOverrideDentries {
		return nil, nil, refuse(http.StatusBadRequest, "dtab: %d rules, at most %d are taken", len(local), maxOverrideDentries)
	}
	return path, local, nil
}

// positioned says where in what the mistake is, as for the same mistake in a file or a header.
func positioned(what string, err error) error {
	var e *dtab.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s:%d:%d: %s", what, e.Line, e.Column, e.Detail())
	}
	return fmt.Errorf("%s: %w", what, err)
}

// UseView is a name in use, and where its requests go.
type UseView struct {
	Name string `json:"name"`
	// Requests since the name came into use.
	Requests uint64 `json:"requests"`
	Leads    Leads  `json:"leads"`
}

// Leads is where the requests for a name go. Without Split, Outcome says why nowhere: neg, fail, pending or error.
type Leads struct {
	Outcome string      `json:"outcome"`
	Message string      `json:"message,omitempty"`
	Split   []SplitPart `json:"split,omitempty"`
}

// SplitPart is the share of one bound name, or of "$", from 0 to 1.
type SplitPart struct {
	ID    string  `json:"id"`
	Share float64 `json:"share"`
}

// Uses returns the names in use of every router, sorted.
func (a *App) Uses() map[string][]UseView {
	out := make(map[string][]UseView)
	for name, r := range a.snapshotRouters() {
		uses := r.routes.Uses()
		views := make([]UseView, 0, len(uses))
		for _, u := range uses {
			views = append(views, UseView{Name: u.Path.String(), Requests: u.Requests, Leads: leadsOf(r.routes.Follow(u.Path))})
		}
		out[name] = views
	}
	return out
}

// leadsOf returns where a name leads now, and closes it.
func leadsOf(n *naming.Name) Leads {
	defer n.Close()
	tree, state, err := n.Load()
	switch {
	case state == naming.Pending:
		return Leads{Outcome: "pending"}
	case state == naming.Failed && tree.Kind == dtab.Leaf && tree.Bound == nil:
		return Leads{Outcome: "error", Message: err.Error()}
	}
	l := Leads{Outcome: tree.Kind.String()}
	at := make(map[string]int)
	for _, s := range naming.Shares(tree) {
		id := "$"
		if s.Leaf.Bound != nil {
			l.Outcome = "bound"
			id = s.Leaf.Bound.ID.String()
		}
		if _, ok := at[id]; !ok {
			at[id] = len(l.Split)
			l.Split = append(l.Split, SplitPart{ID: id})
		}
		l.Split[at[id]].Share += s.Part
	}
	return l
}

// Moved returns the share of requests that go elsewhere with the other leads: 0 where nothing changes, 1 where all does.
func (l *Leads) Moved(other *Leads) float64 {
	if len(l.Split) == 0 || len(other.Split) == 0 {
		if l.Outcome == other.Outcome && len(l.Split) == len(other.Split) {
			return 0
		}
		return 1
	}
	stay := 0.0
	for _, p := range l.Split {
		for _, q := range other.Split {
			if p.ID == q.ID {
				stay += min(p.Share, q.Share)
			}
		}
	}
	const rounding = 1e-9
	if 1-stay < rounding {
		return 0
	}
	return 1 - stay
}
