package dtab

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type pairs [][2]string

func (p pairs) Len() int                        { return len(p) }
func (p pairs) Text(i int) (prefix, dst string) { return p[i][0], p[i][1] }

var ruleTexts = pairs{
	{"/svc", "/a/b | 2 * /c & /d/e/f"}, {"/svc/*", "/g"}, {"/", "/h/i & (/j | /k)"}, {"/svc/x\\x2fy", "/"}, {" /svc # c", "~"}, {"/svc/web", "/m\\x20"},
}

// Rules that stay texts are the dentries that the texts are, and a Table of them looks up what one of those does.
func TestTextRules(t *testing.T) {
	const object = "ns/web"
	texts := slices.Repeat(ruleTexts, 3)
	var parsed Dtab
	for i, text := range texts {
		d, err := ParseDentry(text[0], text[1])
		if err != nil {
			t.Fatal(err)
		}
		d.Source = Source{object, i}
		parsed = append(parsed, d)
	}
	rules, want := TextRules(object, texts), RulesOf(parsed)
	if rules.Len() != want.Len() || len(rules.Dtab()) != len(texts) {
		t.Errorf("lengths %d, %d, want %d", rules.Len(), len(rules.Dtab()), want.Len())
	}
	for i, d := range rules.All() {
		for from, got := range map[string]Dentry{"All": d, "At": rules.At(i), "Dtab": rules.Dtab()[i]} {
			if !got.Equal(parsed[i]) || got.Source != parsed[i].Source {
				t.Errorf("%s %d: %s of %v, want %s of %v", from, i, got, got.Source, parsed[i], parsed[i].Source)
			}
		}
	}
	table, tableOfParsed := new(Table).Recompile(nil, rules), Compile(nil, parsed)
	for _, p := range []Path{nil, {"svc"}, {"svc", "web", "x"}, {"svc", "x/y"}, {"other"}} {
		if diff := cmp.Diff(exact(tableOfParsed.Lookup(p)), exact(table.Lookup(p))); diff != "" {
			t.Errorf("%s:\n%s", p, diff)
		}
		if got, want := fmt.Sprint(table.Hits(nil, p)), fmt.Sprint(tableOfParsed.Hits(nil, p)); got != want {
			t.Errorf("hits of %s: %s, want %s", p, got, want)
		}
	}
	if got := table.LongestPrefix(); got != 2 {
		t.Errorf("the longest prefix has %d elements", got)
	}
}

// Whoever stops at one dentry gets no other.
func TestRulesStop(t *testing.T) {
	for i := range TextRules("", ruleTexts).All() {
		if i == 1 {
			break
		}
	}
	var none *Rules
	if none.Len() != 0 || none.Dtab() != nil || RulesOf(nil) != nil || TextRules("", pairs{}) != nil {
		t.Error("nil is not empty")
	}
}

// A Parser that checks one text after the other finds the mistake of each, and allocates for none.
func TestParserChecks(t *testing.T) {
	var shared Parser
	check := func() {
		for _, text := range ruleTexts[:3] {
			if err := shared.Check(text[0], text[1]); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	check()
	if n := testing.AllocsPerRun(100, check); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for _, text := range [][2]string{{"svc", "/a"}, {"/svc", "/a |"}, {"/svc/", "/a"}} {
		_, want := ParseDentry(text[0], text[1])
		if got := shared.Check(text[0], text[1]); got == nil || want == nil || got.Error() != want.Error() {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
