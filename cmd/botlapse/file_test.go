package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestServeKeepsItsStateInAFile(t *testing.T) {
	now := make(chan struct{})
	close(now)
	channel, sent := newChannel(t, now)
	set := map[string]string{"STATE_FILE": filepath.Join(t.TempDir(), "state.db")}
	for round, want := range []string{"Please enter your mode of transport.", "Please enter your name."} {
		s := start(t, set)
		if code, err := postMessage(s.url, channel, fmt.Sprint("m", round), "bus"); code != http.StatusOK || err != nil {
			t.Errorf("answer is %d, %v", code, err)
		}
		if got := <-sent; !strings.HasSuffix(got, want) {
			t.Errorf("round %d: the bot said %s, want %s", round, got, want)
		}
		if round == 0 { // while it has the file open
			var stderr bytes.Buffer
			p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, lookup: environment(and(set, "PORT", "0")), envFile: "no such file"}
			if code := p.run(t.Context(), []string{"serve"}); code != 1 || !strings.Contains(stderr.String(), "STATE_FILE is ") || !strings.Contains(stderr.String(), "in use") {
				t.Errorf("a second one: exit status %d, stderr\n%s", code, &stderr)
			}
		}
		s.wait(t)
	}
}

func TestAStateFileThatCannotBeIsReported(t *testing.T) {
	for _, command := range []string{"serve", "chat"} {
		var stderr bytes.Buffer
		p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, lookup: environment(map[string]string{"PORT": "0", "STATE_FILE": "no/such/folder/state.db"}), envFile: "no such file"}
		if code := p.run(t.Context(), []string{command}); code != 1 || !strings.Contains(stderr.String(), `STATE_FILE is "no/such/folder/state.db"`) {
			t.Errorf("%s: exit status %d, stderr\n%s", command, code, &stderr)
		}
	}
	var stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: &stderr, envFile: "no such file",
		lookup: environment(map[string]string{"PORT": "0", "STATE_FILE": "x", "CosmosDbEndpoint": "https://x.test", "CosmosDbDatabaseId": "bot"})}
	if code := p.run(t.Context(), []string{"serve"}); code != 1 || !strings.Contains(stderr.String(), "one of them must be empty") {
		t.Errorf("both: exit status %d, stderr\n%s", code, &stderr)
	}
}
