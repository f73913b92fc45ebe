package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
)

var randomPairs = flag.Int("random-pairs", 3000, "pairs of random rules and names that TestServedAsByReference compares")

// Any dtab gives any name what the reference evaluator says.
func TestServedAsByReference(t *testing.T) {
	pairs := *randomPairs
	random := rand.New(rand.NewPCG(1, 2))
	given := []givenNamer{
		{Kind: "error", Prefix: "/#/broken"},
		{Kind: "io.l5d.rewrite", Prefix: "/#/turn", Pattern: "/{x}/{y}", Name: "/{y}/{x}"},
	}
	names := []string{"/#/a", "/#/b/c", "/#/c/a/b"}
	mounts := mountsOf(t, names, given)
	compared, wide := 0, 0
	for range pairs {
		d := randomDtab(random)
		p := randomPath(random, 1+random.IntN(3))
		// Rules that fan out without end take long and are all alike: a few will do.
		o := &oracle{t: t, dtab: d, bound: names, given: given, maxVisits: 300}
		if _, err := o.bind(p, 0); len(o.visits) >= o.maxVisits && err != nil {
			if wide++; wide > 5 {
				continue
			}
		}
		if checkServed(t, &oracle{t: t, dtab: d, bound: names, given: given}, p, mounts) {
			compared++
		}
		if t.Failed() {
			return
		}
	}
	if compared < pairs*8/10 {
		t.Errorf("only %d of %d pairs could be compared", compared, pairs)
	}
}

// flipping is a namer of names whose answers change. It holds what each name was answered last, for the reference evaluator.
type flipping struct {
	mu    sync.Mutex
	live  map[string]*naming.Var[naming.Tree]
	last  map[string]answer
	asked []string
}

// at returns what is answered for the name, which is Neg until it is set.
func (f *flipping) at(name string) *naming.Var[naming.Tree] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live[name] == nil {
		f.live[name] = naming.Fixed(naming.Neg())
		f.asked = append(f.asked, name)
	}
	return f.live[name]
}

// wasAsked reports whether any name was asked for.
func (f *flipping) wasAsked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked) > 0
}

func (f *flipping) lookup(p dtab.Path) naming.Live[naming.Tree] { return f.at(p.String()) }

// flip gives one of the names that were asked for another answer. A failure changes nothing that was known.
func (f *flipping) flip(r *rand.Rand) {
	f.mu.Lock()
	name := f.asked[r.IntN(len(f.asked))]
	f.mu.Unlock()
	p, err := dtab.ParsePath("/#" + name)
	if err != nil {
		panic(err)
	}
	v := f.at(name)
	var a answer
	switch n := r.IntN(12); n {
	case 0:
		v.Fail(errors.New("watch lost"))
		f.flip(r) // of another one, most often: what comes of it shows that the failure came to nothing
		return
	case 1, 2, 3:
		a = only([]dtab.Kind{dtab.Neg, dtab.Fail, dtab.Empty}[n-1])
		v.Set(naming.Tree{Kind: a.tree.Kind})
	case 4, 5:
		a = reenter(randomPath(r, r.IntN(3)))
		v.Set(naming.PathLeaf(a.tree.Path))
	default:
		a = bound(p, 1+r.IntN(len(p)))
		v.Set(naming.BoundLeaf(&naming.Bound{ID: a.tree.Path, Residual: a.residual, Addrs: naming.Fixed(naming.Addrs{})}))
	}
	f.last[p.String()] = a
}

// flippingTree returns a tree whose leaves are names of the namer.
func flippingTree(r *rand.Rand, depth int) dtab.Tree {
	t := dtab.Tree{Kind: []dtab.Kind{dtab.Alt, dtab.Union}[r.IntN(2)]}
	if depth == 0 || r.IntN(4) == 0 {
		return dtab.Tree{Kind: dtab.Leaf, Path: dtab.Path{"#", []string{"a", "b", "c", "d"}[r.IntN(4)]}}
	}
	for range 2 + r.IntN(2) {
		t.Branches = append(t.Branches, dtab.Weighted{Weight: float64(r.IntN(4)), Tree: flippingTree(r, depth-1)})
	}
	return t
}

