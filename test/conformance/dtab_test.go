// Package conformance holds Fairlead to facts that were gathered from the system it succeeds.
//
// testdata/dtab-cases.json is the dtab language as Finagle and Linkerd 1.x have it, one fact per case; testdata/own-cases.json has
// the facts that it leaves out. What package dtab answers by itself is asked of it. What takes a delegation, a namer or a playground is
// asked twice: of the reference evaluator in this package's test files, which is written for plainness, from the specification alone,
// and serves no request, and of the code that serves requests. The two are then held to each other for names and rules at random.
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
	"path/filepath"
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
	Dentries   *int   `json:"dentries"`

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

// path returns the whole prefix of the namer, which a configuration gives without "/#". A namer of a kind or behaviour that is not
// known here ends the test.
func (n givenNamer) path(t testing.TB) dtab.Path {
	t.Helper()
	if n.Kind != "io.l5d.rewrite" && n.Kind != "error" && !strings.Contains(n.Behaviour, "raises error naming <path>") {
		t.Fatalf("a given namer of kind %q and behaviour %q: the kind io.l5d.rewrite and "+
			"the behaviour \"raises error naming <path>\" are known", n.Kind, n.Behaviour)
	}
	return must(t, dtab.ParsePath, "/#/"+strings.TrimPrefix(strings.TrimPrefix(n.Prefix, "/#"), "/"))
}

// kind says how the cases of one kind are run. Fields that state a fact count only where one of checks reads them.
type kind struct {
	run func(*testing.T, dtabCase)
	// served asks what serves requests, where that can answer such a case.
	served func(*testing.T, dtabCase)
	// states are the fields beside expect that a case of this kind may state facts in.
	states []string
}

func kinds() map[string]kind {
	bound := []string{"residual", "fractions", "visits"}
	return map[string]kind{
		"path-ok":       {run: textOK(dtab.ParsePath, pathText)},
		"path-error":    {run: textError(dtab.ParsePath, pathText)},
		"tree-ok":       {run: textOK(dtab.ParseTree, dtabText)},
		"tree-error":    {run: textError(dtab.ParseTree, dtabText)},
		"parse-ok":      {run: parseOK, states: []string{"dentries"}},
		"parse-error":   {run: textError(dtab.Parse, dtabText)},
		"lookup":        {run: lookup},
		"simplify":      {run: simplify},
		"dtab-simplify": {run: dtabSimplify},
		"strip-prefix":  {run: stripPrefix},
		"eval":          {run: evaluate, served: servedEval},
		"bind":          {run: bind, served: servedBind, states: bound},
		"override":      {run: override, served: servedBind, states: bound},
		"header":        {run: header},
		"namer":         {run: utilityNamer, served: servedNamer, states: []string{"boundName", "residual"}},
		"rewrite":       {run: rewrite, served: servedRewrite},
		"pathmatch":     {run: pathMatch, served: servedMatch},
		"delegate":      {run: delegate, served: servedDelegate},
	}
}

// readCases reads a file of dtabCase or wireCase. A relative name may also be one from the root of the repository, where go test is called.
func readCases[T any](t *testing.T, file string) []T {
	t.Helper()
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(file) {
		data, err = os.ReadFile(filepath.Join("../..", file))
	}
	if err != nil {
		t.Fatal(err)
	}
	var cases []T
	if err := strict(data, &cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", file)
	}
	return cases
}

// strict decodes one JSON value. A field that is not read is a fact that is not tested.
func strict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// stated returns the fields other than expect in which the case states a fact.
func (c dtabCase) stated() (fields []string) {
	for field, is := range map[string]bool{
		"dentries": c.Dentries != nil, "residual": isStated(c.Residual), "fractions": c.Fractions != nil, "visits": c.Visits != nil,
		"boundName": c.BoundName,
	} {
		if is {
			fields = append(fields, field)
		}
	}
	return fields
}

func isStated(data json.RawMessage) bool { return len(data) > 0 && string(data) != "null" }

