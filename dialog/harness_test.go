package dialog_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// A storage counts writes, and fails if it is told to.
type storage struct {
	state.Storage
	writes int
	err    error
}

func (s *storage) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Storage.Read(ctx, keys)
}

func (s *storage) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	s.writes++
	return s.Storage.Write(ctx, items)
}

// A chat is a conversation with a set of dialogs. Its handler runs the dialog
// "main", unless another one is set.
type chat struct {
	t       *testing.T
	set     *dialog.Set
	handler bot.Handler
	channel string

	base    bottest.Channel
	storage storage
	adapter *bot.Adapter
	result  dialog.Result // of the last turn
	reports []error
}

func newChat(t *testing.T, dialogs ...dialog.Dialog) *chat {
	c := &chat{t: t, channel: "test", storage: storage{Storage: state.NewMemory()}}
	conversation := state.NewConversation(&c.storage)
	c.set = dialog.NewSet(conversation, dialogs...)
	c.set.Report = func(_ context.Context, err error) { c.reports = append(c.reports, err) }
	c.handler = func(ctx context.Context, turn *bot.Turn) (err error) {
		c.result, err = c.set.Run(ctx, turn, "main")
		return err
	}
	c.adapter = bot.NewAdapter(&c.base, middleware.AutoSave(conversation))
	return c
}

func message(text string) schema.Activity {
	return schema.Activity{Type: schema.Message, Text: text}
}

// process runs a turn, and returns what was said in it.
func (c *chat) process(a schema.Activity) ([]schema.Activity, error) {
	a.ChannelID, a.Conversation.ID, a.From.ID = c.channel, "1", "user"
	c.result = dialog.Result{}
	err := c.adapter.Process(c.t.Context(), a, c.handler)
	return c.base.Sent(), err
}

// say runs a turn with a message, and returns the texts of the answer.
func (c *chat) say(text string) []string {
	c.t.Helper()
	sent, err := c.process(message(text))
	if err != nil {
		c.t.Fatalf("after %q: %v", text, err)
	}
	texts := []string{}
	for _, a := range sent {
		texts = append(texts, a.Text)
	}
	return texts
}

const key = "test/conversations/1"

// store puts what is the stored stack.
func (c *chat) store(stack string) {
	c.t.Helper()
	_, err := c.storage.Storage.Write(c.t.Context(), map[string]state.Item{
		key: {Value: json.RawMessage(`{"DialogState":` + stack + `}`)},
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// stored returns the stored stack, "" if there is none.
func (c *chat) stored() string {
	c.t.Helper()
	items, err := c.storage.Storage.Read(c.t.Context(), []string{key})
	if err != nil {
		c.t.Fatal(err)
	}
	var document struct{ DialogState json.RawMessage }
	if v := items[key].Value; v != nil {
		if err := json.Unmarshal(v, &document); err != nil {
			c.t.Fatal(err)
		}
	}
	return string(document.DialogState)
}

// ask returns a step that prompts.
func ask(id string, options dialog.PromptOptions) dialog.StepFunc {
	return func(ctx context.Context, step *dialog.Step) error { return step.Prompt(ctx, id, options) }
}

// asking returns options with a question.
func asking(question string) dialog.PromptOptions {
	return dialog.PromptOptions{Prompt: dialog.Text(question)}
}

// end ends a waterfall with the last result.
func end(ctx context.Context, step *dialog.Step) error { return step.End(ctx, step.Result) }

// say returns a step that says text and goes on with the last result.
func say(text string) dialog.StepFunc {
	return func(ctx context.Context, step *dialog.Step) error {
		step.Say(ctx, text)
		return step.Next(ctx, step.Result)
	}
}
