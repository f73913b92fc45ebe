package naming_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/proxy/dtab"
	"github.com/fairlead/fairlead/proxy/naming"
	"github.com/fairlead/fairlead/proxy/naming/dns"
	"github.com/fairlead/fairlead/proxy/naming/utility"
)

func interpreter(t *testing.T, text string) (*naming.Interpreter, *fake, []naming.Mount) {
	t.Helper()
	f, in := newFake(), naming.NewInterpreter()
	mounts := append(utility.Mounts(dns.New(dns.Options{})), naming.Mount{Prefix: dtab.Path{"#"}, Namer: f})
	in.Set(table(t, text), mounts, time.Minute)
	return in, f, mounts
}

// bindNow binds /svc/web and returns the name as it is when Bind returns.
func bindNow(t *testing.T, in *naming.Interpreter) *naming.Name {
	t.Helper()
	n := in.Bind(path(t, "/svc/web"), nil, ignore)
	t.Cleanup(n.Close)
	return n
}

func TestBindFollowsNamers(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => /#/b; /svc => /#/a")
	f.at("/b/web").Set(leaf("/#/b/web"))
	n := bindNow(t, in)
	awaitTree(t, n, "/#/b/web")
	for range 20 {
		f.at("/a/web").Set(leaf("/#/a/web"))
		awaitTree(t, n, "/#/a/web")
		f.at("/a/web").Set(naming.Neg())
		awaitTree(t, n, "/#/b/web")
	}
	f.at("/b/web").Set(naming.Neg())
	awaitTree(t, n, "neg")
}

func TestFailedNamerKeepsTheLastGoodTree(t *testing.T) {
	in, f, mounts := interpreter(t, "/svc => /#/a")
	f.at("/a/web").Set(leaf("/#/a/web"))
	n := bindNow(t, in)
	f.at("/a/web").Fail(errors.New("watch broke"))
	// A second change that shows at once proves that the first was seen.
	f.at("/a/web").Set(leaf("/#/a/web-2"))
	awaitTree(t, n, "/#/a/web-2")
	f.at("/a/web").Reset(errors.New("lost all"))
	await(t, n, func(tree naming.Tree, s naming.State, err error) bool {
		if show(tree) != "/#/a/web-2" {
			t.Fatalf("tree became %s", show(tree))
		}
		return s == naming.Failed && strings.Contains(err.Error(), "namer /#: lost all")
	})
	// The same by new rules: a namer that fails and never answered hurts nobody, and the watch below the kept tree goes on.
	f.at("/a/web").Set(leaf("/#/a/web"))
	awaitTree(t, n, "/#/a/web")
	f.at("/dead/web").Reset(errors.New("no such thing"))
	in.Set(table(t, "/svc => /#/dead"), mounts, time.Minute)
	if tree, s, _ := n.Load(); show(tree) != "/#/a/web" || s != naming.Failed {
		t.Errorf("after rules that lead to a namer that fails: %s, state %d", show(tree), s)
	}
	if f.watches("/a/web") != 1 {
		t.Error("the watch below the tree that is still served was ended")
	}
	in.Set(table(t, "/svc => /#/b"), mounts, time.Minute)
	if tree, _, _ := n.Load(); show(tree) != "neg" || f.watches("") != 1 || f.watches("/b/web") != 1 {
		t.Errorf("after good rules: %s, watches %v", show(tree), f.open)
	}
}

func TestFailedNamerWithoutAnAnswer(t *testing.T) {
	for rules, want := range map[string]string{
		"/svc => /#/dead | /#/a":         "error", // an error ends an alternate
		"/svc => /#/dead & /#/a":         "/#/a/web",
		"/svc => /#/dead & /#/none":      "neg",
		"/svc => (/#/dead & !) | /#/a":   "/#/a/web",
		"/svc => /#/dead & /#/dead":      "error",
		"/svc => /#/a; /svc => /#/dead":  "error",
		"/svc => /#/dead; /svc => /#/a":  "/#/a/web",
		"/svc => 3*/#/dead & $":          "empty",
		"/svc => ! | /#/dead":            "fail",
		"/svc => ~ | /#/none | /#/a | !": "/#/a/web",
	} {
		in, f, _ := interpreter(t, rules)
		f.at("/dead/web").Reset(errors.New("no such thing"))
		f.at("/a/web").Set(leaf("/#/a/web"))
		tree, state, err := bindNow(t, in).Load()
		got := show(tree)
		if state == naming.Failed && err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", rules, got, want)
		}
	}
}

