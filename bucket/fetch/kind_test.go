package fetch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// A class that somebody adds stands in the list as well, after which metrics,
// backoffs and verdicts are made and tested.
func TestClasses(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []ErrorKind
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "ErrorKind" {
			return true
		}
		for _, v := range spec.Values {
			name, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, ErrorKind(name))
		}
		return true
	})
	if got := ErrorKinds(); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("ErrorKinds() is %q, and error.go has %q", got, want)
	}
}
