package dtab

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// position renders an error as the object validators do.
func position(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	line, column := e.Position()
	return fmt.Sprintf("%d:%d: %s", line, column, e.Detail())
}

func TestParseErrorPosition(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"/a => /b;\n/c => /d//e;\n", "2:10: expected a label character, found '/'"},
		{"# routes\n/a => /b;\n\n/c /d", "4:4: expected '=>' after the prefix, found '/'"},
		{"/a => /b;\r\n/c => /d\r\n/e => /f", "3:1: expected ';', '|', '&' or the end, found '/'"},
		{"/a => /b # caf\u00e9 ; /x\n | ?", "2:4: expected a path, '~', '!', '$' or '(', found '?'"},
		{"# caf\u00e9\n/caf\u00e9 => /x", "2:5: expected '=>' after the prefix, found '\u00e9'"},
		{"/a => (/b\n | /c\n", "3:1: expected '|', '&' or ')', found end of input"},
		{"/a =>\n", "2:1: expected a path, '~', '!', '$' or '(', found end of input"},
		{"/a => /b\x00", `1:9: expected ';', '|', '&' or the end, found '\x00'`},
		{"/a => /b\xff", `1:9: expected ';', '|', '&' or the end, found '\xff'`},
		{"/a => 2 /b", "1:9: expected '*' after a weight, found '/'"},
		{`/a => /\n`, `1:9: expected 'x' and two hexadecimal digits after '\', found 'n'`},
		{`/a => /\x4`, "1:11: expected a hexadecimal digit, found end of input"},
		{"/a => /b;;", "1:10: expected '/', found ';'"},
		{"/a => /*", "1:8: expected ';', '|', '&' or the end, found '*'"},
		{"/a => /b/*", "1:10: expected a label character, found '*'"},
		{"/a/*b => /c", "1:5: expected '=>' after the prefix, found 'b'"},
		{"/a = /b", "1:5: expected '=>' after the prefix, found ' '"},
		{"/a => -1*/b & /c", "1:7: expected a path, '~', '!', '$' or '(', found '-'"},
	} {
		d, err := Parse(c.text)
		if got := position(err); got != c.want || d != nil {
			t.Errorf("%q:\n got %s (%v)\nwant %s", c.text, got, d, c.want)
		}
	}
}

func TestParseDentryNamesField(t *testing.T) {
	for _, c := range []struct{ prefix, dst, want string }{
		{"svc", "/b", "prefix:1:1: expected '/', found 's'"},
		{"/svc/*x", "/b", "prefix:1:7: expected '/' or the end, found 'x'"},
		{"/a => /b", "/b", "prefix:1:4: expected '/' or the end, found '='"},
		{"/svc", "9 * /web-v1 &\n  1 * /web v2", "dst:2:12: expected '|', '&' or the end, found 'v'"},
		{"/svc", "/a; /b => /c", "dst:1:3: expected '|', '&' or the end, found ';'"},
		{"/svc", "", "dst:1:1: expected a path, '~', '!', '$' or '(', found end of input"},
	} {
		_, err := ParseDentry(c.prefix, c.dst)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s => %s:\n got %v\nwant %s", c.prefix, c.dst, err, c.want)
		}
	}
	d, err := ParseDentry(" /svc/* # any\n", "9*/a & /b | ~")
	if err != nil || d.String() != "/svc/*=>9.00*/a & /b | ~" {
		t.Errorf("got %s, %v", d, err)
	}
}

// The whole-string parsers speak as Finagle does, because Linkerd returned this text to users (HTTP 400, delegator.json).
func TestParseErrorText(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"/foo//bar=>/x", "label char expected but '/' found at '/foo/[/]bar=>/x'"},
		{"/a => (/b", "')' expected but end of input found at '/a => (/b[]'"},
		{"/a/*b=>/c", "'=' expected but 'b' found at '/a/*[b]=>/c'"},
		{"/a=/b", "'>' expected but '/' found at '/a=[/]b'"},
		{"/a=>..*/b", "number char expected but '.' found at '/a=>.[.]*/b'"},
		{"/a\xff=>/b", "'=' expected but '\uFFFD' found at '/a[\uFFFD]=>/b'"},
	} {
		if _, err := Parse(c.text); err == nil || err.Error() != c.want {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestParseErrorTextIsBounded(t *testing.T) {
	long := strings.Repeat("/a=>/b;", 20_000)
	_, err := Parse(long + "?;" + strings.Repeat("\u00e9", 20_000))
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	if len(text) > 3*maxShown || !strings.Contains(text, "[?]") || !utf8.ValidString(text) {
		t.Fatalf("%d bytes: %s", len(text), text)
	}
}

func TestParserLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("(", n) + "/a" + strings.Repeat(")", n) }
	leaves := func(n int) string { return strings.TrimSuffix(strings.Repeat("~&", n), "&") }
	for _, c := range []struct {
		name, ok, bad, limit string
	}{
		{"nesting", nested(MaxNesting), nested(MaxNesting + 1), "MaxNesting"},
		{"hostile nesting", "/a", strings.Repeat("(", 1_000_000), "MaxNesting"},
		// A union of n leaves has n+1 nodes.
		{"nodes", leaves(MaxTreeNodes - 1), leaves(MaxTreeNodes), "MaxTreeNodes"},
		{"many nodes", "/a", leaves(100_000), "MaxTreeNodes"},
		{"digits", "00000000000000000001.5*/a & /b", "000000000000000000001.5*/a & /b", "MaxWeightDigits"},
		{"decimals", ".00000000000000000001*/a & /b", ".000000000000000000001*/a & /b", "MaxWeightDigits"},
		{"weight", "1000000000*/a & /b", "1000000000.1*/a & /b", "MaxWeight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseTree(c.ok); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			_, err := ParseTree(c.bad)
			var e *Error
			if !errors.As(err, &e) || e.Limit != c.limit {
				t.Errorf("over the limit: %v", err)
			}
		})
	}
	t.Run("dentries", func(t *testing.T) {
		full := strings.Repeat("/=>~;", MaxDentries)
		if d, err := Parse(full); err != nil || len(d) != MaxDentries {
			t.Errorf("at the limit: %d dentries, %v", len(d), err)
		}
		_, err := Parse(full + "/=>~")
		var e *Error
		if !errors.As(err, &e) || e.Limit != "MaxDentries" {
			t.Error("over the limit: no error")
		}
	})
	var e *Error
	if _, err := ParseTree("//"); !errors.As(err, &e) || e.Limit != "" {
		t.Errorf("a syntax error names the limit %q", e.Limit)
	}
}
