package app

import (
	"slices"
	"strings"
	"testing"
)

// What is accepted and is yet a mistake is found, as the check of a file tells it.
func TestFindings(t *testing.T) {
	got, err := Findings(decode(t, mesh(1, "/svc => /$/inet/web/80", "/svc/a => /$/inet/host/http")))
	want := `error: router outgoing: mesh[1] bad-utility: /svc/a=>/$/inet/host/http: `
	if err != nil || !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, want) && strings.Contains(f, `found "http"`) }) {
		t.Errorf("found %q, %v", got, err)
	}
}
