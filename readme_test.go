package botlapse_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages returns the texts of README.md, SECURITY.md, CHANGELOG.md and the pages in
// docs, by their names.
func pages(t *testing.T) map[string]string {
	names, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, name := range append(names, "README.md", "SECURITY.md", "CHANGELOG.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// TestTheProgramsOfThePagesCompile builds the Go blocks of each page, each page on
// its own, and runs the tests that are among them. A block that begins with package
// is a file; it and others are called as the line above them says, if that ends as
// in "here in `bot.go`:". The other Go blocks of a page are one function, in their
// order. What tables have in the form of code is built too, if it is a call or a
// value of a package.
func TestTheProgramsOfThePagesCompile(t *testing.T) {
	for page, text := range pages(t) {
		if page == "CHANGELOG.md" { // which has the names of old
			continue
		}
		t.Run(page, func(t *testing.T) {
			files := filesOf(text)
			dir := t.TempDir()
			hasTests, hasGo := false, false
			for name, source := range files {
				writeFile(t, filepath.Join(dir, name), source)
				hasTests = hasTests || strings.HasSuffix(name, "_test.go")
				hasGo = hasGo || strings.HasSuffix(name, ".go")
			}
			if !hasGo {
				if page == "README.md" {
					t.Error("it has no Go blocks")
				}
				return
			}
			program := filepath.Join(dir, "page.test")
			if out, err := exec.Command("go", "test", "-c", "-vet=off", "-o", program, "-overlay", overlay(t, dir, files), "./page").CombinedOutput(); err != nil {
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

// overlay returns the name of a file by which the go command finds the Go files of
// dir in ./page.
func overlay(t *testing.T, dir string, files map[string]string) string {
	page, err := filepath.Abs("page")
	if err != nil {
		t.Fatal(err)
	}
	replace := make(map[string]string) // what the go command reads, by where it looks for it
	for name := range files {
		if strings.HasSuffix(name, ".go") {
			replace[filepath.Join(page, name)] = filepath.Join(dir, name)
		}
	}
	encoded, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	writeFile(t, name, string(encoded))
	return name
}

func writeFile(t *testing.T, name, text string) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

var (
	block         = regexp.MustCompile("(?ms)^(?:[^\n]*`([\\w/]+\\.(?:go|txt))`:\n\n)?```(\\w*)\n(.*?)^```")
	packageClause = regexp.MustCompile(`\Apackage (\w+)`)
	declaration   = regexp.MustCompile(`(?m)^(\w+(?:, \w+)*) :=`)
	tableRow      = regexp.MustCompile(`(?m)^\|.*$`)
	codeSpan      = regexp.MustCompile("`([^`]+)`")
)

// given is what the blocks of a page, and its tables, need not declare.
const given = `base core.Adapter, adapter *bot.Adapter, t *testing.T, c *bottest.Chat, ctx context.Context, turn *bot.Turn,
	conversation, user *state.Scope, data, secret []byte, sessions *middleware.Sessions, storage state.Storage, file *bolt.Storage, account *cosmos.Account,
	forget func(context.Context, *bot.Turn, middleware.Expiry)`

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
	for _, d := range declaration.FindAllStringSubmatch(body, -1) {
		for name := range strings.SplitSeq(d[1], ", ") {
			body += "_ = " + name + "\n"
		}
	}
	table := tableCode(page)
	if body == "" && table == "" {
		return files
	}
	imports := ""
	for name, path := range importable {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(given + body + table) {
			imports += fmt.Sprintf("\t%q\n", path)
		}
	}
	// A block may declare anew what is given.
	files["fragments.go"] = fmt.Sprintf("package %s\n\nimport (\n%s)\n\nfunc _(%s) {\n{\n%s}\n%s}\n", pkg, imports, given, body, table)
	return files
}

// tableCode returns the calls and values in the tables of a page as statements.
func tableCode(page string) (code string) {
	for _, row := range tableRow.FindAllString(page, -1) {
		for _, span := range codeSpan.FindAllStringSubmatch(row, -1) {
			x, err := parser.ParseExpr(span[1])
			if err != nil {
				continue
			}
			switch x := x.(type) {
			case *ast.CallExpr:
				if isKnown(x.Fun) {
					code += span[1] + "\n"
				}
			case *ast.CompositeLit:
				if isKnown(x.Type) {
					code += "_ = " + span[1] + "\n"
				}
			}
		}
	}
	return code
}

// isKnown reports whether x begins with a package, or with something that is given.
func isKnown(x ast.Expr) bool {
	selector, ok := x.(*ast.SelectorExpr)
	for ok {
		switch inner := selector.X.(type) {
		case *ast.Ident:
			return importable[inner.Name] != "" || regexp.MustCompile(`\b`+inner.Name+`\b[^.]`).MatchString(given)
		case *ast.CallExpr:
			selector, ok = inner.Fun.(*ast.SelectorExpr)
		default:
			return false
		}
	}
	return false
}

// importable has the import paths of what the pages may name.
var importable = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "http": "net/http", "json": "encoding/json", "os": "os", "slog": "log/slog", "testing": "testing", "synctest": "testing/synctest", "time": "time",
	"activity": sdk + "/core/activity", "core": sdk + "/core", "schema": sdk + "/schema", "otel": otel,
	"bolt": module + "/state/bolt", "bot": module + "/bot", "bottest": module + "/bottest", "connector": module + "/connector", "cosmos": module + "/cosmos",
	"deadline": module + "/deadline", "deadlinetest": module + "/deadline/deadlinetest", "dialog": module + "/dialog", "metered": module + "/state/metered", "middleware": module + "/middleware",
	"policy": module + "/policy", "state": module + "/state", "statetest": module + "/state/statetest", "webhook": module + "/webhook",
}

// TestTheReadmeIsOneScreen, and its program a short one that runs: it answers, and
// starts over after the silence that it names.
func TestTheReadmeIsOneScreen(t *testing.T) {
	text := pages(t)["README.md"]
	if n := strings.Count(text, "\n"); n > 120 {
		t.Errorf("it has %d lines", n)
	}
	var program string
	for _, b := range block.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(b[3], "package main\n") {
			program = b[3]
		}
	}
	if n := strings.Count(program, "\n"); n == 0 || n > 25 {
		t.Errorf("its program has %d lines", n)
	}
	if formatted, err := format.Source([]byte(program)); err != nil || string(formatted) != program {
		t.Errorf("its program is not formatted: %v", err)
	}
	const welcome = "Welcome back!  Let's start over from the beginning."
	for unit, want := range map[string][]string{
		"time.Minute":     {"You said: coffee"},
		"time.Nanosecond": {welcome, "You said: coffee"}, // which is over when the next message comes
	} {
		say := start(t, replaceOnce(t, program, "time.Minute", unit))
		if got := say("hi"); !slices.Equal(got, []string{"You said: hi"}) {
			t.Errorf("the first answer is %q", got)
		}
		if got := say("coffee"); !slices.Equal(got, want) {
			t.Errorf("with %s, the second answer is %q, want %q", unit, got, want)
		}
	}
}

// start runs a program on a free port of its own, until the test ends, and returns
// what says something to it.
func start(t *testing.T, program string) (say func(text string) []string) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	dir := t.TempDir()
	files := map[string]string{"main.go": replaceOnce(t, program, "127.0.0.1:3978", address)}
	writeFile(t, filepath.Join(dir, "main.go"), files["main.go"])
	binary := filepath.Join(dir, "program")
	if out, err := exec.Command("go", "build", "-overlay", overlay(t, dir, files), "-o", binary, "./page").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	for listens := false; !listens; {
		conn, err := net.Dial("tcp", address)
		if listens = err == nil; listens {
			conn.Close()
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the program has ended: %v", err)
		default:
		}
	}
	return func(text string) (replies []string) {
		body := fmt.Appendf(nil, `{"type":"message","text":%q,"channelId":"test","from":{"id":"ada"},"conversation":{"id":"1"},"deliveryMode":"expectReplies"}`, text)
		resp, err := http.Post("http://"+address+"/api/messages", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		var found struct{ Activities []struct{ Text string } }
		if err := cmp.Or(err, json.Unmarshal(answer, &found)); err != nil {
			t.Fatalf("the answer is %d %s: %v", resp.StatusCode, answer, err)
		}
		for _, a := range found.Activities {
			replies = append(replies, a.Text)
		}
		return replies
	}
}

func replaceOnce(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is not once in\n%s", old, text)
	}
	return strings.Replace(text, old, new, 1)
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noLink  = regexp.MustCompile(`[^\w\- ]`)
)

// TestLinksLeadSomewhere looks at those to files of this repository, and to headings.
func TestLinksLeadSomewhere(t *testing.T) {
	texts := pages(t)
	for page, text := range texts {
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			name, anchor, _ := strings.Cut(l[1], "#")
			target := page
			if name != "" {
				target = filepath.Join(filepath.Dir(page), name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
			}
			if anchor == "" {
				continue
			}
			if !slices.ContainsFunc(heading.FindAllStringSubmatch(texts[target], -1), func(h []string) bool {
				return strings.ReplaceAll(noLink.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == anchor
			}) {
				t.Errorf("%s: %s has no heading for #%s", page, target, anchor)
			}
		}
	}
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	pitfall  = regexp.MustCompile(`^Test((?:P\d+b?)+)`)
	logLine  = regexp.MustCompile(`\b(?:[wW]arn|Info|Error|Debug|WarnContext|LogAttrs|logStep)\((?:ctx, |c, |r\.Context\(\), |slog\.\w+, )*"([^"]+)"`)
	inCode   = regexp.MustCompile("\\]\\(\\.\\./([\\w/]+\\.go)\\) \\| `(\\w+)` \\|")
	metric   = regexp.MustCompile(`(?:Histogram|Counter|counter)\("(botlapse\.[\w.]+)"`)
)

// TestThePagesKeepUpWithTheCode: they name only tests and functions that there are,
// and every log line, every metric, and every pitfall that a test is named after.
func TestThePagesKeepUpWithTheCode(t *testing.T) {
	texts := pages(t)
	tests := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			if entry != nil && entry.Name() == "node_modules" {
				return fs.SkipDir
			}
			return err
		}
		source, err := os.ReadFile(path)
		if strings.HasSuffix(path, "_test.go") {
			for _, f := range testFunc.FindAllSubmatch(source, -1) {
				tests[string(f[1])] = true
			}
			return err
		}
		for _, found := range slices.Concat(logLine.FindAllSubmatch(source, -1), metric.FindAllSubmatch(source, -1)) {
			if !strings.Contains(texts["docs/operations.md"], "`"+string(found[1])+"`") {
				t.Errorf("docs/operations.md does not tell of %q, which is in %s", found[1], path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for page, text := range texts {
		for _, name := range testName.FindAllString(text, -1) {
			if strings.HasPrefix(page, "docs/") && page != "docs/testing.md" && !tests[name] {
				t.Errorf("%s names %s, which there is not", page, name)
			}
		}
	}
	for _, row := range inCode.FindAllStringSubmatch(texts["docs/how-it-works.md"], -1) {
		source, err := os.ReadFile(row[1])
		if err != nil || !regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?`+row[2]+`\(`).Match(source) {
			t.Errorf("docs/how-it-works.md: there is no %s in %s: %v", row[2], row[1], err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if m := pitfall.FindStringSubmatch(name); m != nil {
			for _, p := range regexp.MustCompile(`P\d+`).FindAllString(m[1], -1) {
				if !strings.Contains(texts["docs/design.md"], "| "+p+" |") {
					t.Errorf("docs/design.md does not tell of %s, after which %s is named", p, name)
				}
			}
		}
	}
}
