//go:build interop

// Package interop checks against other SDKs, as they are, that bots in several
// languages can share conversations. It needs what js/README.md says.
package interop

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/state"
)

type documents map[string]json.RawMessage

// A bot handles one turn on the documents of a shared storage.
type adapter func(t *testing.T, activity json.RawMessage, before documents) (replies []any, after documents)

// TestAConversationMovesBetweenJavaScriptAndGo plays the recorded
// conversations with a JavaScript and a Go bot that take turns on the same
// storage. Whoever's turn it is, the user must read what was recorded.
func TestAConversationMovesBetweenJavaScriptAndGo(t *testing.T) {
	files, err := filepath.Glob("js/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no recorded conversations", err)
	}
	for _, file := range files {
		for name, bots := range map[string][]adapter{
			"JavaScript begins": {startJavaScript(t), goTurn},
			"Go begins":         {goTurn, startJavaScript(t)},
			"Go alone":          {goTurn},
		} {
			t.Run(filepath.Base(file)+" "+name, func(t *testing.T) { play(t, file, bots) })
		}
	}
}

func play(t *testing.T, file string, bots []adapter) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var conversation struct {
		Turns []struct {
			Activity json.RawMessage
			Replies  []any
		}
	}
	if err := json.Unmarshal(data, &conversation); err != nil {
		t.Fatal(err)
	}
	storage := documents{}
	for i, turn := range conversation.Turns {
		var replies []any
		replies, storage = bots[i%len(bots)](t, turn.Activity, storage)
		if !reflect.DeepEqual(replies, turn.Replies) {
			t.Errorf("turn %d: the bot said\n%s, want\n%s", i, encode(replies), encode(turn.Replies))
		}
	}
}

func encode(v any) []byte {
	out, _ := json.MarshalIndent(v, "", "  ")
	return out
}

// startJavaScript starts the JavaScript bot.
func startJavaScript(t *testing.T) adapter {
	ask := startNode(t, "turn.js")
	return func(t *testing.T, activity json.RawMessage, before documents) ([]any, documents) {
		var result struct {
			Replies []any
			Storage documents
		}
		ask(t, map[string]any{"activity": activity, "storage": before}, &result)
		return result.Replies, result.Storage
	}
}

// startNode starts a script that answers each line with a line. The returned
// function asks it; an answer with an error ends the test.
func startNode(t *testing.T, script string) func(t *testing.T, request, answer any) {
	cmd := exec.Command("node", script)
	cmd.Dir = "js"
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewReader(out)
	return func(t *testing.T, request, answer any) {
		t.Helper()
		if err := json.NewEncoder(in).Encode(request); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		var failed struct{ Error string }
		if err := errors.Join(json.Unmarshal(line, &failed), json.Unmarshal(line, answer)); err != nil || failed.Error != "" {
			t.Fatalf("%s: %v %s", script, err, failed.Error)
		}
	}
}

// goTurn runs one turn of the Go bot, as a process would that knows nothing of
// the turns before.
func goTurn(t *testing.T, activity json.RawMessage, before documents) (replies []any, after documents) {
	a, err := wire.Decode(activity)
	if err != nil {
		t.Fatal(err)
	}
	storage := state.NewMemory()
	items := map[string]state.Item{}
	for key, document := range before {
		items[key] = state.Item{Value: document}
	}
	if _, err := storage.Write(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	replies = goTurnOn(t, storage, activity)
	stored, err := storage.Read(t.Context(), []string{
		fmt.Sprintf("%s/conversations/%s/", a.ChannelID, a.Conversation.ID),
		fmt.Sprintf("%s/users/%s/", a.ChannelID, a.From.ID),
	})
	if err != nil {
		t.Fatal(err)
	}
	after = maps.Clone(before)
	for key, item := range stored {
		after[key] = item.Value
	}
	return replies, after
}
