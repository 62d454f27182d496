package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is the largest configuration file, in bytes. A larger one is the wrong file.
const maxFile = 1 << 20

// document is a YAML text whose shape has been checked: its keys and where they are, not
// their values.
type document struct {
	name   string         // of the file
	public bool           // every user of the machine can read it
	lines  map[string]int // line of each key and item, "buckets[1].name"
	problems
}

// maxParts is how many parts a file may have. With more, it is a folder of something else.
const maxParts = 100

// partsOf are the parts of the file at path, in the order of their names: the .yaml files
// of the folder beside it whose name has .d in place of the extension. So a package can
// bring the file and the operator the parts, and neither changes the other's.
func partsOf(path string) (parts []string, err error) {
	dir := strings.TrimSuffix(path, filepath.Ext(path)) + ".d"
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries { // sorted
		if name := e.Name(); filepath.Ext(name) == ".yaml" && !strings.HasPrefix(name, ".") {
			parts = append(parts, filepath.Join(dir, name))
		}
	}
	if len(parts) > maxParts {
		return nil, fmt.Errorf("%s holds %d parts of the configuration, more than %d", dir, len(parts), maxParts)
	}
	return parts, nil
}

// readFile reads a file of limited size.
func readFile(path string, limit int64) ([]byte, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		return nil, nil, fmt.Errorf("open %s: it is a folder", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(b)) > limit {
		return nil, nil, fmt.Errorf("read %s: it is larger than %d bytes", path, limit)
	}
	return b, info, nil
}

// checkFile checks the text of a file. It returns an error only if the text is not YAML.
func checkFile(name string, text []byte) (*document, error) {
	d := &document{name: name, lines: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var root yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF): // nothing, or nothing but comments
		return d, nil
	case err != nil:
		return nil, notYAML(name, text, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: it holds more than one YAML document (a line of three dashes begins another)", name)
	}
	d.check(root.Content[0], reflect.TypeFor[Config](), "")
	return d, nil
}

// notYAML says where a text is not YAML, and why, as far as the parser tells. It tells
// least of the most common mistake, a tab.
func notYAML(name string, text []byte, err error) error {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if body := strings.TrimLeft(line, " \t\r\n"); body != "" && strings.Contains(line[:len(line)-len(body)], "\t") {
			return fmt.Errorf("%s:%d: there is a tab before %q: use spaces, because YAML allows no tabs there", name, n, firstWord(body))
		}
	}
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: it is not YAML: %s", name, m[1], m[2])
	}
	return fmt.Errorf("%s: it is not YAML: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
}

var yamlError = regexp.MustCompile(`^yaml: line ([0-9]+): (.*)`)

// firstWord is the key of a line, or its first word.
func firstWord(line string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	return word[:min(len(word), 40)]
}

// check compares a node with the type that its value is for.
func (d *document) check(n *yaml.Node, t reflect.Type, path string) {
	// An alias is followed only down a type, and types end: no text can make this run long
	// or for ever.
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if path != "" {
		d.lines[path] = n.Line
	}
	null := n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
	switch {
	case null && isSection(t): // a section whose keys are all commented out
	case null:
		d.addf(path, "it has no value; leave the key out to have the default")
	case isSection(t):
		d.checkSection(n, t, path)
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.addf(path, "it must be a list, as in [a, b]")
			return
		}
		for i, item := range n.Content {
			d.check(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
	case n.Kind != yaml.ScalarNode:
		d.addf(path, "it must be a single value")
	case t == reflect.TypeFor[Secret]() && n.ShortTag() != "!!str":
		d.addf(path, "it is not text; write it in quotes") // and is not shown
	case t.Kind() == reflect.String && n.ShortTag() != "!!str":
		d.addf(path, "%s is not text; write it in quotes", n.Value)
	case leadingZero.MatchString(n.Value) && n.ShortTag() == "!!int":
		// YAML would read 0443 as the octal of 291.
		d.addf(path, "%s is ambiguous; write it without the leading zero", n.Value)
	}
}

var leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]`)

func (d *document) checkSection(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.MappingNode {
		if path == "" {
			d.addf("", "it must hold keys and values, as in listen: 127.0.0.1:8091")
			return
		}
		d.addf(path, "it must hold keys and values, as in {key: value}")
		return
	}
	keys := keysOf(t)
	seen := map[string]int{} // the lines of keys
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		at := join(path, key.Value)
		if key.Kind != yaml.ScalarNode {
			d.problems = append(d.problems, problem{key: path, source: d.line(key.Line), err: errors.New("a key must be a word, and not a list or a section")})
			continue
		}
		if before := seen[key.Value]; before > 0 {
			d.problems = append(d.problems, problem{key: at, source: d.line(key.Line),
				err: fmt.Errorf("it is set in line %d already: leave one of the two out", before)})
			continue
		}
		seen[key.Value] = key.Line
		if keys[key.Value] == nil {
			if _, ok := d.lines[at]; !ok {
				d.lines[at] = key.Line
			}
			d.add(at, unknownKey(path, key.Value, t))
			continue
		}
		d.check(n.Content[i+1], keys[key.Value], at)
		d.lines[at] = key.Line
	}
}

// line names a line of the file; empty if the value is not from a file.
func (d *document) line(n int) string {
	if d.name == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", d.name, n)
}

// place says where the file sets a key; empty if it does not.
func (d *document) place(key string) string {
	if line, ok := d.lines[key]; ok {
		return d.line(line)
	}
	return ""
}
