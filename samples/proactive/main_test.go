package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/state"
)

// says is a core.Adapter that keeps what the bot says.
type says struct {
	core.Adapter
	mu    sync.Mutex
	texts []string
}

func (s *says) SendActivity(_ context.Context, a schema.Activity) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, a.Text)
	return "", nil
}

func (s *says) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.texts
	s.texts = nil
	return texts
}

func TestTheBotSaysGoodbyeAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := &says{}
		b := newBot(base, state.NewMemory(), deadline.NewMemory())
		runner := b.expire()
		defer runner.Close(context.Background())
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := base.take(); !slices.Equal(got, want) {
				t.Errorf("the bot said %q, want %q", got, want)
			}
		}
		say := func(text string) {
			t.Helper()
			if err := b.adapter.Process(t.Context(), schema.Activity{Type: schema.Message, Text: text, ChannelID: "test",
				Conversation: schema.ConversationAccount{ID: "c1"}, From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"}}, b.handle); err != nil {
				t.Fatal(err)
			}
		}
		const goodbye = `I have to go. Say "resume" to go on with your order, or anything else to begin a new one.`
		say("tea")
		expect(`Your order: tea. What else? Say "done" when that is all.`)
		time.Sleep(timeout - time.Nanosecond)
		expect()
		time.Sleep(time.Nanosecond)
		expect(goodbye)
		time.Sleep(time.Hour)
		say("resume")
		say("cake")
		say("done")
		expect(`Your order: tea. What else? Say "done" when that is all.`, `Your order: tea, cake. What else? Say "done" when that is all.`, "Ordered: tea, cake.")
		time.Sleep(time.Hour)
		expect(goodbye)
		say("coffee")
		expect(`Your order: coffee. What else? Say "done" when that is all.`)
	})
}

func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error)
	go func() { done <- run(ctx, filepath.Join(t.TempDir(), "state.db"), "127.0.0.1:0", in) }()
	lines := bufio.NewScanner(out)
	lines.Scan()
	resp, err := http.Post(strings.TrimPrefix(lines.Text(), "listening on "), "application/json", strings.NewReader(`{"type":"typing","channelId":"test","conversation":{"id":"c"},"from":{"id":"u"}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("answer is %d", resp.StatusCode)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
