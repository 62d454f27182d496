package config

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// field is one setting: its key and its place in a Config.
type field struct {
	key   string
	value reflect.Value
}

// fields returns the settings of c in the order of the struct. A list is one setting,
// whatever its items.
func fields(c *Config) []field {
	var all []field
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			key := join(path, keyOf(v.Type().Field(i)))
			if isSection(v.Field(i).Type()) {
				walk(v.Field(i), key)
			} else {
				all = append(all, field{key, v.Field(i)})
			}
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	return all
}

func keyOf(f reflect.StructField) string { return f.Tag.Get("yaml") }

// isSection tells whether a type holds keys of its own.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[netip.Prefix]()
}

// keysOf maps the keys of a section to the types of their values.
func keysOf(t reflect.Type) map[string]reflect.Type {
	keys := map[string]reflect.Type{}
	for i := range t.NumField() {
		keys[keyOf(t.Field(i))] = t.Field(i).Type
	}
	return keys
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// unknownKey says that a section has no such key, and which one was probably meant.
func unknownKey(path, key string, section reflect.Type) error {
	allowed := slices.Sorted(maps.Keys(keysOf(section)))
	if near := nearest(key, allowed); near != "" {
		return fmt.Errorf("there is no such key; did you mean %s?", join(path, near))
	}
	for _, f := range fields(&Config{}) {
		switch section, name, _ := strings.Cut(f.key, "."); {
		case f.key == key: // a section and a key in one
			return fmt.Errorf("there is no such key; write %s: {%s: ...}", section, name)
		case name == key: // in the wrong section
			return fmt.Errorf("there is no such key; did you mean %s?", f.key)
		}
	}
	return fmt.Errorf("there is no such key; want one of %s", strings.Join(allowed, ", "))
}

// nearest returns the name that s probably misspells, or "". It ignores case.
func nearest(s string, names []string) string {
	s = strings.ReplaceAll(strings.ToLower(s), "-", "_")
	best, least := "", 3
	for _, name := range names {
		// One slip in three letters, two in six; more would be guessing.
		if d := distance(s, strings.ToLower(name)); d < least && d <= len(name)/3 {
			best, least = name, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
