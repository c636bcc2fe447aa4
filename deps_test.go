package botlapse_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/botlapse/botlapse"

// allowed says what the packages below a folder may import of this module and
// of others. The standard library is open to all but for what denied says.
var allowed = map[string][]string{
	"internal/wire":     {module + "/internal/object", sdk + "/schema"},
	"internal/object":   {},
	"internal/redact":   {},
	"internal/outbound": {},
	"policy":            {},
	"state":             {module + "/internal/object"},
	"state/statetest":   {module + "/state"},
	"state/metered":     {module + "/state", otel},
	"state/bolt":        {module + "/state", module + "/deadline", "go.etcd.io/bbolt"},
	"cosmos":            {module + "/state", module + "/deadline", module + "/internal/object", azure + "/azcore", azure + "/azidentity", azure + "/data/azcosmos"},
	"cosmos/cosmostest": {},
	"bot":               {module + "/state", module + "/internal", sdk, otel},
	"middleware":        {module + "/state", module + "/bot", module + "/policy", module + "/deadline", module + "/internal/wire", module + "/internal/redact", sdk, otel, "golang.org/x/time/rate"},
	"connector": {module + "/internal", sdk, azure + "/azcore", azure + "/azidentity",
		"github.com/golang-jwt/jwt/v5", "golang.org/x/time/rate"},
	"deadline":              {module + "/internal/redact", otel},
	"deadline/deadlinetest": {module + "/deadline"},
	"bottest":               {module + "/state", module + "/bot", module + "/connector", module + "/deadline", module + "/internal/wire", sdk},
	"webhook":               {module + "/internal/outbound"},
	"dialog":                {module + "/state", module + "/bot", module + "/policy", module + "/internal/object", module + "/internal/wire", sdk + "/schema"},
	"internal/userprofile":  {module + "/state", module + "/bot", module + "/dialog", sdk + "/schema"},
	"dialog/english":        {},
	"interop/replicas":      {module + "/cosmos"},
	"samples":               {module, sdk, "github.com/joho/godotenv"},
	"cmd":                   {module, sdk, azure + "/azcore", "github.com/spf13/cobra", "github.com/joho/godotenv", otel, "github.com/prometheus/client_golang"},
}

// forTests are the packages that tests import, and that import testing for it.
var forTests = []string{"bottest", "state/statetest", "deadline/deadlinetest"}

const (
	sdk   = "github.com/infracloudio/msbotbuilder-go"
	azure = "github.com/Azure/azure-sdk-for-go/sdk"
	otel  = "go.opentelemetry.io/otel"
)

// TestImportsFollowTheDesign holds the direction of imports: state knows no
// turns and no SDK, middleware no storage service, libraries no more of
// OpenTelemetry than its API, and only commands and samples read the environment
// or carry test code's dependencies.
func TestImportsFollowTheDesign(t *testing.T) {
	for pkg, imports := range listImports(t, "./...") {
		folder, rules := ruleFor(pkg)
		if rules == nil {
			t.Errorf("%s: no rule says what it may import", pkg)
			continue
		}
		for _, path := range imports {
			external := strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
			if external && !slices.ContainsFunc(rules, func(rule string) bool { return within(path, rule) }) && !within(path, module+"/"+folder) {
				t.Errorf("%s imports %s", pkg, path)
			}
			if within(path, otel+"/sdk") || within(path, otel+"/exporters") {
				if folder != "cmd" {
					t.Errorf("%s imports %s", pkg, path)
				}
			}
			if within(path, module+"/samples") && folder != "samples" {
				t.Errorf("%s imports the sample %s", pkg, path)
			}
			if path == "testing" && !slices.Contains(forTests, strings.TrimPrefix(pkg, module+"/")) {
				t.Errorf("%s imports testing outside of its tests", pkg)
			}
		}
	}
}

// TestOnlyCommandsAndSamplesReadTheEnvironment looks for calls by name: a
// package may need os for other things.
func TestOnlyCommandsAndSamplesReadTheEnvironment(t *testing.T) {
	reads := regexp.MustCompile(`\b(os\.(Getenv|LookupEnv|Environ|ExpandEnv)|syscall\.Getenv)\b`)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			if path == "cmd" || path == "samples" || entry.Name() == "node_modules" {
				return fs.SkipDir
			}
			return err
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if call := reads.Find(source); call != nil {
			t.Errorf("%s calls %s", path, call)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func ruleFor(pkg string) (folder string, rules []string) {
	for f, r := range allowed {
		if within(pkg, module+"/"+f) && len(f) > len(folder) {
			folder, rules = f, r
		}
	}
	return folder, rules
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func listImports(t *testing.T, pattern string) map[string][]string {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, pattern).Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if fields[0] != module {
			imports[fields[0]] = fields[1:]
		}
	}
	return imports
}
