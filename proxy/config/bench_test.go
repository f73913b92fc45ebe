package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// manyRules is a file of 200,000 rules in Dtabs of 2,000, as people write it.
func manyRules() []byte {
	var text strings.Builder
	text.WriteString("apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n" +
		"  routers:\n  - {name: outgoing, servers: [{port: 4140}]}\n")
	for i := range 200_000 {
		if i%MaxDentriesPerDtab == 0 {
			fmt.Fprintf(&text, "---\napiVersion: fairlead.dev/v1alpha1\nkind: Dtab\nmetadata: {name: rules-%03d}\n"+
				"spec:\n  meshRef: {name: m}\n  router: outgoing\n  dentries:\n", i/MaxDentriesPerDtab)
		}
		fmt.Fprintf(&text, "  - {prefix: /svc/team-%d/name-%d, dst: 9 * /#/io.l5d.fs/name-%d & 1 * /#/io.l5d.fs/canary}\n", i%100, i, i)
	}
	return []byte(text.String())
}

// BenchmarkDecodeFile reads the whole file.
func BenchmarkDecodeFile(b *testing.B) {
	data := manyRules()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeConfig("mesh.yaml", data, Standalone); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadEdit reads it after an edit of one rule.
func BenchmarkReadEdit(b *testing.B) {
	data := manyRules()
	r := NewReader("mesh.yaml", Standalone)
	if _, err := r.Read(data); err != nil {
		b.Fatal(err)
	}
	versions := [][]byte{data, bytes.Replace(data, []byte("9 * /#/io.l5d.fs/name-77777 "), []byte("8 * /#/io.l5d.fs/name-77777 "), 1)}
	i := 0
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		i++
		if _, err := r.Read(versions[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}
