package botlapse_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheProgramsOfThePagesCompile builds the Go blocks of README.md and of each
// page in docs, each page on its own, and runs the tests that are among them. A
// block that begins with package is a file; it and others are called as the line
// above them says, if that ends as in "here in `bot.go`:". The other Go blocks
// of a page are one function, in their order.
func TestTheProgramsOfThePagesCompile(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md") {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			files := filesOf(string(text))
			if len(files) == 0 && page == "README.md" {
				t.Fatal("it has no Go blocks")
			}
			dir := t.TempDir()
			replace := make(map[string]string) // what the go command reads, by where it looks for it
			root, err := filepath.Abs("page")
			if err != nil {
				t.Fatal(err)
			}
			hasTests := false
			for name, source := range files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(name, ".go") {
					replace[filepath.Join(root, name)] = path
				}
				hasTests = hasTests || strings.HasSuffix(name, "_test.go")
			}
			if len(replace) == 0 {
				return
			}
			overlay, err := json.Marshal(map[string]any{"Replace": replace})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(dir, "page.test")
			if out, err := exec.Command("go", "test", "-c", "-vet=off", "-o", program, "-overlay", filepath.Join(dir, "overlay.json"), "./page").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, files["fragments.go"])
			}
			if !hasTests {
				return
			}
			run := exec.Command(program)
			run.Dir = dir
			if out, err := run.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

var (
	block         = regexp.MustCompile("(?ms)^(?:[^\n]*`([\\w/]+\\.(?:go|txt))`:\n\n)?```(\\w*)\n(.*?)^```")
	packageClause = regexp.MustCompile(`\Apackage (\w+)`)
	declaration   = regexp.MustCompile(`(?m)^(\w+(?:, \w+)*) :=`)
)

// filesOf returns the files that are in the blocks of a page.
func filesOf(page string) map[string]string {
	files := make(map[string]string)
	pkg, body := "page", ""
	for i, b := range block.FindAllStringSubmatch(page, -1) {
		name, language, source := b[1], b[2], b[3]
		if p := packageClause.FindStringSubmatch(source); p != nil && language == "go" {
			pkg = p[1]
			name = cmp.Or(name, fmt.Sprintf("block%d.go", i))
		}
		if name != "" {
			files[name] = source
		} else if language == "go" {
			body += source
		}
	}
	if body == "" {
		return files
	}
	imports := ""
	for name, path := range importable {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString("base core.Adapter, t *testing.T, c *bottest.Chat " + body) {
			imports += fmt.Sprintf("\t%q\n", path)
		}
	}
	for _, d := range declaration.FindAllStringSubmatch(body, -1) {
		for name := range strings.SplitSeq(d[1], ", ") {
			body += "_ = " + name + "\n"
		}
	}
	files["fragments.go"] = fmt.Sprintf("package %s\n\nimport (\n%s)\n\nfunc _(base core.Adapter, t *testing.T, c *bottest.Chat) {\n%s}\n", pkg, imports, body)
	return files
}

// importable has the import paths of what the pages may name.
var importable = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "os": "os", "slog": "log/slog", "testing": "testing", "synctest": "testing/synctest", "time": "time",
	"activity": sdk + "/core/activity", "core": sdk + "/core", "schema": sdk + "/schema",
	"bolt": module + "/state/bolt", "bot": module + "/bot", "bottest": module + "/bottest", "connector": module + "/connector", "cosmos": module + "/cosmos",
	"deadline": module + "/deadline", "dialog": module + "/dialog", "middleware": module + "/middleware", "policy": module + "/policy", "state": module + "/state", "statetest": module + "/state/statetest",
}
