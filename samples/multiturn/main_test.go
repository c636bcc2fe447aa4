package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"
)

var update = flag.Bool("update", false, "rewrite the transcripts")

// A transcript is a core.Adapter that writes down what the bot sends. The bot
// calls none of the embedded interface's methods.
type transcript struct {
	core.Adapter
	strings.Builder
}

func (s *transcript) SendActivity(ctx context.Context, a schema.Activity) (id string, err error) {
	fmt.Fprintf(s, "< %s", a.Text)
	for _, action := range a.SuggestedActions.Actions {
		fmt.Fprintf(s, " [%s]", action.Title)
	}
	for _, attachment := range a.Attachments {
		fmt.Fprintf(s, " (%s)", attachment.Name)
	}
	s.WriteByte('\n')
	return "", nil
}

// TestTranscripts plays the lines of each transcript that begin with ">", what
// the user writes, "^", a picture's name that the user attaches, and "+", how
// long the user is silent, and compares the bot's, which begin with "<".
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				got := play(t, string(want))
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				} else if got != string(want) {
					t.Errorf("played:\n%s\nwant:\n%s", got, want)
				}
			})
		})
	}
}

func play(t *testing.T, script string) string {
	s := &transcript{}
	adapter, handle := newBot(s)
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, "<") {
			s.WriteString(line + "\n")
		}
		kind, rest, _ := strings.Cut(line, " ")
		a := schema.Activity{
			Type:         schema.Message,
			ChannelID:    "webchat",
			From:         schema.ChannelAccount{ID: "u1"},
			Recipient:    schema.ChannelAccount{ID: "bot"},
			Conversation: schema.ConversationAccount{ID: "c1"},
		}
		switch kind {
		case ">":
			a.Text = rest
		case "^":
			a.Attachments = []schema.Attachment{{ContentType: "image/png", Name: rest, ContentURL: "https://example.com/" + rest}}
		case "+":
			d, err := time.ParseDuration(rest)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
			continue
		default:
			continue
		}
		if err := adapter.Process(t.Context(), a, handle); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	return s.String()
}

func TestRunServesUntilItIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out := make(lines, 1)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", out) }()
	select {
	case line := <-out:
		url := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
		resp, err := http.Post(url, "application/json", strings.NewReader(`{"type":"typing","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"}}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("status is %d, want 200", resp.StatusCode)
		}
	case err := <-ended:
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// lines receives what is printed.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
