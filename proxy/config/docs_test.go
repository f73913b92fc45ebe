package config_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/proxy/config"
)

// The examples in docs/spec are accepted, and every key of the schema stands in its page.
func TestSpecPages(t *testing.T) {
	for _, kind := range []string{"mesh", "dtab"} {
		data, err := os.ReadFile("../../docs/spec/" + kind + ".md")
		if err != nil {
			t.Fatal(err)
		}
		page := string(data)
		examples := 0
		for rest := page; ; examples++ {
			_, after, ok := strings.Cut(rest, "```yaml\n")
			if !ok {
				break
			}
			var example string
			example, rest, _ = strings.Cut(after, "```")
			if kind == "dtab" {
				example = "apiVersion: fairlead.dev/v1alpha1\nkind: Mesh\nmetadata: {name: demo, namespace: fairlead}\n---\n" + example
			}
			if _, err := config.DecodeConfig(kind+".md", []byte(example), config.Cluster); err != nil {
				t.Errorf("%v in\n%s", err, example)
			}
		}
		if examples == 0 {
			t.Errorf("%s: no example found", kind)
		}
		file := map[string]string{"mesh": "fairlead.dev_meshes.yaml", "dtab": "fairlead.dev_dtabs.yaml"}[kind]
		for _, key := range keysOf(readSchema(t, file)) {
			if !strings.Contains(page, key) {
				t.Errorf("%s.md does not say what %s is", kind, key)
			}
		}
	}
}

// keysOf returns all keys of a schema, but for those that Kubernetes defines.
func keysOf(schema map[string]any) (keys []string) {
	if items, ok := schema["items"].(map[string]any); ok {
		return keysOf(items)
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		keys = append(keys, key)
		if key != "resources" && key != "tolerations" {
			keys = append(keys, keysOf(properties[key].(map[string]any))...)
		}
	}
	return keys
}
