package server_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// exportedInterfaces are those that other packages name.
var exportedInterfaces = []string{
	"server/lease.Row",          // its users implement it for their rows
	"server/livetasks.Handlers", // lists the kinds of tasks; server/rooms documents its methods by it
	"server/recordings.Files",   // embedded in what server opens as storage
}

// An interface belongs to the package that calls, with just the methods that it calls, so others have no use for its name.
func TestInterfacesAreUnexported(t *testing.T) {
	t.Parallel()
	var found []string
	for _, p := range packages(t) {
		if strings.HasPrefix(p.name(), "gen/") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok || !spec.Name.IsExported() {
					return true
				}
				if _, ok := spec.Type.(*ast.InterfaceType); ok {
					found = append(found, p.name()+"."+spec.Name.Name)
				}
				return true
			})
		}
	}
	for _, name := range found {
		if !slices.Contains(exportedInterfaces, name) {
			t.Errorf("%s is an exported interface: let the package that calls declare what it needs", name)
		}
	}
	for _, name := range exportedInterfaces {
		if !slices.Contains(found, name) {
			t.Errorf("%s is in the list but not in the code", name)
		}
	}
}
