package config

import (
	"fmt"
	"slices"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/dtab"
)

// checkIdentifiers checks which keys belong to which kind, and what they hold.
func checkIdentifiers(ps *problems, field string, ids []v1alpha1.Identifier) {
	for i := range ids {
		id := &ids[i]
		at := fmt.Sprintf("%s[%d]", field, i)
		checkIdentifierKeys(ps, at, id)
		if id.Header != "" && !isToken(id.Header) {
			ps.at(at+".header", "expected the name of a header, found %s", shown(id.Header))
		}
		if id.Path == "" || len(id.Path) > MaxPrefixBytes {
			continue // absent where it may be, or the rule of the schema says so
		}
		if _, err := dtab.ParsePath(id.Path); err != nil {
			ps.add(grammarProblem(at+".path", err))
		}
	}
}

// checkIdentifierKeys refuses keys of other kinds and the absence of those the kind requires.
func checkIdentifierKeys(ps *problems, field string, id *v1alpha1.Identifier) {
	const (
		token, header, path   = v1alpha1.KindIdentifierHeaderToken, v1alpha1.KindIdentifierHeader, v1alpha1.KindIdentifierPath
		methodAndHost, static = v1alpha1.KindIdentifierMethodAndHost, v1alpha1.KindIdentifierStatic
	)
	if !slices.Contains([]string{token, header, path, methodAndHost, static}, id.Kind) {
		return // the rule of the schema says so
	}
	checkKindKeys(ps, field, id.Kind,
		kindKey{"header", []string{token, header}, id.Header != "", false},
		kindKey{"normalize", []string{token}, id.Normalize != "", false},
		kindKey{"segments", []string{path}, id.Segments != 0, false},
		kindKey{"consume", []string{path}, id.Consume, false},
		kindKey{"httpUriInDst", []string{methodAndHost}, id.HTTPURIInDst, false},
		kindKey{"path", []string{static}, id.Path != "", true},
	)
}

// isToken reports whether s may be a field name (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '!', c == '#', c == '$', c == '%', c == '&', c == '\'', c == '*', c == '+', c == '-', c == '.', c == '^', c == '_',
			c == '`', c == '|', c == '~':
		default:
			return false
		}
	}
	return s != ""
}
