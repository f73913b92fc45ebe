package naming

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
)

// Mount is a namer at its prefix.
type Mount struct {
	// Prefix is whole: /#/io.l5d.fs, /$/inet.
	Prefix dtab.Path
	Namer  Namer
	// Address marks namers that turn any text into an address. Rules that a request brings with it may not lead to them.
	Address bool
	// Transformers change, in order, what the namer's names are bound to.
	Transformers []*Transformer
}

// rules is what names are evaluated by. It is immutable.
type rules struct {
	table        *dtab.Table
	mounts       []Mount
	transformers transformers
	// health is nil where names follow Linkerd's rule, by which only what does not exist is passed over. glance is the same for one look.
	health, glance Health
}

// Interpreter binds names by a dtab over namers and keeps every bound name up to date when either changes.
type Interpreter struct {
	mu    sync.Mutex
	rules *rules
	names map[*Name]struct{}
}

// NewInterpreter returns an Interpreter by whose rules no name exists.
func NewInterpreter() *Interpreter {
	return &Interpreter{rules: &rules{table: dtab.Compile(nil)}, names: make(map[*Name]struct{})}
}

// Set replaces the dtab and the namers and evaluates every live name anew. When it returns, no name follows the old rules, but
// for those whose namers have not answered yet, and those whose namers fail and never answered: they keep their last good tree.
// For the former Set waits at most timeout. A namer that is in both sets must be the same
// value, and its watches go on. The transformers change every bound name, after those of its namer.
func (in *Interpreter) Set(table *dtab.Table, mounts []Mount, timeout time.Duration, transformers ...*Transformer) {
	in.mu.Lock()
	in.rules = &rules{
		table: table, mounts: slices.Clone(mounts), transformers: transformers, health: in.rules.health, glance: in.rules.glance,
	}
	names := make([]*Name, 0, len(in.names))
	for n := range in.names {
		names = append(names, n)
	}
	in.mu.Unlock()

	var waiting []*Name
	for _, n := range names {
		if n.evaluate() == pending {
			waiting = append(waiting, n)
		}
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for _, n := range waiting {
		if !n.settle(deadline.C) {
			return
		}
	}
}

// SetHealth says who knows the health of bound names from the next Set on: names then fall over to alternates that have a live endpoint.
// Explanations ask glance, which is to keep nothing. nil: nobody knows, and names are taken as long as they exist.
func (in *Interpreter) SetHealth(health, glance Health) {
	in.mu.Lock()
	defer in.mu.Unlock()
	next := *in.rules
	next.health, next.glance = health, glance
	in.rules = &next
}

func (in *Interpreter) current() *rules {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.rules
}

// Bind returns the live name of a path under the rules and those of local, which win. onChange is called with the tree and state
// of the name before Bind returns and after every change, by one goroutine at a time; it must not call back into the name. Whatever
// Source the rules of local have, they count as the request's own (LocalObject).
//
// A tree of a Name has only bound leaves, and is Ok with a Neg tree when the name does not exist.
func (in *Interpreter) Bind(p dtab.Path, local dtab.Dtab, onChange func(Tree, State, error)) *Name {
	return in.bind(p, false, local, onChange)
}

// BindOwn is Bind for a path that the request made up itself: like its rules it may not lead to an address.
func (in *Interpreter) BindOwn(p dtab.Path, local dtab.Dtab, onChange func(Tree, State, error)) *Name {
	return in.bind(p, true, local, onChange)
}

func (in *Interpreter) bind(p dtab.Path, isOwn bool, local dtab.Dtab, onChange func(Tree, State, error)) *Name {
	n := &Name{
		interpreter: in, path: p, isOwn: isOwn, local: ownRules(local), onChange: onChange,
		live: NewVar[Tree](), quit: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
		deps: deps{held: make(map[depKey]*dep)},
	}
	in.mu.Lock()
	in.names[n] = struct{}{}
	in.mu.Unlock()
	n.evaluate()
	go n.follow()
	return n
}

// ownRules returns the rules as those of a request.
func ownRules(local dtab.Dtab) dtab.Dtab {
	own := slices.Clone(local)
	for i := range own {
		own[i].Source.Object = LocalObject
	}
	return own
}

// Name is one path, bound, and kept up to date until it is closed. It implements Live[Tree].
type Name struct {
	interpreter *Interpreter
	path        dtab.Path
	isOwn       bool
	local       dtab.Dtab
	onChange    func(Tree, State, error)
	live        *Var[Tree]

	quit, done chan struct{}
	// wake tells follow that the set of watches changed.
	wake  chan struct{}
	close sync.Once

	mu sync.Mutex // guards all below
	// deps are the namers' answers the last evaluation used.
	deps   deps
	closed bool
	last   verdict
}

// Path returns the path that is bound.
func (n *Name) Path() dtab.Path { return n.path }

// Load implements Live.
func (n *Name) Load() (Tree, State, error) { return n.live.Load() }

// Changed implements Live.
func (n *Name) Changed() <-chan struct{} { return n.live.Changed() }

// Close implements Live. When it returns, onChange is not called any more.
func (n *Name) Close() {
	n.close.Do(func() {
		n.interpreter.mu.Lock()
		delete(n.interpreter.names, n)
		n.interpreter.mu.Unlock()
		close(n.quit)
		<-n.done
		n.mu.Lock()
		n.closed = true
		n.deps.close()
		n.mu.Unlock()
	})
}

// evaluate delegates the path by the current rules and publishes the result.
func (n *Name) evaluate() verdict {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return neg
	}
	n.deps.round++
	e := evaluation{rules: n.interpreter.current(), isOwn: n.isOwn, local: n.local, deps: &n.deps}
	out := e.run(n.path)
	n.deps.retire(!n.keepsTree(out))
	n.last = out.verdict
	n.publish(out)
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return out.verdict
}

