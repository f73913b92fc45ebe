package config

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/pace"
)

// Rules are by far the most of a large file, and nearly all are written in one of two ways:
//
//	dentries:
//	- {prefix: /svc/web, dst: /#/io.l5d.k8s/prod/http/web}
//	- prefix: /svc/api
//	  dst: 9 * /svc/web & 1 * /svc/next
//
// Where a Dtab ends with rules that are all written so, with no character that YAML could see anything else in, they are read
// here, many times faster than by nodes. All else, and every mistake, is for readYAML.

// readPlain reads a Dtab whose rules are plain. It reports whether it did; if not, nothing has happened.
func (d *Documents) readPlain(c chunk) bool {
	head, rules, ok := cutPlainRules(c.text)
	if !ok {
		return false
	}
	// The list is left empty, and must be read where it stands.
	const none = " []\n"
	text := append(bytes.Clone(head), none...)
	w := newWalker(&problems{}, d.name, c.line)
	root := w.parse(text)
	if root == nil || !w.inspect(root, 0) || root.Kind != yaml.MappingNode || w.kind(root) != kindDtab {
		return false
	}
	list, exact := lookup(root, "spec.dentries")
	if !exact || list.Line != bytes.Count(text, []byte("\n")) || list.Column != len(head)-bytes.LastIndexByte(head, '\n')+1 {
		return false
	}
	var t v1alpha1.Dtab
	if !w.decode(root, &t) {
		return false
	}
	t.Spec.Dentries = rules
	d.addDtab(c, identityOf(&t.ObjectMeta), t.Spec)
	return true
}

// cutPlainRules returns what stands before the rules, up to the colon of their key, and the rules.
func cutPlainRules(text []byte) (head []byte, rules []v1alpha1.Dentry, ok bool) {
	const key = "\n  dentries:\n"
	text = bytes.TrimRight(text, "\n")
	at := bytes.Index(text, []byte(key))
	if at < 0 {
		return nil, nil, false
	}
	head, text = text[:at+len(key)-1], text[at+len(key):]
	rules = make([]v1alpha1.Dentry, 0, bytes.Count(text, []byte("prefix: ")))
	indent := len(text) - len(bytes.TrimLeft(text, " "))
	if indent < 2 {
		return nil, nil, false
	}
	var p pace.Pace
	for lines := string(text); lines != ""; {
		if len(rules)%pacedBy == 0 {
			p.Step()
		}
		var rule v1alpha1.Dentry
		if rule, lines, ok = cutPlainRule(lines, text[:indent]); !ok {
			return nil, nil, false
		}
		rules = append(rules, rule)
	}
	return head, rules, len(rules) > 0
}

// cutPlainRule reads one rule off the lines.
func cutPlainRule(lines string, indent []byte) (rule v1alpha1.Dentry, rest string, ok bool) {
	line, rest, _ := strings.Cut(lines, "\n")
	line, ok = strings.CutPrefix(line, string(indent)+"- ")
	if !ok {
		return rule, "", false
	}
	if inner, flow := strings.CutPrefix(line, "{prefix: "); flow {
		if inner, ok = strings.CutSuffix(inner, "}"); ok {
			rule.Prefix, rule.Dst, ok = strings.Cut(inner, ", dst: ")
		}
	} else if rule.Prefix, ok = strings.CutPrefix(line, "prefix: "); ok {
		line, rest, _ = strings.Cut(rest, "\n")
		rule.Dst, ok = strings.CutPrefix(line, string(indent)+"  dst: ")
	}
	return rule, rest, ok && isPlain(rule.Prefix) && isPlain(rule.Dst)
}

// isPlain reports whether YAML reads the text as a string of just these bytes, in a flow mapping too. With a slash in it, it is no
// number, time, boolean or null.
func isPlain(s string) bool {
	slash := false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '.', c == '$':
		case c >= '0' && c <= '9':
		case c == '/':
			slash = true
		case i == 0: // what follows means something else at the beginning
			return false
		case c == '-', c == '%', c == '*', c == '&', c == '|', c == ';', c == '(', c == ')', c == '~', c == '!':
		case c == ' ' && i < len(s)-1 && s[i+1] != '#':
		case c == '#':
		default:
			return false
		}
	}
	return slash
}
