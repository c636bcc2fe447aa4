package dialog_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Lookup("update") // of package bottest

const docs = "../docs/dialogs.md"

// TestTheDocumentationHasTheTableOfTargets compares it with the rows that
// TestTheFirstTargetThatIsSetIsBegun holds the code to.
func TestTheDocumentationHasTheTableOfTargets(t *testing.T) {
	const header = "| | the first of these that is set |\n|---|---|\n"
	data, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), header)
	if !ok {
		t.Fatal("there is no table of targets")
	}
	rows := regexp.MustCompile(`^(\|.*\n)*`).FindString(rest)
	var want strings.Builder
	for i, row := range targets {
		fmt.Fprintf(&want, "| %d | %s |\n", i+1, row.set)
	}
	if update.Value.String() == "true" {
		if err := os.WriteFile(docs, []byte(before+header+want.String()+rest[len(rows):]), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if rows != want.String() {
		t.Errorf("the table is\n%s\nwant\n%s", rows, want.String())
	}
}
