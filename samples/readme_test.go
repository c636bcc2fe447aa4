// Package samples checks that README.md lists the samples.
package samples

import (
	"flag"
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite README.md")

// TestReadmeListsTheSamples compares README.md with the samples' package
// comments, from which -update makes it.
func TestReadmeListsTheSamples(t *testing.T) {
	var want strings.Builder
	want.WriteString("# Samples\n\n")
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		comment := packageComment(t, entry.Name())
		if comment == "" {
			t.Errorf("%s has no package comment", entry.Name())
		}
		if tests, _ := filepath.Glob(filepath.Join(entry.Name(), "*_test.go")); len(tests) == 0 {
			t.Errorf("%s has no test", entry.Name())
		}
		fmt.Fprintf(&want, "- [%s](%s): %s\n", entry.Name(), entry.Name(), comment)
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("README.md"); err != nil || string(got) != want.String() {
		t.Errorf("README.md is (%v)\n%s, want\n%s", err, got, want.String())
	}
}

// packageComment returns the first sentence of a package's comment.
func packageComment(t *testing.T, dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil {
			return new(doc.Package).Synopsis(f.Doc.Text())
		}
	}
	return ""
}
