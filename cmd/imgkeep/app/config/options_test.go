package config

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write contrib/imgkeep.yaml and contrib/docs/options.md again")

// The commented configuration and the table in the documents say what the comments on
// Config say, and nothing else.
func TestOptions(t *testing.T) {
	contrib := filepath.Join("..", "..", "..", "..", "contrib")
	docs := fieldDocs(t)
	for path, want := range map[string]string{
		filepath.Join(contrib, "imgkeep.yaml"):       optionsFile(docs),
		filepath.Join(contrib, "docs", "options.md"): optionsTable(docs),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the comments on Config say (%v): run go test ./cmd/imgkeep/app/config -run Options -update", path, err)
		}
	}
}

// fieldDocs are the comments on the fields of this package's types, by "Type.Field".
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, name := range []string{"config.go", "fetch.go", "page.go", "preset.go", "shared.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			structure, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range structure.Fields.List {
				var text strings.Builder
				if f.Doc != nil {
					for _, c := range f.Doc.List {
						text.WriteString(strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), " ") + "\n")
					}
				}
				docs[spec.Name.Name+"."+f.Names[0].Name] = text.String()
			}
			return true
		})
	}
	return docs
}

const optionsHead = `# Configuration of imgkeep. This file has every setting with its default, so you can
# use it as it is, or keep only what differs. Only a secret is missing: see sign below.
#
# A flag of the command takes precedence over the environment, the environment over
# this file, and this file over the default. In the environment fetch.max_bytes is
# IMGKEEP_FETCH_MAX_BYTES; lists are written with commas, and those whose items
# have keys, such as the buckets, as JSON.
# An empty variable counts as not set. IMGKEEP_CONFIG names this file.
#
# Sizes in bytes: a number of bytes, or with a unit: KiB, MiB, GiB, TiB (of 1024) or
# kB, MB, GB, TB (of 1000). Durations: a number with a unit: ms, s, m or h. Paths that
# do not begin with a slash are relative to the folder in which imgkeep is started.
# A key that does not exist is an error. 'imgkeep config' checks a configuration,
# and prints each value in force and where it was set.
`

// examplePreset is the one that the file shows.
var examplePreset = Preset{
	Name: "avatar", Width: 96, Height: 96, Fit: "cover", Gravity: "smart", Background: "#ffffff",
	Watermark: Watermark{Text: "© example.com", Position: "southeast", Scale: 40, Opacity: 60, Margin: 4},
	Format:    "webp", Quality: Quality{WebP: 75}, MaxBytes: 16 << 10, Animated: "first",
}

// optionsFile is the commented configuration.
func optionsFile(docs map[string]string) string {
	w := optionsWriter{docs: docs}
	w.out.WriteString(optionsHead)
	w.section(reflect.ValueOf(Default()), "", true)
	return w.out.String()
}

type optionsWriter struct {
	docs map[string]string
	out  bytes.Buffer
}

func (w *optionsWriter) comment(doc, indent string) {
	for line := range strings.Lines(doc) {
		w.out.WriteString(strings.TrimRight(indent+"# "+strings.TrimRight(line, "\n"), " ") + "\n")
	}
}

// section writes the keys of a struct. Keys at the top, and those of sections, have a
// blank line before them.
func (w *optionsWriter) section(v reflect.Value, indent string, spaced bool) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if spaced && (i > 0 || indent == "") {
			w.out.WriteString("\n")
		}
		doc := w.docs[v.Type().Name()+"."+field.Name]
		w.comment(doc, indent)
		key := indent + keyOf(field) + ":"
		switch items, isList := value.Interface().([]Bucket); {
		case isSection(field.Type):
			w.out.WriteString(key + "\n")
			w.section(value, indent+"  ", spaced)
		case isList:
			w.out.WriteString(key + "\n")
			for _, b := range items {
				w.item(reflect.ValueOf(b), indent+"  ")
			}
		case field.Type == reflect.TypeFor[[]Preset]():
			example := optionsWriter{docs: w.docs}
			example.item(reflect.ValueOf(examplePreset), "  ")
			w.out.WriteString("#\n")
			w.comment("presets:\n"+example.out.String(), "")
			w.out.WriteString(key + " []\n")
		case field.Type == reflect.TypeFor[[]Removed]():
			w.out.WriteString(key + "\n")
			for _, r := range value.Interface().([]Removed) {
				for j := range reflect.TypeFor[Removed]().NumField() {
					if text := reflect.ValueOf(r).Field(j).String(); text != "" {
						w.out.WriteString(indent + "  - " + keyOf(reflect.TypeFor[Removed]().Field(j)) + ": " + text + "\n")
					}
				}
			}
		default:
			w.out.WriteString(key + " " + optionText(value) + "\n")
		}
	}
}

