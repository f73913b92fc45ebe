// Package conformance holds Fairlead to facts that were gathered from the system it succeeds.
//
// testdata/dtab-cases.json is the dtab language as Finagle and Linkerd 1.x have it, one fact per case. What package dtab answers by
// itself is asked of it; what takes a delegation, a namer or a playground is asked of the reference evaluator in this package's
// test files, which is written for plainness, from the specification alone, and serves no request. The delegation that serves
// requests is then held to the cases and to the reference evaluator.
package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/dtab"
)

var casesFile = flag.String("dtab-cases", "testdata/dtab-cases.json", "the dtab conformance cases to run")

// dtabCase is one fact. Which fields count depends on Kind.
type dtabCase struct {
	Name   string          `json:"name"`
	Kind   string          `json:"kind"`
	Dtab   string          `json:"dtab"`
	Path   string          `json:"path"`
	Expect json.RawMessage `json:"expect"`

	// Bound are the names that exist below /#/.
	Bound     []string           `json:"bound"`
	Residual  json.RawMessage    `json:"residual"`
	Fractions map[string]float64 `json:"fractions"`
	Visits    []string           `json:"visits"`
	BoundName bool               `json:"boundName"`
	Given     struct {
		Namers []givenNamer `json:"namers"`
	} `json:"given"`

	Pattern    string `json:"pattern"`
	Template   string `json:"name_template"`
	Base       string `json:"base"`
	CtxHeader  string `json:"ctxHeader"`
	UserHeader string `json:"userHeader"`
	Prefix     string `json:"prefix"`
	Dentries   int    `json:"dentries"`

	Note   string `json:"note"`
	Source string `json:"source"`
}

type givenNamer struct {
	Kind      string `json:"kind"`
	Prefix    string `json:"prefix"`
	Pattern   string `json:"pattern"`
	Name      string `json:"name"`
	Behaviour string `json:"behaviour"`
}

func readCases(t *testing.T) []dtabCase {
	t.Helper()
	data, err := os.ReadFile(*casesFile)
	if err != nil {
		t.Fatal(err)
	}
	var cases []dtabCase
	dec := json.NewDecoder(bytes.NewReader(data))
	// A field that is not read here is a fact that is not tested.
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cases); err != nil {
		t.Fatalf("%s: %v", *casesFile, err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", *casesFile)
	}
	return cases
}

func TestDtabCases(t *testing.T) {
	kinds := map[string]func(*testing.T, dtabCase){
		"path-ok": textOK(dtab.ParsePath), "path-error": textError(dtab.ParsePath, pathText),
		"tree-ok": textOK(dtab.ParseTree), "tree-error": textError(dtab.ParseTree, dtabText),
		"parse-ok": parseOK, "parse-error": textError(dtab.Parse, dtabText),
		"lookup": lookup, "simplify": simplify, "dtab-simplify": dtabSimplify, "strip-prefix": stripPrefix,
		"eval": evaluate, "bind": bind, "override": override, "header": header,
		"namer": utilityNamer, "rewrite": rewrite, "pathmatch": pathMatch, "delegate": delegate,
	}
	for _, c := range readCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			run, ok := kinds[c.Kind]
			if !ok {
				t.Fatalf("unknown kind %q", c.Kind)
			}
			run(t, c)
		})
	}
}

func pathText(c dtabCase) string { return c.Path }
func dtabText(c dtabCase) string { return c.Dtab }

// expected returns the expectation of a kind that expects a text.
func (c dtabCase) expected(t *testing.T) string {
	t.Helper()
	return decode[string](t, c.Expect)
}

