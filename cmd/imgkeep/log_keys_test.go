package main_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The keys of the log are a promise to programs that read it: monitoring.md has all
// of them, and they are words without spaces.
func TestLogKeys(t *testing.T) {
	t.Parallel()
	found := map[string]string{} // a place of each
	for _, root := range []string{"bucket", "cmd", "nginx", "resize"} {
		err := filepath.WalkDir(filepath.Join("../..", root), func(path string, e fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata") {
				return err
			}
			set := gotoken.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					for _, key := range logKeys(call) {
						found[key] = set.Position(call.Pos()).String()
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("../../contrib/docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## The log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(section, -1) {
		told[m[1]] = true
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if !regexp.MustCompile(`^[a-z][a-z_]*$`).MatchString(key) {
			t.Errorf("%s: the key %q is not a word in small letters", found[key], key)
		}
		if !told[key] {
			t.Errorf("%s: contrib/docs/monitoring.md, The log, does not name the key %s", found[key], key)
		}
	}
	if len(found) < 30 {
		t.Errorf("only %d keys were found", len(found))
	}
}

// logKeys are the keys that a call of a logger, or of what makes attributes, names.
func logKeys(call *ast.CallExpr) (keys []string) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	args := call.Args
	switch receiver := exprName(method.X); {
	case receiver == "slog" && slices.Contains([]string{"String", "Int", "Any", "Bool", "Duration", "Time", "Group"}, method.Sel.Name):
		args = args[:1]
	case !slices.Contains([]string{"log", "Log", "Logger", "l"}, receiver):
		return nil
	case method.Sel.Name == "Log" && len(args) > 3:
		args = args[3:] // context, level, message
	case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, method.Sel.Name) && len(args) > 1:
		args = args[1:]
	case receiver == "l" && method.Sel.Name == "log" && len(args) > 2: // of control.Local
		args = args[2:]
	default:
		return nil
	}
	for i := 0; i < len(args); i++ {
		if lit, ok := args[i].(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
			key, _ := strconv.Unquote(lit.Value)
			keys = append(keys, key)
			i++ // its value
		}
	}
	return keys
}

// exprName is the last name of an expression: log of s.opts.log.
func exprName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
