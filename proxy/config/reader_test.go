package config_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/config"
)

// A Reader gives what DecodeConfig gives, whatever was edited, moved, doubled, broken or mended before.
func TestReaderReadsAsDecodeConfig(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	dtab := func(i, version int) string {
		return fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: d%d}\nspec:\n  meshRef: {name: demo}\n"+
			"  router: outgoing\n  priority: %d\n  dentries:\n  - {prefix: /svc/d%d, dst: /#/io.l5d.fs/v%d}\n", i, version%2, i, version)
	}
	mesh := func(port int) string {
		return fmt.Sprintf("apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: demo, namespace: n%d}\nspec:\n"+
			"  routers:\n  - {name: outgoing, servers: [{port: %d}]}\n", port%2, port)
	}
	docs := []string{mesh(4140), dtab(1, 1), dtab(2, 1), dtab(3, 1)}
	r := config.NewReader("f", config.Standalone)
	good, bad := 0, 0
	for range 2000 {
		switch i := 1 + random.IntN(len(docs)-1); random.IntN(8) {
		case 0:
			docs[0] = mesh(4140 + random.IntN(3))
		case 1:
			docs[i] = strings.Replace(docs[i], "dst: /", "dst: ", 1) // a mistake
		case 2:
			docs[i] = docs[1+random.IntN(len(docs)-1)] // twice the same
		case 3:
			docs[i] = "# a comment\n" + docs[i]
		case 4:
			random.Shuffle(len(docs), func(i, k int) { docs[i], docs[k] = docs[k], docs[i] })
			for k, d := range docs {
				if strings.Contains(d, "kind: Mesh") {
					docs[0], docs[k] = docs[k], docs[0]
				}
			}
		default:
			docs[i] = dtab(i, random.IntN(4))
		}
		text := []byte(strings.Join(docs, "---\n"))
		want, wantErr := config.DecodeConfig("f", slices.Clone(text), config.Standalone)
		got, gotErr := r.Read(text)
		clear(text) // the caller may use the memory again
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotErr, wantErr) {
			t.Fatalf("%s\n got %+v, %v\nwant %+v, %v", strings.Join(docs, "---\n"), got, gotErr, want, wantErr)
		}
		if want != nil {
			good++
		} else {
			bad++
		}
	}
	if good < 300 || bad < 300 {
		t.Errorf("%d good and %d bad files", good, bad)
	}
}
