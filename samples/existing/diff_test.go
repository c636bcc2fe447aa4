package existing

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTheDifferenceIsThreeLines compares the bots' functions: package comment
// and imports aside, after has three lines more than before and is else the
// same.
func TestTheDifferenceIsThreeLines(t *testing.T) {
	before, after := body(t, "before/main.go"), body(t, "after/main.go")
	var added []string
	for _, line := range after {
		if len(before) > 0 && line == before[0] {
			before = before[1:]
		} else {
			added = append(added, line)
		}
	}
	if len(before) > 0 || len(added) != 3 {
		t.Errorf("added are %d lines:\n%s\nnot found in after:\n%s", len(added), strings.Join(added, "\n"), strings.Join(before, "\n"))
	}
	if !slices.ContainsFunc(added, func(line string) bool { return strings.Contains(line, "bot.NewAdapter") }) {
		t.Error("the adapter is not among them")
	}
}

// body returns the lines of a program from behind its imports on.
func body(t *testing.T, name string) []string {
	source, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, functions, ok := strings.Cut(string(source), "\n)\n")
	if !ok {
		t.Fatalf("%s has no imports", name)
	}
	return strings.Split(functions, "\n")
}