func TestPendingNamer(t *testing.T) {
	for rules, want := range map[string]string{
		"/svc => /#/slow | /#/a":      "pending",
		"/svc => /#/none | /#/slow":   "pending",
		"/svc => /#/a | /#/slow":      "/#/a/web",
		"/svc => /#/slow & /#/a":      "/#/a/web",
		"/svc => /#/slow & /#/none":   "pending", // it may yet be good
		"/svc => /#/slow & /$/nil":    "empty",
		"/svc => /#/a; /svc=>/#/slow": "pending",
	} {
		in, f, _ := interpreter(t, rules)
		slow := f.pending("/slow/web")
		f.at("/a/web").Set(leaf("/#/a/web"))
		n := bindNow(t, in)
		tree, state, _ := n.Load()
		got := show(tree)
		if state == naming.Pending {
			got = "pending"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", rules, got, want)
		}
		if want == "pending" {
			slow.Set(leaf("/#/slow/web"))
			awaitTree(t, n, "/#/slow/web")
		}
	}
}

// doubling returns rules whose names fan out to 2^n leaves.
func doubling(n int, last string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/%d => /%d & /%d;", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "/%d => %s; /svc => /0", n, last)
	return b.String()
}

func TestRuleErrorsShowAtOnceAndGoWithTheRules(t *testing.T) {
	for _, c := range []struct {
		rules, message string
		is             error
	}{
		{"/svc => /svc/more", "max recursion level: 100 reached in namer lookup", naming.ErrMaxDepth},
		{"/ => /$/inet/127.1/80", "max recursion level", naming.ErrMaxDepth},
		{doubling(12, "/#/a/web"), "more than 4096 lookups", naming.ErrMaxLookups},
		{doubling(30, "/#/a/web"), "more than 4096 lookups", naming.ErrMaxLookups},
		{"/svc => /$/no.such.namer", "/$/no.such.namer/web: /$/no.such.namer is not known", nil},
		{"/svc => /$/inet/host/http", `expected a port number from 1 to 65535, found "http"`, nil},
		{"/svc => /#/b; /svc => /$/no.such.namer", "is not known", nil},
	} {
		in, f, mounts := interpreter(t, "/svc => /#/b")
		f.at("/b/web").Set(leaf("/#/b/web"))
		f.at("/a/web").Set(leaf("/#/a/web"))
		n := bindNow(t, in)
		in.Set(table(t, c.rules), mounts, time.Minute)
		tree, state, err := n.Load()
		var rule *naming.RuleError
		if state != naming.Failed || !errors.As(err, &rule) || !strings.Contains(err.Error(), c.message) || show(tree) != "nothing" {
			t.Errorf("%.60s: tree %s, state %d, error %v", c.rules, show(tree), state, err)
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%.60s: %v is not %v", c.rules, err, c.is)
		}
		in.Set(table(t, "/svc => /#/b"), mounts, time.Minute)
		if tree, state, err = n.Load(); show(tree) != "/#/b/web" || state != naming.Ok || err != nil {
			t.Errorf("%.60s, mended: tree %s, state %d, error %v", c.rules, show(tree), state, err)
		}
		n.Close()
		if f.watches("") != 0 {
			t.Errorf("%.60s: watches left open: %v", c.rules, f.open)
		}
	}
}

// A name that goes in a circle says which rules lead there, and no others; without a circle, the last of them.
func TestDepthErrorNamesTheRules(t *testing.T) {
	chain := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "/%d => /%d;", i, i+1)
		}
		return fmt.Sprintf("%s/%d => %s; /svc => /0", b.String(), n, last)
	}
	const before = "max recursion level: 100 reached in namer lookup; "
	for rules, want := range map[string]string{
		"/svc => /svc/more":                                  "these lead in a circle: prod/a[0] /svc=>/svc/more",
		"/x => /#/b; /b => /c; /c => /b; /svc => /b":         "these lead in a circle: prod/a[1] /b=>/c, prod/a[2] /c=>/b",
		"/svc => /#/none | /a; /a => /#/none | /b; /b => /a": "these lead in a circle: prod/a[1] /a=>/#/none | /b, prod/a[2] /b=>/a",
		"/h => /$/io.buoyant.http.domainToPathPfx/svc; /svc => /h": "these lead in a circle: prod/a[1] /svc=>/h, " +
			"prod/a[0] /h=>/$/io.buoyant.http.domainToPathPfx/svc, /$",
		chain(6, "/0"):  "these lead in a circle: prod/a[0] /0=>/1, prod/a[1] /1=>/2, prod/a[2] /2=>/3, prod/a[3] /3=>/4, prod/a[4] /4=>/5, and 2 more",
		chain(120, "!"): "the last rules were: prod/a[94] /94=>/95, prod/a[95] /95=>/96, prod/a[96] /96=>/97, prod/a[97] /97=>/98, prod/a[98] /98=>/99",
		"/svc => /svc/" + strings.Repeat("x", 500): "these lead in a circle: prod/a[0] /svc=>/svc/" + strings.Repeat("x", 107) + "...",
	} {
		in, _, mounts := interpreter(t, "")
		d, err := dtab.Parse(rules)
		if err != nil {
			t.Fatal(err)
		}
		for i := range d {
			d[i].Source = dtab.Source{Object: "prod/a", Index: i}
		}
		in.Set(dtab.Compile(d), mounts, time.Minute)
		_, _, err = bindNow(t, in).Load()
		if !errors.Is(err, naming.ErrMaxDepth) || !strings.HasSuffix(err.Error(), before+want) {
			t.Errorf("%.80s: %v\nwant %s", rules, err, want)
		}
		if x := in.Explain(t.Context(), path(t, "/svc/web"), nil); x.Err == nil || x.Err.Error() != err.Error() {
			t.Errorf("%.80s: explained as %v, served as %v", rules, x.Err, err)
		}
	}
	in, _, _ := interpreter(t, "")
	local, err := dtab.Parse("/a => /b; /svc => /svc")
	if err != nil {
		t.Fatal(err)
	}
	n := in.Bind(path(t, "/svc/web"), local, ignore)
	defer n.Close()
	if _, _, err := n.Load(); err == nil || !strings.Contains(err.Error(), "circle: l5d-dtab[") || !strings.HasSuffix(err.Error(), " /svc=>/svc") {
		t.Errorf("a circle of a request's own rules: %v", err)
	}
}

