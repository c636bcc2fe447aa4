package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/joho/godotenv"
)

var update = flag.Bool("update", false, "rewrite .env.example")

// environment returns a lookup of variables that are set.
func environment(set map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := set[name]
		return value, ok
	}
}

func TestTheExampleListsEveryVariableWithMeaningAndDefault(t *testing.T) {
	const path = "../../.env.example"
	var want strings.Builder
	want.WriteString("# Copy this file to .env. Variables of the environment win over it. Put values\n# with $ or # between single quotes.\n")
	for _, v := range variables {
		value := v.value
		if strings.ContainsAny(value, " '") {
			value = `"` + value + `"`
		}
		fmt.Fprintf(&want, "\n# %s\n%s=%s\n", strings.ReplaceAll(v.doc, "\n", "\n# "), v.name, value)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want.String() {
		t.Errorf("%s is (%v)\n%s, want\n%s", path, err, got, want.String())
	}
	read, err := godotenv.Read(path)
	if err != nil || len(read) != len(variables) {
		t.Errorf("%d variables read (%v), want %d", len(read), err, len(variables))
	}
	for _, v := range variables {
		if read[v.name] != v.value {
			t.Errorf("%s is read as %q, want %q", v.name, read[v.name], v.value)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c, err := loadConfig(environment(nil), "no such file")
	if err != nil {
		t.Fatal(err)
	}
	if c.expireAfter != 30*time.Second || c.host != "127.0.0.1" || c.port != 3978 || c.expireMessage == "" {
		t.Errorf("config is %+v", c)
	}
	if err := c.forServing(); err != nil {
		t.Error(err)
	}
}

func TestTheEnvironmentWinsOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte("ExpireAfterSeconds=60\nExpireMessage=\nPORT=4000\nLOG_LEVEL=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(environment(map[string]string{"PORT": "5000"}), file)
	if err != nil {
		t.Fatal(err)
	}
	if c.expireAfter != time.Minute || c.port != 5000 || c.expireMessage != "" {
		t.Errorf("config is %+v", c)
	}
}

// P1b: settings from the environment are text.
func TestP1bTimeoutsAreParsedOnce(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"30": 30 * time.Second, "PT30S": 30 * time.Second, "30s": 30 * time.Second, "0": 0, "0s": 0, "PT0S": 0,
		"0.5": 500 * time.Millisecond, "1.000000001": time.Second + 1, "30m": 30 * time.Minute, "1h30m": 90 * time.Minute,
		"PT1H30M": 90 * time.Minute, "P1DT1S": 24*time.Hour + time.Second, "PT0.25S": 250 * time.Millisecond, "P7D": 7 * 24 * time.Hour,
		"1e3": 1000 * time.Second,
	} {
		if got, err := parseTimeout(value); err != nil || got != want {
			t.Errorf("%q is %v (%v), want %v", value, got, err, want)
		}
	}
	for _, value := range []string{
		"", " ", "abc", "30 s", "-1", "-0.1", "-5m", "NaN", "Inf", "+Inf", "1e30", "3000 week", "P", "PT", "P1DT", "P1M", "PT-1S", "0x10", "1_000", "30,5", "--1",
	} {
		if got, err := parseTimeout(value); err == nil {
			t.Errorf("%q is %v, want an error", value, got)
		}
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte("MicrosoftAppPassword!swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, envFile: file, lookup: environment(map[string]string{
		"ExpireAfterSeconds": "soon", "PORT": "99999", "ALLOW_UNAUTHENTICATED": "maybe", "LOG_LEVEL": "loud", "HOST": "0.0.0.0", "MicrosoftAppPassword": "swordfish",
	})}
	if code := p.run(t.Context(), []string{"serve"}); code != 1 || out.Len() > 0 {
		t.Errorf("exit status is %d, output %q", code, out.String())
	}
	for _, want := range []string{
		`ExpireAfterSeconds is "soon": must be 0 or more seconds`, `PORT is "99999": must be a whole number from 0 to 65535`,
		`ALLOW_UNAUTHENTICATED is "maybe": must be true or false`, `LOG_LEVEL is "loud": must be debug, info, warn or error`,
		`HOST is "0.0.0.0": without MicrosoftAppId it must be a loopback address`, `MicrosoftAppId is empty`, file + " cannot be read",
	} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, errs.String())
		}
	}
	if n := strings.Count(errs.String(), "botlapse: "); n != 7 {
		t.Errorf("%d lines, want 7:\n%s", n, errs.String())
	}
	if strings.Contains(errs.String(), "swordfish") {
		t.Errorf("a secret is in the report:\n%s", errs.String())
	}
}

func TestWhatIsALoopbackAddress(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.1.2.3": true, "::1": true, "localhost": true, "LocalHost": true,
		"": false, "0.0.0.0": false, "::": false, "192.168.0.1": false, "example.com": false, "127.0.0.1.example.com": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("%q is %v, want %v", host, got, want)
		}
	}
}