// runCases runs every case of a file as one subtest.
func runCases(t *testing.T, file string) {
	t.Helper()
	known := kinds()
	for _, c := range readCases[dtabCase](t, file) {
		t.Run(c.Name, func(t *testing.T) {
			k, ok := known[c.Kind]
			if !ok {
				t.Fatalf("unknown kind %q: it is one of %q", c.Kind, slices.Sorted(maps.Keys(known)))
			}
			for _, field := range c.stated() {
				if !slices.Contains(k.states, field) {
					t.Errorf("the kind %s says nothing of the field %s", c.Kind, field)
				}
			}
			k.run(t, c)
			if k.served != nil {
				k.served(t, c)
			}
			if t.Failed() {
				t.Logf("the case: %s", c)
			}
		})
	}
}

// String returns the case as it would stand in a file, with what it leaves out left out.
func (c dtabCase) String() string {
	data, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return err.Error()
	}
	maps.DeleteFunc(fields, func(name string, v any) bool {
		return v == nil && name != "expect" || v == "" && name != "dtab" && name != "path" || v == false
	})
	data, _ = json.Marshal(fields)
	return string(data)
}

// TestDtabCases runs the cases of the file that -dtab-cases names.
func TestDtabCases(t *testing.T) { runCases(t, *casesFile) }

// TestOwnCases runs the cases that the gathered file leaves out.
func TestOwnCases(t *testing.T) { runCases(t, "testdata/own-cases.json") }

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
func must[T any](t testing.TB, parse func(string) (T, error), s string) T {
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

func textOK[T interface{ String() string }](parse func(string) (T, error), text func(dtabCase) string) func(*testing.T, dtabCase) {
	return func(t *testing.T, c dtabCase) {
		shown := must(t, parse, text(c)).String()
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
	textOK(dtab.Parse, dtabText)(t, c)
	if d := must(t, dtab.Parse, c.Dtab); c.Dentries != nil && len(d) != *c.Dentries {
		t.Errorf("%d dentries, want %d", len(d), *c.Dentries)
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
	tree := must(t, dtab.ParseTree, c.Dtab)
	want := set(decode[[]string](t, c.Expect))
	for what, got := range map[string][]string{"the tree": set(eval(tree)), "the simplified tree": set(eval(tree.Simplify()))} {
		if (got == nil) != (want == nil) || !slices.Equal(got, want) {
			t.Errorf("%s: got %#v, want %#v", what, got, want)
		}
	}
}

// set sorts the elements and leaves each once. Nil is no set.
func set(elems []string) []string {
	slices.Sort(elems)
	return slices.Compact(elems)
}

func bind(t *testing.T, c dtabCase) {
	checkBind(t, c, must(t, dtab.Parse, c.Dtab))
}

func checkBind(t *testing.T, c dtabCase, d dtab.Dtab) {
	t.Helper()
	o := &oracle{t: t, dtab: d, bound: c.Bound, given: c.Given.Namers}
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
		sameShares(t, "fractions", shares, c.Fractions)
	}
}

func sameShares(t *testing.T, what string, got, want map[string]float64) {
	t.Helper()
	if !maps.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func override(t *testing.T, c dtabCase) {
	base := must(t, dtab.Parse, c.Base)
	ctx, user := must(t, dtab.Parse, c.CtxHeader), must(t, dtab.Parse, c.UserHeader)
	d := base.Concat(ctx, user)
	if c.Dtab != "" {
		same(t, "effective dtab", d.String(), must(t, dtab.Parse, c.Dtab).String())
	}
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
	for name, value := range map[string]string{"L5d-Ctx-Dtab": c.CtxHeader, "L5d-Dtab": c.UserHeader} {
		if value != "" {
			h.Set(name, value)
		}
	}
	local := headerDtab(t, h)
	if c.Dtab != "" {
		same(t, "parsed", local.String(), must(t, dtab.Parse, c.Dtab).String())
	}
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
	o := &oracle{t: t, dtab: must(t, dtab.Parse, c.Dtab), bound: c.Bound, given: c.Given.Namers}
	data, err := json.Marshal(o.explore(must(t, dtab.ParsePath, c.Path), nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(decode[any](t, data), decode[any](t, c.Expect)) {
		t.Errorf("got %s, want %s", data, c.Expect)
	}
}
