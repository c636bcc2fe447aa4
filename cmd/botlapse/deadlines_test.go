package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/internal/redact"
	"github.com/botlapse/botlapse/state/bolt"
)

func TestDeadlinesAreListedAndArmedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	file, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	store := file.Deadlines(queue)
	long := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := store.Arm(t.Context(), deadline.Deadline{Key: "parked", Due: long}); err != nil {
		t.Fatal(err)
	}
	claims, _, err := store.Claim(t.Context(), time.Now(), time.Minute, 1)
	if err != nil || store.Settle(t.Context(), claims[0], deadline.Outcome{Parked: "no\nway"}) != nil {
		t.Fatal(err)
	}
	for key, due := range map[string]time.Time{"overdue": long.Add(time.Second), "armed": time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := store.Arm(t.Context(), deadline.Deadline{Key: key, Due: due}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Arm(t.Context(), deadline.Deadline{Key: "\x1b[2J", Due: long.Add(2 * time.Second)}); err != nil {
		t.Fatal(err)
	}
	list := func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, envFile: "no such file", lookup: environment(map[string]string{"STATE_FILE": path})}
		code := p.run(t.Context(), append([]string{"deadlines"}, args...))
		return code, stdout.String(), stderr.String()
	}
	if code, _, stderr := list(); code != 1 || !strings.Contains(stderr, "in use") {
		t.Errorf("while it is open: exit status %d, stderr\n%s", code, stderr)
	}
	file.Close()
	parked := "2026-01-02T03:04:05Z  " + redact.Hash("parked") + "  parked     "
	rest := "2026-01-02T03:04:06Z  " + redact.Hash("overdue") + "  overdue    overdue\n" +
		"2026-01-02T03:04:07Z  " + redact.Hash("\x1b[2J") + "  \"\\x1b[2J\"  overdue\n" +
		"2999-01-01T00:00:00Z  " + redact.Hash("armed") + "  armed      armed\n"
	if code, stdout, stderr := list(); code != 0 || stdout != parked+"parked: no way\n"+rest {
		t.Errorf("exit status %d, stdout\n%sstderr\n%s", code, stdout, stderr)
	}
	if code, stdout, stderr := list("--retry"); code != 0 || stdout != parked+"armed again, was parked: no way\n"+rest {
		t.Errorf("exit status %d, stdout\n%sstderr\n%s", code, stdout, stderr)
	}
	if code, stdout, _ := list(); code != 0 || strings.Contains(stdout, "parked:") {
		t.Errorf("afterwards: exit status %d, stdout\n%s", code, stdout)
	}
	path += ".typo"
	if code, _, stderr := list(); code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("without a file: exit status %d, stderr\n%s", code, stderr)
	}
}