// item writes an item of a list, whose comment stands behind its dash.
func (w *optionsWriter) item(v reflect.Value, indent string) {
	inner := optionsWriter{docs: w.docs}
	inner.section(v, indent+"  ", false)
	text := inner.out.String()
	w.out.WriteString(indent + "- " + strings.TrimPrefix(text, indent+"  "))
}

// optionText is a value as people write it.
func optionText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x == 0 {
			return "0"
		}
		text := x.String()
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(text, zero) {
				text = text[:len(text)-2]
			}
		}
		return text
	case ByteSize:
		if x == 0 {
			return "0"
		}
	}
	if v.Kind() == reflect.Slice {
		var items []string
		for i := range v.Len() {
			items = append(items, optionText(v.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	text, err := yaml.Marshal(v.Interface())
	if err != nil {
		panic(err)
	}
	s := strings.TrimSpace(string(text))
	if inner, ok := strings.CutPrefix(s, "'"); ok {
		s = `"` + strings.TrimSuffix(inner, "'") + `"`
	}
	return s
}

// optionsTable is the table of the documents.
func optionsTable(docs map[string]string) string {
	var out strings.Builder
	out.WriteString(`# Options

This table and [imgkeep.yaml](../imgkeep.yaml), a file to start from, are both generated from the source.

| key | default | what it is |
| --- | --- | --- |
`)
	var walk func(v reflect.Value, path string, defaults bool)
	walk = func(v reflect.Value, path string, defaults bool) {
		for i := range v.NumField() {
			field, value := v.Type().Field(i), v.Field(i)
			key := join(path, keyOf(field))
			text := cellText(docs[v.Type().Name()+"."+field.Name])
			standard := "`" + optionText(value) + "`"
			switch {
			case isSection(field.Type):
				if text != "" {
					fmt.Fprintf(&out, "| `%s` | | %s |\n", key, text)
				}
				walk(value, key, defaults)
				continue
			case field.Type.Kind() == reflect.Slice && isSection(field.Type.Elem()), !defaults:
				standard = ""
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", key, standard, text)
			switch field.Type {
			case reflect.TypeFor[[]Bucket](), reflect.TypeFor[[]Preset]():
				walk(reflect.New(field.Type.Elem()).Elem(), key+"[]", false)
			}
		}
	}
	walk(reflect.ValueOf(Default()), "", true)
	return out.String()
}

// listed is the beginning of a line that explains one key, or several, of a list.
var listed = regexp.MustCompile(`^([a-z0-9_]+(?:, [a-z0-9_]+)*)  +(.*)$`)

// cellText is a comment as a cell of a table: what it lists, in lines that are indented by two
// spaces, has lines of its own there too.
func cellText(comment string) string {
	var lines []string
	item := true // no line of prose can be continued
	for line := range strings.SplitSeq(comment, "\n") {
		text := strings.TrimSpace(line)
		switch indent := len(line) - len(strings.TrimLeft(line, " ")); {
		case text == "":
		case indent == 2 || indent == 0 && item:
			lines = append(lines, text)
			item = indent == 2
		default:
			lines[len(lines)-1] += " " + text
		}
	}
	for i, line := range lines {
		if m := listed.FindStringSubmatch(line); m != nil {
			line = "`" + strings.ReplaceAll(m[1], ", ", "`, `") + "`: " + m[2]
		} else if strings.HasPrefix(line, "- {") {
			line = "`" + line + "`"
		}
		lines[i] = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(line)
	}
	return strings.Join(lines, "<br>")
}

func TestCellText(t *testing.T) {
	t.Parallel()
	for comment, want := range map[string]string{
		"":                        "",
		"One line,\nand another.": "One line, and another.",
		"Each has\n  a, b   one, and\n         more\n  c      a | <b>\nand text\nafter it\n  - {c: 1,\n     d: 2}": "Each has<br>`a`, `b`: one, and more<br>`c`: a \\| &lt;b><br>and text after it<br>`- {c: 1, d: 2}`",
	} {
		if got := cellText(comment); got != want {
			t.Errorf("%q: %q, want %q", comment, got, want)
		}
	}
}
