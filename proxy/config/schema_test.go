package config_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/proxy/config"
)

// breakage is one rule of the generated schema, and a change that breaks it and nothing else.
type breakage struct {
	rule  string
	apply func(parent any, key any)
	at    []any // keys and indexes
	// unseen says that an object cannot show it once decoded: the value then counts as absent.
	unseen bool
}

// Every rule that the API server enforces by the schema is enforced without one too, for objects and for files.
func TestSchemaRules(t *testing.T) {
	for kind, file := range map[string]string{"mesh": "fairlead.dev_meshes.yaml", "dtab": "fairlead.dev_dtabs.yaml"} {
		spec := readSchema(t, file)
		var found []breakage
		collect(&found, spec, []any{"spec"}, loadObject(t, kind)["spec"])
		if len(found) < 10 {
			t.Fatalf("%s: the schema has only %d rules: the walk is broken", kind, len(found))
		}
		for _, b := range found {
			t.Run(fmt.Sprintf("%s %v %s", kind, b.at, b.rule), func(t *testing.T) {
				object := loadObject(t, kind)
				parent, key := descend(object, b.at)
				b.apply(parent, key)
				data, err := yaml.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				if err := acceptFile(t, kind, data); err == nil {
					t.Errorf("accepted as a file:\n%s", data)
				} else {
					wantProblemAt(t, err, b.at)
				}
				if b.unseen {
					return
				}
				if err := acceptObject(t, kind, data); err == nil {
					t.Errorf("accepted as an object:\n%s", data)
				} else {
					wantProblemAt(t, err, b.at)
				}
			})
		}
	}
}

func wantProblemAt(t *testing.T, err *config.Error, at []any) {
	t.Helper()
	var field strings.Builder
	for _, k := range at {
		if i, ok := k.(int); ok {
			fmt.Fprintf(&field, "[%d]", i)
		} else {
			fmt.Fprintf(&field, ".%v", k)
		}
	}
	want := strings.TrimPrefix(field.String(), ".")
	for _, p := range err.Problems {
		if strings.HasPrefix(p.Field, want) {
			return
		}
	}
	t.Errorf("no problem of %s in:\n%v", want, err)
}

func readSchema(t *testing.T, file string) map[string]any {
	t.Helper()
	data, err := os.ReadFile("../../config/crd/bases/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema struct {
						Properties map[string]map[string]any
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
}

func loadObject(t *testing.T, kind string) map[string]any {
	t.Helper()
	data, err := os.ReadFile("testdata/" + kind + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := yaml.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func descend(object any, at []any) (parent, key any) {
	for i, k := range at {
		if i == len(at)-1 {
			return object, k
		}
		object = get(object, k)
	}
	return nil, nil
}

func get(parent, key any) any {
	if i, ok := key.(int); ok {
		return parent.([]any)[i]
	}
	return parent.(map[string]any)[key.(string)]
}

func set(value any) func(parent, key any) {
	return func(parent, key any) {
		if i, ok := key.(int); ok {
			parent.([]any)[i] = value
		} else {
			parent.(map[string]any)[key.(string)] = value
		}
	}
}

// collect walks a schema beside an object that has every key.
func collect(found *[]breakage, schema map[string]any, at []any, value any) {
	last := at[len(at)-1]
	if last == "resources" || last == "tls" || last == "identity" {
		return // Kubernetes' own, and the reserved keys, which have a test of their own
	}
	add := func(rule string, value any, unseen bool) {
		*found = append(*found, breakage{rule, set(value), slices.Clone(at), unseen})
	}
	if value == nil {
		panic(fmt.Sprintf("the object of the test has no %v", at))
	}
	for _, rule := range slices.Sorted(maps.Keys(schema)) {
		switch limit := schema[rule]; rule {
		case "maxLength":
			add(rule, "/"+strings.Repeat("x", int(limit.(float64))), false)
		case "minLength":
			add(rule, "", false)
		case "maximum":
			add(rule, limit.(float64)+1, false)
		case "minimum":
			add(rule, limit.(float64)-1, limit.(float64) == 1 && !slices.Contains(at, any("servers")) || slices.Contains(at, any("servers")) && last != "port")
			add(rule+" by far", limit.(float64)-7, false)
		case "enum":
			add(rule, "bogus", false)
			add(rule+" and empty", "", last != "kind" || at[len(at)-2] == any("interpreter"))
		case "pattern":
			add(rule, "?", false)
		case "maxItems":
			add(rule, slices.Repeat(value.([]any)[:1], int(limit.(float64))+1), false)
		case "minItems":
			add(rule, []any{}, false)
		case "maxProperties":
			many := map[string]any{}
			for i := range int(limit.(float64)) + 1 {
				many[fmt.Sprintf("k%d", i)] = "v"
			}
			add(rule, many, false)
		case "x-kubernetes-list-type":
			if limit != "atomic" {
				add("duplicate", slices.Repeat(value.([]any)[:1], 2), false)
			}
		case "required":
			for _, key := range limit.([]any) {
				*found = append(*found, breakage{"required", func(parent, key any) {
					delete(parent.(map[string]any), key.(string))
				}, append(slices.Clone(at), key), false})
			}
		case "type":
			wrong := any("text")
			if limit == "string" {
				wrong = 7
			}
			*found = append(*found, breakage{"type", set(wrong), slices.Clone(at), true})
		case "items":
			for i, item := range value.([]any) {
				if last != "tolerations" {
					collect(found, limit.(map[string]any), append(slices.Clone(at), i), item)
				}
			}
		case "properties":
			for _, key := range slices.Sorted(maps.Keys(limit.(map[string]any))) {
				child := value.(map[string]any)[key]
				if child == nil && slices.ContainsFunc([]any{"namers", "identifiers", "transformers", "loadBalancer", "clients", "backoff"}, func(list any) bool { return slices.Contains(at, list) }) {
					continue // a key of another kind: that item has it
				}
				collect(found, limit.(map[string]any)[key].(map[string]any), append(slices.Clone(at), key), child)
			}
		}
	}
}

func acceptFile(t *testing.T, kind string, data []byte) *config.Error {
	t.Helper()
	docs, err := config.Decode("test.yaml", data, config.Cluster)
	if err != nil {
		return err
	}
	if kind == "mesh" {
		_, err = docs.AcceptMesh(docs.Meshes[0])
	} else {
		_, err = docs.AcceptDtab(demoMesh(t), docs.Dtabs[0])
	}
	return err
}

func acceptObject(t *testing.T, kind string, data []byte) *config.Error {
	t.Helper()
	data, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	var problem *config.Error
	if kind == "mesh" {
		var m v1alpha1.Mesh
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		_, problem = config.AcceptMesh(&m, config.Cluster)
	} else {
		var d v1alpha1.Dtab
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		_, problem = config.AcceptDtab(demoMesh(t), &d)
	}
	return problem
}

// demoMesh is testdata/mesh.yaml.
func demoMesh(t testing.TB) *config.Mesh {
	t.Helper()
	data, err := os.ReadFile("testdata/mesh.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs, problem := config.Decode("mesh.yaml", data, config.Cluster)
	if problem != nil {
		t.Fatal(problem)
	}
	m, problem := docs.AcceptMesh(docs.Meshes[0])
	if problem != nil {
		t.Fatal(problem)
	}
	return m
}
