package naming

import "github.com/fairlead/fairlead/proxy/dtab"

// Types of a Step, as Linkerd's delegator.json has them; StepPending is ours.
const (
	StepDelegate       = "delegate"
	StepAlt            = "alt"
	StepUnion          = "union"
	StepLeaf           = "leaf"
	StepNeg            = "neg"
	StepFail           = "fail"
	StepEmpty          = "empty"
	StepException      = "exception"
	StepTransformation = "transformation"
	// StepPending is a name that a namer has not answered yet.
	StepPending = "pending"
)

// Step is one node of an explained delegation: a path, or a tree where a rule gave more than a path, and what became of it.
type Step struct {
	Type string `json:"type"`
	// Path is what was looked up, or the tree in show form.
	Path string `json:"path"`
	// Dentry is the rule that led here, nil for what was asked for and for what a namer answered.
	Dentry *StepDentry `json:"dentry,omitempty"`
	// Namer is the prefix of the namer that answered for Path.
	Namer string `json:"namer,omitempty"`

	// Delegate, Alt and Union are what follows, by Type.
	Delegate *Step       `json:"delegate,omitempty"`
	Alt      []*Step     `json:"alt,omitempty"`
	Union    []StepShare `json:"union,omitempty"`
	// Name is the transformer of a transformation by its prefix, and Tree what it makes.
	Name string `json:"name,omitempty"`
	Tree *Step  `json:"tree,omitempty"`
	// Bound is the name of a leaf.
	Bound *StepBound `json:"bound,omitempty"`
	// Message says what an exception is, in words, and of a name that does not exist that no namer could have known it.
	Message string `json:"message,omitempty"`

	// Cycle is the way of a circle, from a name to itself, where this step is in one: what follows is left out.
	Cycle []string `json:"cycle,omitempty"`

	// Outcome is what this part comes to by itself: bound, neg, fail, empty, pending or error.
	Outcome string `json:"outcome"`
	// Unhealthy says of an alternate that it has no live endpoint. It is passed over, unless it is Primary since no other has one.
	Unhealthy bool `json:"unhealthy,omitempty"`
	// Primary marks the steps that requests take.
	Primary bool `json:"primary,omitempty"`
	// Share is the part of the requests that ends at this leaf or "$", from 0 to 1, or goes around again where a circle has a way out.
	Share float64 `json:"share,omitempty"`
	// Truncated says that steps below this one were left out, because there are more than MaxSteps.
	Truncated bool `json:"truncated,omitempty"`

	out outcome
	// more makes what follows a step that the delegation did not reach.
	more func()
	// detached steps are evaluated and not shown, passed ones are alternates in whose place another was taken.
	detached, visited, passed bool
	// kept and total are the number and the weight of the branches that a union keeps.
	kept  int
	total float64
}

// StepDentry is a rule, and where it stands.
type StepDentry struct {
	Prefix string `json:"prefix"`
	Dst    string `json:"dst"`
	// Object is namespace/name of the Dtab, "" for a rule of the Mesh, and LocalObject for one that a request brought.
	Object string `json:"object,omitempty"`
	Index  int    `json:"index"`
}

// StepShare is a branch of a union with its weight.
type StepShare struct {
	Weight float64 `json:"weight"`
	Tree   *Step   `json:"tree"`
}

// StepBound is a bound name and its endpoints.
type StepBound struct {
	ID string `json:"id"`
	// Path is the residual: the part of the path that the namer did not use.
	Path string `json:"path"`
	// Status, when it is not 0, is the HTTP status that answers in place of endpoints.
	Status int       `json:"status,omitempty"`
	Addr   *StepAddr `json:"addr,omitempty"`
}

// StepAddr is a set of endpoints as it is now.
type StepAddr struct {
	// State is bound, pending or failed.
	State string `json:"type"`
	// Error says why it failed, or why there are no endpoints.
	Error string `json:"error,omitempty"`
	// Total counts the endpoints, of which Addrs has at most MaxStepAddrs.
	Total     int            `json:"total"`
	Available int            `json:"available"`
	Addrs     []StepEndpoint `json:"addrs,omitempty"`
}

// StepEndpoint is one endpoint.
type StepEndpoint struct {
	Addr    string  `json:"addr"`
	Node    string  `json:"node,omitempty"`
	Zone    string  `json:"zone,omitempty"`
	Weight  float64 `json:"weight"`
	Serving bool    `json:"serving"`
}

// addrOf returns the endpoints of a bound name.
func addrOf(b *Bound) *StepAddr {
	addrs, state, err := b.Addrs.Load()
	out := &StepAddr{State: map[State]string{Pending: "pending", Ok: "bound", Failed: "failed"}[state], Total: len(addrs.Endpoints)}
	switch {
	case err != nil:
		out.Error = err.Error()
	case out.Total == 0:
		out.Error = addrs.None
	}
	for i := range addrs.Endpoints {
		e := &addrs.Endpoints[i]
		if e.Serving {
			out.Available++
		}
		if i < MaxStepAddrs {
			out.Addrs = append(out.Addrs, StepEndpoint{Addr: e.Addr.String(), Node: e.Node, Zone: e.Zone, Weight: e.Weight, Serving: e.Serving})
		}
	}
	return out
}

// mark marks what requests take below s, which gets share of them.
func (s *Step) mark(share float64) {
	s.Primary = true
	switch s.Type {
	case StepLeaf, StepEmpty:
		s.Share = share
	case StepDelegate:
		if s.Delegate != nil {
			s.Delegate.mark(share)
		} else if s.Cycle != nil {
			s.Share = share
		}
	case StepTransformation:
		if s.Tree != nil {
			s.Tree.mark(share)
		}
	case StepAlt:
		for _, c := range s.Alt {
			if c.visited && !c.passed && c.out.verdict != neg {
				c.mark(share)
				return
			}
		}
	case StepUnion:
		s.markUnion(share)
	}
}

// markUnion marks the branches that a union keeps, or the one that decides that it keeps none.
func (s *Step) markUnion(share float64) {
	for _, c := range s.Union {
		switch v := c.Tree.out.verdict; {
		case v == bound || v == empty:
			c.Tree.mark(share * part(c.Weight, s.total, s.kept))
		case s.kept == 0 && v == s.out.verdict && v != neg:
			c.Tree.mark(share)
			return
		}
	}
}

// part is the share of one of n branches; all weights zero means equal shares.
func part(weight, total float64, n int) float64 {
	if total > 0 {
		return weight / total
	}
	return 1 / float64(n)
}

// Share is a part of the requests for a name.
type Share struct {
	// Leaf is a bound leaf, or Empty: requests that get nothing.
	Leaf Tree
	Part float64
}

// Shares returns where the requests for a bound tree go, in the order of its leaves. It is nil for Neg and Fail.
func Shares(t Tree) []Share { return appendShares(nil, t, 1) }

func appendShares(out []Share, t Tree, share float64) []Share {
	switch t.Kind {
	case dtab.Leaf, dtab.Empty:
		return append(out, Share{t, share})
	case dtab.Union:
		total := 0.0
		for _, b := range t.Branches {
			total += b.Weight
		}
		for _, b := range t.Branches {
			out = appendShares(out, b.Tree, share*part(b.Weight, total, len(t.Branches)))
		}
	}
	return out
}
