package existing

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// maxColumns is how long a line can be that people still call one line.
const maxColumns = 120

// wiring is what makes conversations expire, and forgetting is what a bot adds that
// keeps variables of its own.
var (
	wiring = []string{
		"conversation := state.NewConversation(state.NewMemory())",
		"expire := middleware.Expire(conversation, 30*time.Minute, &middleware.SessionsOptions{OnEnd: forget})",
		"adapter = bot.NewAdapter(adapter, middleware.AutoSave(conversation), expire)",
	}
	forgetting = "forget := func(_ context.Context, t *bot.Turn, _ middleware.Expiry) { o.forget(t.Activity.Conversation) }"
)

// TestTheDifferenceIsThreeLines compares the programs from behind their imports on:
// after has the wiring and the forgetting more than before, and is else the same.
func TestTheDifferenceIsThreeLines(t *testing.T) {
	before, after := body(t, "before/main.go"), body(t, "after/main.go")
	var added []string
	for _, line := range after {
		if columns := len(line) + 3*strings.Count(line, "\t"); columns > maxColumns {
			t.Errorf("a line has %d columns:\n%s", columns, line)
		}
		if len(before) > 0 && line == before[0] {
			before = before[1:]
		} else {
			added = append(added, strings.TrimSpace(line))
		}
	}
	if len(before) > 0 {
		t.Errorf("not found in after:\n%s", strings.Join(before, "\n"))
	}
	if want := slices.Insert(slices.Clone(wiring), 1, forgetting); !slices.Equal(added, want) {
		t.Errorf("added are\n%s\nwant\n%s", strings.Join(added, "\n"), strings.Join(want, "\n"))
	}
}

// TestT2TheLinesOfTheReadmeAreThose that the sample has.
func TestT2TheLinesOfTheReadmeAreThose(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := "```go\n" + strings.Join(wiring, "\n") + "\n```\n"; !strings.Contains(string(readme), want) {
		t.Errorf("README.md has not\n%s", want)
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