func TestDepthCountsAsInLinkerd(t *testing.T) {
	for rewrites, want := range map[int]string{98: "/#/a/web", 99: "/#/a/web", 100: "nothing"} {
		var rules strings.Builder
		for i := range rewrites - 1 {
			fmt.Fprintf(&rules, "/%d => /%d;", i, i+1)
		}
		fmt.Fprintf(&rules, "/%d => /#/a", rewrites-1)
		in, f, _ := interpreter(t, rules.String())
		f.at("/a/web").Set(leaf("/#/a/web"))
		n := in.Bind(path(t, "/0/web"), nil, ignore)
		if tree, _, err := n.Load(); show(tree) != want || (err != nil) != (want == "nothing") {
			t.Errorf("%d rewrites: %s, %v", rewrites, show(tree), err)
		}
		n.Close()
	}
}

func TestSharesAndSources(t *testing.T) {
	in, f, mounts := interpreter(t, "")
	f.at("/a/web").Set(leaf("/#/a/web"))
	f.at("/b/web").Set(leaf("/#/b/web"))
	d, err := dtab.Parse("/svc => /base; /base => /#/a; /svc/web => 9 * /base/web & 1 * /#/b/web")
	if err != nil {
		t.Fatal(err)
	}
	d[2].Source = dtab.Source{Object: "default/web", Index: 7}
	in.Set(dtab.Compile(d), mounts, time.Minute)
	tree, _, _ := bindNow(t, in).Load()
	if show(tree) != "9*/#/a/web 1*/#/b/web " {
		t.Fatalf("tree %s", show(tree))
	}
	// The rule of the Mesh below a rule of a Dtab takes nothing away from it.
	for i, want := range []string{"/base/web", "/#/b/web"} {
		b := tree.Branches[i].Tree
		if b.Source != (dtab.Source{Object: "default/web", Index: 7}) || b.Path.String() != want {
			t.Errorf("branch %d comes from %+v %s, want default/web %s", i, b.Source, b.Path, want)
		}
	}
}

func TestRulesOfTheRequestMayNotLeadToAddresses(t *testing.T) {
	in, f, _ := interpreter(t, "/open => /$/inet/127.0.0.1; /back => /svc; /svc => /#/a")
	f.at("/a/web").Set(leaf("/#/a/web"))
	for local, denied := range map[string]bool{
		"/svc => /$/inet/127.0.0.1/80":                         true,
		"/svc => /x; /x => /$/inet/127.0.0.1/80":               true,
		"/svc/web => /open/80":                                 true,
		"/svc => /$/io.buoyant.http.domainToPathPfx/open/80.x": true,
		"/svc => /#/a":                                         false,
		"/svc/web => /$/fail":                                  false,
	} {
		d, err := dtab.Parse(local)
		if err != nil {
			t.Fatal(err)
		}
		n := in.Bind(path(t, "/svc/web"), d, ignore)
		_, _, err = n.Load()
		if errors.Is(err, naming.ErrLocalAddress) != denied {
			t.Errorf("%s: %v, want denied: %v", local, err, denied)
		}
		if d[0].Source.Object != "" {
			t.Errorf("%s: the caller's dtab was changed", local)
		}
		n.Close()
	}
}

func TestSetWaitsForPendingNamesUpToItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, f, mounts := interpreter(t, "/svc => /#/a")
		f.at("/a/web").Set(leaf("/#/a/web"))
		slow := f.pending("/slow/web")
		n := bindNow(t, in)
		begin := time.Now()
		in.Set(table(t, "/svc => /#/slow"), mounts, 3*time.Second)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("Set took %v, want its timeout", took)
		}
		// The old tree serves on, so the watch below it must go on too, and that of the new rules with it.
		if tree, s, _ := n.Load(); show(tree) != "/#/a/web" || s != naming.Ok {
			t.Errorf("while the namer has not answered: %s, state %d", show(tree), s)
		}
		if f.watches("/a/web") != 1 || f.watches("/slow/web") != 1 {
			t.Errorf("watches %v", f.open)
		}
		f.at("/a/web").Set(naming.Neg()) // of the old rules: says nothing any more
		synctest.Wait()
		if tree, _, _ := n.Load(); show(tree) != "/#/a/web" {
			t.Errorf("the name follows old rules: %s", show(tree))
		}
		for range 3 {
			in.Set(table(t, "/svc => /#/slow"), mounts, 0)
			in.Set(table(t, "/svc => /#/slow | /#/other"), mounts, 0)
		}
		if f.watches("") != 2 {
			t.Errorf("watches pile up while a namer is silent: %v", f.open)
		}
		go func() {
			time.Sleep(time.Second) // the clock of the bubble
			slow.Set(leaf("/#/slow/web"))
		}()
		begin = time.Now()
		in.Set(table(t, "/svc => /#/slow"), mounts, time.Minute)
		if tree, _, _ := n.Load(); show(tree) != "/#/slow/web" || time.Since(begin) != time.Second {
			t.Errorf("after %v: %s", time.Since(begin), show(tree))
		}
		if f.watches("") != 1 {
			t.Errorf("watches of the old rules are left: %v", f.open)
		}
	})
}

func TestSetDoesNotWaitForANameThatCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, f, mounts := interpreter(t, "")
		f.pending("/slow/web")
		n := in.Bind(path(t, "/svc/web"), nil, ignore)
		go func() {
			time.Sleep(time.Second) // the clock of the bubble
			n.Close()
		}()
		begin := time.Now()
		in.Set(table(t, "/svc => /#/slow"), mounts, time.Hour)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("Set took %v, want the second until the name closed", took)
		}
	})
}

// When Set returns, no name shows what the old rules said, however many come and go meanwhile; and nothing is left when all closed.
func TestSetUnderConcurrentBindAndClose(t *testing.T) {
	in, f, mounts := interpreter(t, "/svc => /#/v0")
	for i := range 2 {
		f.at(fmt.Sprintf("/v%d/web", i)).Set(leaf(fmt.Sprintf("/#/v%d/web", i)))
	}
	var wait sync.WaitGroup
	quit := make(chan struct{})
	for range 4 {
		wait.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				n := in.Bind(dtab.Path{"svc", "web"}, nil, ignore)
				twice := make(chan struct{})
				go func() { n.Close(); close(twice) }()
				n.Close()
				<-twice
			}
		})
	}
	wait.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				f.at("/v1/web").Set(leaf("/#/v1/web"))
			}
		}
	})
	var names []*naming.Name
	for i := range 300 {
		names = append(names, in.Bind(dtab.Path{"svc", "web"}, nil, ignore))
		version := fmt.Sprintf("/v%d", i%2)
		in.Set(table(t, "/svc => /#"+version), mounts, time.Minute)
		for k, n := range names {
			if tree, _, _ := n.Load(); show(tree) != "/#"+version+"/web" {
				t.Fatalf("after Set %d name %d shows %s", i, k, show(tree))
			}
		}
		if len(names) > 20 {
			names[0].Close()
			names = names[1:]
		}
	}
	close(quit)
	wait.Wait()
	for _, n := range names {
		n.Close()
	}
	if f.watches("") != 0 {
		t.Errorf("watches left open: %v", f.open)
	}
}

// onChange is never called again once Close returned, and tells the whole story before.
func TestOnChange(t *testing.T) {
	in, f, _ := interpreter(t, "/svc => /#/a")
	slow := f.pending("/a/web")
	var mu sync.Mutex
	var seen []string
	n := in.Bind(path(t, "/svc/web"), nil, func(tree naming.Tree, s naming.State, _ error) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprint(s, " ", show(tree)))
	})
	slow.Set(leaf("/#/a/web"))
	awaitTree(t, n, "/#/a/web")
	n.Close()
	slow.Set(naming.Neg())
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, ", "); got != "0 nothing, 1 /#/a/web" {
		t.Errorf("told: %s", got)
	}
	if n.Path().String() != "/svc/web" {
		t.Errorf("path %s", n.Path())
	}
}
