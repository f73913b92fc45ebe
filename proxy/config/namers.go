package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// checkNamers checks which keys belong to which kind, and what they hold.
func checkNamers(ps *problems, namers []v1alpha1.Namer, env Environment) {
	for i := range namers {
		n := &namers[i]
		field := fmt.Sprintf("spec.namers[%d]", i)
		checkNamerKeys(ps, field, n)
		if n.Prefix != "" && len(n.Prefix) <= MaxPrefixBytes {
			if path, err := dtab.ParsePath(n.Prefix); err != nil {
				ps.add(grammarProblem(field+".prefix", err))
			} else if len(path) == 0 {
				ps.at(field+".prefix", "expected at least one element, found %s", shown(n.Prefix))
			}
		}
		switch n.Kind {
		case v1alpha1.KindNamerK8s:
			if env == Standalone {
				ps.at(field+".kind", "%s needs a cluster", n.Kind)
			}
		case v1alpha1.KindNamerFs:
			if strings.ContainsRune(n.RootDir, 0) {
				ps.at(field+".rootDir", "expected a folder, found %s", shown(n.RootDir))
			}
		case v1alpha1.KindNamerRewrite:
			checkRewrite(ps, field, n)
		}
	}
}

// checkNamerKeys refuses keys of other kinds and the absence of those the kind requires.
func checkNamerKeys(ps *problems, field string, n *v1alpha1.Namer) {
	known := []string{v1alpha1.KindNamerK8s, v1alpha1.KindNamerFs, v1alpha1.KindNamerRewrite}
	if !slices.Contains(known, n.Kind) {
		return // the rule of the schema says so
	}
	for _, key := range []struct {
		name, kind    string
		set, required bool
	}{
		{"rootDir", v1alpha1.KindNamerFs, n.RootDir != "", true},
		{"pattern", v1alpha1.KindNamerRewrite, n.Pattern != "", true},
		{"name", v1alpha1.KindNamerRewrite, n.Name != "", true},
		{"exact", v1alpha1.KindNamerRewrite, n.Exact, false},
	} {
		switch {
		case key.set && key.kind != n.Kind:
			ps.at(field+"."+key.name, "key %s does not belong to kind %s", key.name, n.Kind)
		case !key.set && key.required && key.kind == n.Kind:
			ps.at(field+"."+key.name, "required for kind %s", n.Kind)
		}
	}
}

// checkRewrite checks that pattern and name are paths with variables, and that name uses what pattern captures alone.
func checkRewrite(ps *problems, field string, n *v1alpha1.Namer) {
	if n.Pattern == "" || n.Name == "" || len(n.Pattern) > 1024 || len(n.Name) > 4096 {
		return
	}
	captured, problem := templateVars(n.Pattern, true)
	if problem != nil {
		problem.Field = field + ".pattern"
		ps.add(*problem)
		return
	}
	used, problem := templateVars(n.Name, false)
	if problem != nil {
		problem.Field = field + ".name"
		ps.add(*problem)
		return
	}
	for _, name := range used {
		if !slices.Contains(captured, name) {
			ps.at(field+".name", "{%s} is not in pattern %s%s", name, shown(n.Pattern), didYouMean(name, captured))
		}
	}
}

// templateVars returns the variables of a path with {var} in its elements. A pattern may hold wildcards.
func templateVars(text string, pattern bool) (vars []string, problem *Problem) {
	var plain strings.Builder // the text with a letter in place of each byte of a variable, so that positions stay
	for i := 0; i < len(text); i++ {
		if text[i] != '{' {
			plain.WriteByte(text[i])
			continue
		}
		end := strings.IndexAny(text[i+1:], "{}/")
		if end <= 0 || text[i+1+end] != '}' {
			return nil, &Problem{Line: 1, Column: i + 1, Message: "expected a name and '}' after '{'"}
		}
		vars = append(vars, text[i+1:i+1+end])
		plain.WriteString(strings.Repeat("x", end+2))
		i += end + 1
	}
	var err error
	if pattern {
		_, err = dtab.ParsePrefix(plain.String())
	} else {
		_, err = dtab.ParsePath(plain.String())
	}
	if err != nil {
		p := grammarProblem("", err)
		return nil, &p
	}
	return vars, nil
}