// A name whose namers change their answers, one at a time, is at last what the reference evaluator makes of the answers that stand.
func TestServedAsByReferenceWhileNamersFlip(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	flips := 0
	for range 200 {
		f := &flipping{live: make(map[string]*naming.Var[naming.Tree]), last: make(map[string]answer)}
		mounts := append(mountsOf(t, nil, nil), naming.Mount{Prefix: dtab.Path{"#"}, Namer: &namerFunc{f.lookup}})
		d, p := randomDtab(random), dtab.Path{"svc", "a"}
		d = append(d, dtab.Dentry{Prefix: dtab.Prefix{{Label: "svc"}}, Dst: flippingTree(random, 2)})
		o := &oracle{t: t, dtab: d, maxVisits: 300}
		if _, err := o.bind(p, 0); errors.Is(err, errMaxVisits) || len(o.visits) >= o.maxVisits {
			continue
		}
		in := naming.NewInterpreter()
		in.Set(dtab.Compile(d), mounts, time.Minute)
		name := in.Bind(p, nil, func(naming.Tree, naming.State, error) {})
		for range 20 {
			if !f.wasAsked() {
				break
			}
			f.flip(random)
			o := &oracle{t: t, dtab: d, answers: f.last, maxVisits: 300}
			tree, err := o.bind(p, 0)
			if len(o.visits) >= o.maxVisits {
				break // too wide to tell
			}
			want := tree.String()
			if err != nil {
				want = "error:" + err.Error()
			}
			awaitServed(t, name, fmt.Sprintf("%s by %s with %v", p, d, f.last), want)
			if t.Failed() {
				return
			}
			flips++
		}
		name.Close()
	}
	if flips < 2000 {
		t.Errorf("only %d answers were changed", flips)
	}
}

// awaitServed waits until the name is served as want.
func awaitServed(t *testing.T, name *naming.Name, what, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		changed := name.Changed()
		tree, state, err := name.Load()
		s := served{err: err, residual: make(map[string]dtab.Path)}
		if err == nil && state == naming.Ok {
			s.tree = s.shown(tree)
		}
		got := s.String()
		if got == want || err != nil && strings.HasPrefix(want, "error:") && strings.HasSuffix(got, want[len("error:"):]) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Errorf("%s:\n got %s, state %d\nwant %s", what, got, state, want)
			return
		}
	}
}

func randomDtab(r *rand.Rand) (d dtab.Dtab) {
	for i := range r.IntN(7) {
		var x dtab.Prefix
		for _, label := range randomPath(r, r.IntN(3)) {
			x = append(x, dtab.Elem{Label: label, Any: r.IntN(4) == 0})
		}
		if len(x) == 0 && r.IntN(4) > 0 {
			x = dtab.Prefix{{Label: "a"}}
		}
		d = append(d, dtab.Dentry{Prefix: x, Dst: randomTree(r, 3), Source: dtab.Source{Index: i}})
	}
	return d
}

func randomTree(r *rand.Rand, depth int) dtab.Tree {
	kind := dtab.Leaf
	if n := r.IntN(10); n < 3 && depth > 0 {
		kind = []dtab.Kind{dtab.Alt, dtab.Union}[r.IntN(2)]
	} else if n == 9 {
		kind = []dtab.Kind{dtab.Neg, dtab.Fail, dtab.Empty}[r.IntN(3)]
	}
	t := dtab.Tree{Kind: kind}
	switch kind {
	case dtab.Leaf:
		t.Path = randomPath(r, r.IntN(4))
	case dtab.Alt, dtab.Union:
		for range 2 + r.IntN(2) {
			t.Branches = append(t.Branches, dtab.Weighted{Weight: []float64{0, 1, 2, 0.001, 1e9}[r.IntN(5)], Tree: randomTree(r, depth-1)})
		}
	}
	return t
}

// randomPath returns a path that often begins as a namer's.
func randomPath(r *rand.Rand, n int) dtab.Path {
	fronts := [][]string{
		{"#"}, {"#", "a"}, {"#", "b", "c"}, {"#", "none"}, {"#", "broken"}, {"#", "turn"},
		{"$", "nil"}, {"$", "fail"}, {"$", "no.such.namer"}, {"$", "inet", "10.0.0.1", "80"}, {"$", "inet", "8080"}, {"$"},
		{"$", "io.buoyant.http.domainToPathPfx"}, {"$", "io.buoyant.http.domainToPath"}, {"$", "io.buoyant.http.subdomainOf", "b"},
		{"$", "io.buoyant.http.subdomainOfPfx", "b"}, {"$", "io.buoyant.http.anyHost"}, {"$", "io.buoyant.http.anyHostPfx"},
		{"$", "io.buoyant.http.anyMethod"}, {"$", "io.buoyant.http.anyMethodPfx"}, {"$", "io.buoyant.hostportPfx"},
		{"$", "io.buoyant.porthostPfx"}, {"$", "io.buoyant.rinet", "80"}, {"$", "io.buoyant.rinet"}, {"$", "fixedinet"},
		{"$", "io.buoyant.http.status"}, {"$", "io.buoyant.http.status", "404"},
	}
	var p dtab.Path
	if n > 0 && r.IntN(2) == 0 {
		p = p.Append(fronts[r.IntN(len(fronts))]...)
	}
	for range n {
		p = p.Append([]string{"a", "b", "c", "d", "a.b", "GET", "a.b:80", "a:http"}[r.IntN(8)])
	}
	return p
}
