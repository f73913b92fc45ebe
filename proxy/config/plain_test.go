package config

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

const plainHead = "apiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: web}\nspec:\n  meshRef: {name: demo}\n  router: outgoing\n"

// checkPlain holds what readPlain makes of a text against what the nodes say. It reports whether readPlain took it.
func checkPlain(t *testing.T, text string) bool {
	t.Helper()
	c := chunk{text: []byte(text)}
	fast, slow := &Documents{sources: map[any]chunk{}}, &Documents{sources: map[any]chunk{}}
	took := fast.readPlain(c)
	if text != string(c.text) {
		t.Fatalf("%q: was changed", text)
	}
	if !took {
		if len(fast.Dtabs) > 0 {
			t.Fatalf("%q: not taken, and yet %d Dtabs", text, len(fast.Dtabs))
		}
		return false
	}
	var ps problems
	slow.readYAML(&ps, c)
	if err := ps.err(); err != nil || !reflect.DeepEqual(fast.Dtabs, slow.Dtabs) {
		t.Fatalf("%q: taken as %+v\nwhile the nodes give %v, %+v", text, fast.Dtabs[0], err, slow.Dtabs)
	}
	return true
}

func TestReadPlain(t *testing.T) {
	for text, want := range map[string]bool{
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /#/io.l5d.fs}\n":                                        true,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /#/io.l5d.fs}":                                          true,
		plainHead + "  dentries:\n    - prefix: /svc/*\n      dst: 9 * /a & 1 * (/b | ~ | !)\n\n\n":               true,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /a ; /b}\n  - prefix: /a#b\n    dst: /$/inet/1.2.3.4\n": true,
		strings.Replace(plainHead, "spec:", "spec: # text", 1) + "  dentries:\n  - {prefix: /svc, dst: /a}\n":     true,

		plainHead + "  dentries:\n":                                                                                                       false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /a # b}\n":                                                                      false,
		plainHead + "  dentries:\n  - prefix: /svc\n    dst: /a # b\n":                                                                    false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: '/a'}\n":                                                                        false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /a, dst: /b}\n":                                                                 false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: 9}\n":                                                                           false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: *a /}\n":                                                                        false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /a }\n":                                                                         false,
		plainHead + "  dentries:\n  - prefix: /svc\n    dst: /a\n      /b\n":                                                              false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /a}\n   - {prefix: /svc, dst: /a}\n":                                            false,
		plainHead + "  dentries:\n  - {prefix: /svc, dst: /a}\n  priority: 3\n":                                                           false,
		plainHead + "  dentries: []\n  priority: |\n  dentries:\n  - {prefix: /svc, dst: /a}\n":                                           false,
		plainHead + "  dentries: []\nstatus: |\n  dentries:\n  - {prefix: /svc, dst: /a}\n":                                               false,
		plainHead + "  dentries:\n  dentries:\n  - {prefix: /svc, dst: /a}\n":                                                             false,
		strings.Replace(plainHead, "spec:", "spec: {", 1) + "  dentries:\n  - {prefix: /svc, dst: /a}\n":                                  false,
		strings.Replace(plainHead, "kind: Dtab", "kind: Mesh", 1) + "  dentries:\n  - {prefix: /a, dst: /a}\n":                            false,
		strings.Replace(plainHead, "router: ", "router: \"", 1) + "  dentries:\n  - {prefix: /svc, dst: /a}\n":                            false,
		strings.Replace(plainHead, "router: ", "roter: ", 1) + "  dentries:\n  - {prefix: /svc, dst: /a}\n":                               false,
		strings.Replace(plainHead, "spec:", "metadata:", 1) + "  dentries:\n  - {prefix: /svc, dst: /a}\n":                                false,
		strings.Replace(plainHead, "spec:\n", "spec: |\n", 1) + "  dentries:\n  - {prefix: /svc, dst: /a}\n":                              false,
		strings.Replace(plainHead, "metadata: {name: web}", "metadata: {name: &a web}", 1) + "  dentries:\n  - {prefix: /svc, dst: /a}\n": false,
	} {
		if got := checkPlain(t, text); got != want {
			t.Errorf("%s: taken %v, want %v", text, got, want)
		}
	}
	c := split(manyRules())[1]
	if !checkPlain(t, string(c.text)) {
		t.Errorf("not taken: %.300s", c.text)
	}
}

// TestReadPlainRandom writes rules from pieces that YAML has a meaning for.
func TestReadPlainRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{
		"/", "a", "9", " ", "#", "*", "&", "|", ":", ": ", "-", "- ", "%", "!", "~", "'", "\"", "{", "}", "[", "]", ",", "\\", "\t", "\n", "?", ">", "@",
		"`", "é", "=", "_", ".", "$", ";", "(", ")", "\u0085", "\r", "null", "0x1", "1e3", "2001-01-01", "<<", "  ",
	}
	text := func() string {
		s := ""
		for range 1 + random.IntN(5) {
			i := random.IntN(len(pieces))
			if random.IntN(2) == 0 {
				i = random.IntN(3)
			}
			s += pieces[i]
		}
		return s
	}
	taken, left := 0, 0
	for range 100_000 {
		rule := "{prefix: " + text() + ", dst: " + text() + "}"
		if random.IntN(2) == 0 {
			rule = "prefix: " + text() + "\n    dst: " + text()
		}
		if checkPlain(t, plainHead+"  dentries:\n  - "+rule+"\n  - {prefix: /b, dst: /c}\n") {
			taken++
		} else {
			left++
		}
	}
	if taken < 1000 || left < 1000 {
		t.Errorf("%d taken, %d left", taken, left)
	}
}

// FuzzReadPlain looks for a document that is read in two ways.
func FuzzReadPlain(f *testing.F) {
	f.Add(plainHead + "  dentries:\n  - {prefix: /svc, dst: /a | 9 * /b#c & 1 * ~}\n")
	f.Add(plainHead + "  dentries:\n    - prefix: /svc/*\n      dst: /$/inet/1.2.3.4\n\n")
	f.Add(plainHead + "  priority: |\n  dentries:\n  - {prefix: /svc, dst: /a}\n")
	f.Fuzz(func(t *testing.T, text string) { checkPlain(t, text) })
}
