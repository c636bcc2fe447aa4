package bot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// A base is a channel that reads requests as msbotbuilder-go does.
type base struct{ bottest.Channel }

func (b *base) ParseRequest(_ context.Context, r *http.Request) (a schema.Activity, err error) {
	err = json.NewDecoder(r.Body).Decode(&a)
	return a, err
}

// texts returns the texts that were sent since the last call.
func (b *base) texts() []string {
	var texts []string
	for _, a := range b.Sent() {
		texts = append(texts, a.Text)
	}
	return texts
}

const notice = "Welcome back!  Let's start over from the beginning."

// timeout is when the conversations of a counter expire.
const timeout = 30 * time.Minute

// bubble runs f in a synctest bubble.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// A message returns a message of user u1 in conversation c1.
func message(text string) schema.Activity {
	return schema.Activity{
		Type:         schema.Message,
		Text:         text,
		ChannelID:    "test",
		ServiceURL:   "http://localhost/channel",
		From:         schema.ChannelAccount{ID: "u1"},
		Recipient:    schema.ChannelAccount{ID: "bot"},
		Conversation: schema.ConversationAccount{ID: "c1"},
	}
}

func in(conversation string, a schema.Activity) schema.Activity {
	a.Conversation.ID = conversation
	return a
}

func withID(id string, a schema.Activity) schema.Activity {
	a.ID = id
	return a
}

// A counter is a bot that counts the messages of a conversation and of a user
// and says so.
type counter struct {
	conversation, user *state.Scope
	inConversation     *state.Property[int]
	ofUser             *state.Property[int]
	base               *base
	adapter            *bot.Adapter
}

// newCounter returns a counter over storage whose conversations expire.
func newCounter(storage state.Storage, timeout time.Duration, opts *middleware.SessionsOptions) *counter {
	b := &base{}
	c := newCounterOn(b, storage, timeout, opts)
	c.base = b
	return c
}

// newCounterOn returns one that sends through another base.
func newCounterOn(base core.Adapter, storage state.Storage, timeout time.Duration, opts *middleware.SessionsOptions) *counter {
	c := &counter{conversation: state.NewConversation(storage), user: state.NewUser(storage)}
	c.inConversation = state.NewProperty[int](c.conversation, "count")
	c.ofUser = state.NewProperty[int](c.user, "count")
	c.adapter = bot.NewAdapter(base,
		middleware.AutoSave(c.conversation, c.user),
		middleware.Expire(c.conversation, timeout, opts),
	)
	c.adapter.Logger = slog.New(slog.DiscardHandler)
	return c
}

func (c *counter) handle(ctx context.Context, turn *bot.Turn) error {
	if turn.Activity.Type != schema.Message {
		return nil
	}
	var counts [2]int
	for i, p := range []*state.Property[int]{c.inConversation, c.ofUser} {
		n, err := p.GetOr(ctx, 0)
		if err != nil {
			return err
		}
		counts[i] = n + 1
		if err := p.Set(ctx, n+1); err != nil {
			return err
		}
	}
	_, err := turn.SendText(ctx, fmt.Sprintf("%s: %d here, %d in all", turn.Activity.Text, counts[0], counts[1]))
	return err
}

func (c *counter) process(t *testing.T, a schema.Activity) []string {
	t.Helper()
	if err := c.adapter.Process(t.Context(), a, c.handle); err != nil {
		t.Errorf("%s %q: %v", a.Type, a.Text, err)
	}
	return c.base.texts()
}

// say has the user write, and checks what the bot answers.
func (c *counter) say(t *testing.T, text string, want ...string) {
	t.Helper()
	wantTexts(t, c.process(t, message(text)), want...)
}

func wantTexts(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("the bot said\n%q, want\n%q", got, want)
	}
}
