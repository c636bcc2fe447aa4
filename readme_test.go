package botlapse_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestTheProgramsOfTheReadmeCompile builds the Go blocks of README.md, in
// their order, as one function.
func TestTheProgramsOfTheReadmeCompile(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source := `package readme

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

func _(base core.Adapter) {
`
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no Go blocks")
	}
	for _, block := range blocks {
		source += string(block[1])
	}
	source += "\t_, _ = app, err\n"
	file := filepath.Join(t.TempDir(), "readme.go")
	if err := os.WriteFile(file, []byte(source+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "readme", "readme.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".json", overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-overlay", file+".json", "./readme").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, source)
	}
}

// TestTheProgramOfTheEventsPageCompiles builds the receiver in Go of
// docs/events.md. Package interop runs it, beside those in other languages.
func TestTheProgramOfTheEventsPageCompiles(t *testing.T) {
	page, err := os.ReadFile("docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(page)
	if program == nil {
		t.Fatal("docs/events.md has no Go program")
	}
	file := filepath.Join(t.TempDir(), "receiver.go")
	if err := os.WriteFile(file, program[1], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", os.DevNull, file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