func decode[T any](t *testing.T, data json.RawMessage) (v T) {
	t.Helper()
	if len(data) == 0 {
		return v
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// must returns a function that gives the parsed text, or ends the test.
func must[T any](t *testing.T, parse func(string) (T, error), s string) T {
	t.Helper()
	v, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func textOK[T interface{ String() string }](parse func(string) (T, error)) func(*testing.T, dtabCase) {
	return func(t *testing.T, c dtabCase) {
		text := c.Dtab
		if c.Path != "" {
			text = c.Path
		}
		shown := must(t, parse, text).String()
		same(t, "show form", shown, c.expected(t))
		same(t, "show form of the show form", must(t, parse, shown).String(), shown)
	}
}

func textError[T any](parse func(string) (T, error), text func(dtabCase) string) func(*testing.T, dtabCase) {
	return func(t *testing.T, c dtabCase) {
		_, err := parse(text(c))
		var e *dtab.Error
		if !errors.As(err, &e) {
			t.Fatalf("no *dtab.Error: %v", err)
		}
		same(t, "error", err.Error(), c.expected(t))
	}
}

func parseOK(t *testing.T, c dtabCase) {
	textOK(dtab.Parse)(t, c)
	if d := must(t, dtab.Parse, c.Dtab); len(d) != c.Dentries {
		t.Errorf("%d dentries, want %d", len(d), c.Dentries)
	}
}

func lookup(t *testing.T, c dtabCase) {
	d, p := must(t, dtab.Parse, c.Dtab), must(t, dtab.ParsePath, c.Path)
	same(t, "lookup", d.Lookup(p).String(), c.expected(t))
	same(t, "lookup in the compiled table", dtab.Compile(d).Lookup(p).String(), c.expected(t))
}

func simplify(t *testing.T, c dtabCase) {
	same(t, "simplified", must(t, dtab.ParseTree, c.Dtab).Simplify().String(), c.expected(t))
}

func dtabSimplify(t *testing.T, c dtabCase) {
	same(t, "simplified", must(t, dtab.Parse, c.Dtab).Simplify().String(), c.expected(t))
}

func stripPrefix(t *testing.T, c dtabCase) {
	d := must(t, dtab.Parse, c.Dtab).StripPrefix(must(t, dtab.Parse, c.Prefix))
	same(t, "stripped", d.String(), c.expected(t))
}

func evaluate(t *testing.T, c dtabCase) {
	got, want := eval(must(t, dtab.ParseTree, c.Dtab)), decode[[]string](t, c.Expect)
	slices.Sort(got)
	if (got == nil) != (want == nil) || !slices.Equal(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}

func bind(t *testing.T, c dtabCase) {
	checkBind(t, c, must(t, dtab.Parse, c.Dtab))
}

func checkBind(t *testing.T, c dtabCase, d dtab.Dtab) {
	t.Helper()
	o := &oracle{dtab: d, bound: c.Bound, given: c.Given.Namers}
	tree, err := o.bind(must(t, dtab.ParsePath, c.Path), 0)
	got := tree.String()
	if err != nil {
		got = "error:" + err.Error()
	}
	same(t, "bound tree", got, c.expected(t))
	for id, residual := range decode[map[string]string](t, c.Residual) {
		same(t, "residual of "+id, o.residual[id].String(), residual)
	}
	if c.Visits != nil && !slices.Equal(o.visits, c.Visits) {
		t.Errorf("visited\n%q, want\n%q", o.visits, c.Visits)
	}
	if c.Fractions != nil {
		shares := make(map[string]float64)
		spread(tree, 1, shares)
		if !maps.EqualFunc(shares, c.Fractions, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("fractions %v, want %v", shares, c.Fractions)
		}
	}
}

func override(t *testing.T, c dtabCase) {
	base := must(t, dtab.Parse, c.Base)
	ctx, user := must(t, dtab.Parse, c.CtxHeader), must(t, dtab.Parse, c.UserHeader)
	d := base.Concat(ctx, user)
	same(t, "effective dtab", d.String(), must(t, dtab.Parse, c.Dtab).String())
	checkBind(t, c, d)
	p := must(t, dtab.ParsePath, c.Path)
	layered := dtab.Compile(base).With(ctx).With(user).Lookup(p)
	same(t, "first lookup in layers", layered.String(), d.Lookup(p).String())
	relayedOverride(t, c)
}

// header checks which request headers change the dtab, and how they are handed on.
func header(t *testing.T, c dtabCase) {
	relayedHeader(t, c)
	h := http.Header{}
	if c.CtxHeader == "" && c.UserHeader == "" {
		h.Set("Dtab-Local", c.Dtab)
		local := headerDtab(t, h)
		if len(local) != 0 || h.Get("Dtab-Local") != c.Dtab || !strings.Contains(c.expected(t), "not applied") {
			t.Errorf("dtab-local gave %s", local)
		}
		return
	}
	h.Set("L5d-Ctx-Dtab", c.CtxHeader)
	h.Set("L5d-Dtab", c.UserHeader)
	local := headerDtab(t, h)
	same(t, "parsed", local.String(), must(t, dtab.Parse, c.Dtab).String())
	same(t, "header handed on", "l5d-ctx-dtab: "+local.String(), c.expected(t))
}

func utilityNamer(t *testing.T, c dtabCase) {
	a, err := utility(must(t, dtab.ParsePath, c.Path))
	got := a.tree.String()
	if err != nil {
		got = "error:" + err.Error()
	}
	same(t, "answer", got, c.expected(t))
	if a.bound != c.BoundName {
		t.Errorf("bound: %v, want %v", a.bound, c.BoundName)
	}
	if want := decode[string](t, c.Residual); want != "" {
		same(t, "residual", a.residual.String(), want)
	}
}

func rewrite(t *testing.T, c dtabCase) {
	n := givenNamer{Pattern: c.Pattern, Name: c.Template}
	same(t, "answer", n.rewrite(must(t, dtab.ParsePath, c.Path)).tree.String(), c.expected(t))
}

func pathMatch(t *testing.T, c dtabCase) {
	got, want := capture(c.Pattern, must(t, dtab.ParsePath, c.Path)), decode[map[string]string](t, c.Expect)
	if (got == nil) != (want == nil) || !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func delegate(t *testing.T, c dtabCase) {
	o := &oracle{dtab: must(t, dtab.Parse, c.Dtab), bound: c.Bound, given: c.Given.Namers}
	data, err := json.Marshal(o.explore(must(t, dtab.ParsePath, c.Path), nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(decode[any](t, data), decode[any](t, c.Expect)) {
		t.Errorf("got %s, want %s", data, c.Expect)
	}
}