// keepsTree reports whether the outcome leaves the last good tree in place. The watches below that tree then go on, so that its
// endpoints do not grow old.
func (n *Name) keepsTree(out outcome) bool {
	var rule *RuleError
	return out.verdict == pending || out.verdict == broken && !errors.As(out.err, &rule)
}

// publish makes the outcome the name's value. What a namer could not tell keeps the last good tree (promise 2); what the rules
// themselves say, also when it is an error, is told at once.
func (n *Name) publish(out outcome) {
	var rule *RuleError
	switch {
	case out.verdict == pending:
		if _, state, _ := n.live.Load(); state == Pending {
			n.onChange(Tree{}, Pending, nil)
		}
		return
	case out.verdict == broken && errors.As(out.err, &rule):
		n.live.Reset(out.err)
	case out.verdict == broken:
		n.live.Fail(out.err)
	case out.verdict == bound:
		n.live.Set(out.tree)
	default:
		n.live.Set(constantTree(out.verdict))
	}
	n.onChange(n.live.Load())
}

func constantTree(v verdict) Tree {
	switch v {
	case fail:
		return Tree{Kind: dtab.Fail}
	case empty:
		return Tree{Kind: dtab.Empty}
	}
	return Neg()
}

// follow evaluates anew whenever an answer of a namer changes.
func (n *Name) follow() {
	defer close(n.done)
	for {
		n.mu.Lock()
		cases := []reflect.SelectCase{
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(n.quit)},
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(n.wake)},
		}
		for _, d := range n.deps.held {
			if d.round != n.deps.round {
				continue // held for the endpoints of the last good tree: what it says now changes nothing
			}
			cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(d.changed)})
		}
		n.mu.Unlock()
		switch chosen, _, _ := reflect.Select(cases); chosen {
		case 0:
			return
		case 1:
		default:
			n.evaluate()
		}
	}
}

// settle waits until the name is no longer pending, or until the deadline fires.
func (n *Name) settle(deadline <-chan time.Time) bool {
	for {
		changed := n.live.Changed()
		n.mu.Lock()
		settled := n.last != pending || n.closed
		n.mu.Unlock()
		if settled {
			return true
		}
		select {
		case <-changed:
		case <-n.quit:
			return true
		case <-deadline:
			return false
		}
	}
}

// deps are the live answers of namers that an evaluation used, kept from one to the next so that watches go on.
type deps struct {
	held  map[depKey]*dep
	round int
}

type depKey struct {
	namer Namer
	path  string
	// used is the length of the prefix: one namer may be mounted twice.
	used int
	// addrs is nil but for the health of a bound name.
	addrs Live[Addrs]
}

// dep is an answer of a namer, or, with well and isWell, the health of a bound name as this round sees it.
type dep struct {
	live    Live[Tree]
	well    Live[bool]
	isWell  bool
	changed <-chan struct{}
	// round is the last one that asked. good means that the last good tree depends on it.
	round int
	good  bool
}

// lookup returns the namer's answer for a whole path.
func (ds *deps) lookup(m *Mount, p dtab.Path) (Tree, State, error) {
	key := depKey{namer: m.Namer, path: p.String(), used: len(m.Prefix)}
	d := ds.held[key]
	if d == nil {
		d = &dep{live: m.Namer.Lookup(p[len(m.Prefix):])}
		ds.held[key] = d
	}
	if d.round != ds.round {
		d.round = ds.round
		d.changed = d.live.Changed()
	}
	return d.live.Load()
}

// retire ends the watches that are no longer used. Where this round gave a tree, those are all that it did not ask for; otherwise
// the last good tree stays, and with it the watches below it.
func (ds *deps) retire(good bool) {
	for key, d := range ds.held {
		used := d.round == ds.round
		if good {
			d.good = used
		}
		if !used && !d.good {
			d.close()
			delete(ds.held, key)
		}
	}
}

func (ds *deps) close() {
	for _, d := range ds.held {
		d.close()
	}
	clear(ds.held)
}

func (d *dep) close() {
	if d.live != nil {
		d.live.Close()
	} else {
		d.well.Close()
	}
}
