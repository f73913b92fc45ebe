package app

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// What is accepted and is yet a mistake is found, as the check of a file tells it.
func TestFindings(t *testing.T) {
	got, err := Findings(decode(t, mesh(1, "/svc => /$/inet/web/80", "/svc/a => /$/inet/host/http")))
	want := `error: router outgoing: mesh[1] bad-utility: /svc/a=>/$/inet/host/http: `
	if err != nil || !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, want) && strings.Contains(f, `found "http"`) }) {
		t.Errorf("found %q, %v", got, err)
	}
}

// A folder that is not there is told with the place it was looked for at; one that is there is not.
func TestFindingsOfFolders(t *testing.T) {
	cfg := decode(t, mesh(1, "/svc => /$/inet/web/80"))
	cfg.Mesh.Spec.Namers = []v1alpha1.Namer{
		{Kind: v1alpha1.KindNamerFs, RootDir: t.TempDir()}, {Kind: v1alpha1.KindNamerFs, RootDir: "not/there"}, {Kind: v1alpha1.KindNamerRewrite},
	}
	got, err := Findings(cfg)
	here, _ := os.Getwd()
	want := "spec.namers[1].rootDir: there is no folder not/there (" + here + "/not/there, from where the proxy was started): "
	if err != nil || len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("found %q, %v, want %q", got, err, want)
	}
}

// Of the rules that a Mesh without routers has by default nothing is said, of those of Dtabs it is.
func TestFindingsOfDefaults(t *testing.T) {
	const head = "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: test}\nspec: {}\n"
	if got, err := Findings(decode(t, head)); err != nil || len(got) > 0 {
		t.Errorf("found %q, %v", got, err)
	}
	got, err := Findings(decode(t, head+"---\napiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: web}\nspec:\n"+
		"  meshRef: {name: test}\n  router: outgoing\n  dentries: [{prefix: /svc/a, dst: /$/inet/a:80}]\n"))
	if err != nil || len(got) != 1 || !strings.Contains(got[0], "default/web[0]") {
		t.Errorf("found %q, %v", got, err)
	}
}
