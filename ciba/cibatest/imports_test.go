package cibatest

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The demo links this package, so it brings neither testing nor a flag of
// net/http/httptest along. And it shares no code with the client that is
// tested against it: what both have wrong in common no test would find.
func TestImports_areFewAndIndependent(t *testing.T) {
	entries, err := os.ReadDir(".")
	must(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ImportsOnly)
		must(t, err)
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			must(t, err)
			host, _, _ := strings.Cut(path, "/")
			switch {
			case path == "testing" || strings.HasPrefix(path, "testing/") || path == "net/http/httptest":
				t.Errorf("%s imports %s", e.Name(), path)
			case strings.Contains(host, ".") && path != "github.com/golang-jwt/jwt/v5":
				t.Errorf("%s imports %s", e.Name(), path)
			}
		}
	}
}
