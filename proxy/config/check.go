package config

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// notSupported is the message for a key that is reserved.
const notSupported = "%s is not supported yet"

// checkStruct holds the fields of a struct of api/v1alpha1 against their rules, and those of the structs in it. Rules of a dtab
// are left to the parser of dentries.
func checkStruct(ps *problems, path string, pointer any) {
	checkFields(ps, path, reflect.ValueOf(pointer).Elem())
}

func checkFields(ps *problems, path string, v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		name := jsonName(t.Field(i))
		checkValue(ps, path+"."+name, name, v.Field(i), ruleOf(t.Name(), name))
	}
}

func checkValue(ps *problems, path, name string, v reflect.Value, r rule) {
	switch v.Kind() {
	case reflect.Pointer:
		switch {
		case v.IsNil():
		case v.Type() == reflect.TypeFor[*v1alpha1.Reserved]():
			ps.at(path, notSupported, name)
		default:
			checkValue(ps, path, name, v.Elem(), r)
		}
	case reflect.Struct:
		if isOurs(v.Type()) {
			checkFields(ps, path, v)
		}
	case reflect.String:
		if v.Len() > 0 || r.required {
			if message := r.checkString(v.String()); message != "" {
				ps.at(path, "%s", message)
			}
		}
	case reflect.Int32, reflect.Int64:
		if n := v.Int(); n != 0 || r.required {
			if message := r.checkInt(n); message != "" {
				ps.at(path, "%s", message)
			}
		}
	case reflect.Float64:
		if x := v.Float(); x != 0 || r.required {
			if message := r.checkNumber(x); message != "" {
				ps.at(path, "%s", message)
			}
		}
	case reflect.Map:
		if r.maxProperties > 0 && v.Len() > r.maxProperties {
			ps.at(path, "expected at most %d keys, found %d", r.maxProperties, v.Len())
		}
	case reflect.Slice:
		checkList(ps, path, v, r)
	}
}

func checkList(ps *problems, path string, v reflect.Value, r rule) {
	switch n := v.Len(); {
	case n == 0 && r.required:
		ps.at(path, "required, with at least one item")
	case r.maxItems > 0 && n > r.maxItems:
		ps.at(path, "expected at most %d items, found %d", r.maxItems, n)
		return
	}
	if v.Type().Elem() == reflect.TypeFor[v1alpha1.Dentry]() {
		return
	}
	var items rule
	if r.items != nil {
		items = *r.items
		items.required = true
	}
	seen := map[string]int{}
	for i := range v.Len() {
		item := v.Index(i)
		at := fmt.Sprintf("%s[%d]", path, i)
		checkValue(ps, at, "", item, items)
		key := ""
		switch {
		case r.set:
			key = item.String()
		case r.listKey != "":
			key, at = item.FieldByName("Name").String(), at+"."+r.listKey
		}
		if key == "" {
			continue
		}
		if first, ok := seen[key]; ok {
			ps.at(at, "%s is also item %d of this list", shown(key), first)
			continue
		}
		seen[key] = i
	}
}

// checkString returns what is wrong with a value, or "".
func (r *rule) checkString(s string) string {
	if s == "" && r.required {
		return "required"
	}
	if len(r.enum) > 0 {
		for _, allowed := range r.enum {
			if s == allowed {
				return ""
			}
		}
		return "expected " + orList(r.enum) + ", found " + shown(s)
	}
	n := utf8.RuneCountInString(s)
	switch {
	case r.maxLen > 0 && n > r.maxLen:
		return fmt.Sprintf("expected at most %d characters, found %d", r.maxLen, n)
	case n < r.minLen:
		return fmt.Sprintf("expected at least %d character, found none", r.minLen)
	case r.pattern != nil && !r.pattern.MatchString(s):
		return "expected " + r.want + ", found " + shown(s)
	}
	return ""
}

// checkInt returns what is wrong with a value, or "".
func (r *rule) checkInt(n int64) string {
	if n == 0 && r.required && r.min > 0 {
		return fmt.Sprintf("required, an integer from %d to %d", r.min, r.max)
	}
	if r.max != 0 && (n < r.min || n > r.max) {
		return fmt.Sprintf("expected an integer from %d to %d, found %d", r.min, r.max, n)
	}
	return ""
}

// checkNumber returns what is wrong with a value, or "".
func (r *rule) checkNumber(x float64) string {
	if x == 0 && r.required && r.least > 0 {
		return fmt.Sprintf("required, a number from %v to %v", r.least, r.most)
	}
	if r.most != 0 && !(x >= r.least && x <= r.most) {
		return fmt.Sprintf("expected a number from %v to %v, found %v", r.least, r.most, x)
	}
	return ""
}

// orList joins words as in "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// jsonName is the key of a field, "" where the fields of an embedded struct take its place.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// isOurs reports whether a type belongs to api/v1alpha1. Types of Kubernetes itself are held against its rules when the operator
// applies what is made of them.
func isOurs(t reflect.Type) bool {
	return t.PkgPath() == reflect.TypeFor[v1alpha1.MeshSpec]().PkgPath()
}
