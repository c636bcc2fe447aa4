package userprofile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/internal/userprofile"
	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// A storage knows which keys were read and written.
type storage struct {
	state.Storage
	read, written []string
}

func (s *storage) Read(ctx context.Context, keys []string) (map[string]state.Item, error) {
	s.read = append(s.read, keys...)
	return s.Storage.Read(ctx, keys)
}

func (s *storage) Write(ctx context.Context, items map[string]state.Item) (map[string]string, error) {
	s.written = slices.AppendSeq(s.written, maps.Keys(items))
	return s.Storage.Write(ctx, items)
}

// A chat is a conversation with the bot.
type chat struct {
	t       testing.TB
	dialogs *dialog.Set
	adapter *bot.Adapter
	channel *bottest.Channel
	storage *storage
	reports []error
}

func newChat(t testing.TB, documents map[string]json.RawMessage) *chat {
	c := &chat{t: t, channel: &bottest.Channel{}, storage: &storage{Storage: state.NewMemory()}}
	items := make(map[string]state.Item)
	for key, document := range documents {
		items[key] = state.Item{Value: document}
	}
	if _, err := c.storage.Storage.Write(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	conversation, user := state.NewConversation(c.storage), state.NewUser(c.storage)
	conversation.KeyForm, user.KeyForm = state.JavaScript, state.JavaScript
	c.dialogs = userprofile.New(conversation, user)
	c.dialogs.Report = func(_ context.Context, err error) { c.reports = append(c.reports, err) }
	c.adapter = bot.NewAdapter(c.channel, middleware.AutoSave(conversation, user))
	return c
}

// process runs a turn and returns what the bot said in it.
func (c *chat) process(a schema.Activity) []schema.Activity {
	c.t.Helper()
	c.storage.read, c.storage.written = nil, nil
	if err := c.adapter.Process(c.t.Context(), a, c.dialogs.Handler(userprofile.Root)); err != nil {
		c.t.Fatalf("turn failed: %v", err)
	}
	return c.channel.Sent()
}

func message(text string) schema.Activity {
	return schema.Activity{
		Type:         schema.Message,
		ChannelID:    "test",
		Conversation: schema.ConversationAccount{ID: "conversation-1"},
		From:         schema.ChannelAccount{ID: "user-1"},
		Recipient:    schema.ChannelAccount{ID: "bot-1"},
		Text:         text,
	}
}

// say runs a turn with a message and returns the texts of the answer.
func (c *chat) say(text string) []string {
	c.t.Helper()
	var texts []string
	for _, a := range c.process(message(text)) {
		texts = append(texts, a.Text)
	}
	return texts
}

// document returns what is stored under key, "" if nothing is.
func (c *chat) document(key string) string {
	c.t.Helper()
	items, err := c.storage.Storage.Read(c.t.Context(), []string{key})
	if err != nil {
		c.t.Fatal(err)
	}
	return string(items[key].Value)
}

const (
	conversationKey = "test/conversations/conversation-1/"
	userKey         = "test/users/user-1/"
)

// A recording is a conversation with the JavaScript bot.
type recording struct {
	Turns []struct {
		Activity json.RawMessage
		Replies  []json.RawMessage
		Storage  map[string]json.RawMessage // after the turn
		Written  []string
	}
}

func recordings(t testing.TB) map[string]recording {
	paths, err := filepath.Glob("../../interop/js/testdata/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	all := make(map[string]recording)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var r recording
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = r
	}
	return all
}

var instanceID = regexp.MustCompile(`"instanceId":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)

// normalize drops what differs for a reason: instance ids are random, and the
// JavaScript sample gives its confirm prompt choices, which that prompt does
// not look at.
func normalize(t testing.TB, data []byte) string {
	t.Helper()
	var buf bytes.Buffer
	if err := json.Compact(&buf, data); err != nil {
		t.Fatal(err)
	}
	s := instanceID.ReplaceAllString(buf.String(), `"instanceId":"random"`)
	return strings.ReplaceAll(s, `,"choices":["yes","no"]`, "")
}

func TestAsInJavaScript(t *testing.T) {
	for name, r := range recordings(t) {
		t.Run("a whole conversation: "+name, func(t *testing.T) {
			c := newChat(t, nil)
			for i := range r.Turns {
				checkTurn(t, c, r, i)
			}
		})
		t.Run("each turn, after JavaScript has handled those before it: "+name, func(t *testing.T) {
			for i := range r.Turns {
				var before map[string]json.RawMessage
				if i > 0 {
					before = r.Turns[i-1].Storage
				}
				checkTurn(t, newChat(t, before), r, i)
			}
		})
	}
}

// checkTurn runs a recorded turn.
func checkTurn(t *testing.T, c *chat, r recording, i int) {
	t.Helper()
	want := r.Turns[i]
	a, err := wire.Decode(want.Activity)
	if err != nil {
		t.Fatal(err)
	}
	replies := c.process(a)
	if len(replies) != len(want.Replies) {
		t.Fatalf("turn %d: %d replies, want %d", i, len(replies), len(want.Replies))
	}
	for j, reply := range replies {
		data, err := wire.Encode(&reply)
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]any
		if json.Unmarshal(data, &got) != nil || json.Unmarshal(r.Turns[i].Replies[j], &want) != nil {
			t.Fatal("a reply is no JSON object")
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("turn %d, reply %d:\n got %s\nwant %s", i, j, data, normalize(t, r.Turns[i].Replies[j]))
		}
	}
	for key, document := range want.Storage {
		if got := normalize(t, []byte(c.document(key))); got != normalize(t, document) {
			t.Errorf("turn %d, document %s:\n got %s\nwant %s", i, key, got, normalize(t, document))
		}
	}
	slices.Sort(c.storage.written)
	if slices.Sort(want.Written); !slices.Equal(c.storage.written, want.Written) {
		t.Errorf("turn %d: wrote %q, want %q", i, c.storage.written, want.Written)
	}
	if len(c.reports) > 0 {
		t.Errorf("turn %d: reported %v", i, c.reports)
	}
}

func TestUserStateIsReadOnlyForTheSummary(t *testing.T) {
	c := newChat(t, nil)
	for _, text := range []string{"hello", "car", "Ada", "no"} {
		c.say(text)
		if slices.Contains(c.storage.read, userKey) {
			t.Errorf("user state read after %q", text)
		}
	}
	if c.say("skip"); !slices.Contains(c.storage.written, userKey) {
		t.Error("user state not written with the summary")
	}
}

func TestOtherActivitiesTouchNothing(t *testing.T) {
	c := newChat(t, nil)
	c.say("hello")
	for _, kind := range []schema.ActivityTypes{
		schema.Typing, schema.ConversationUpdate, schema.MsgReaction, schema.Event, schema.Invoke, "unheard-of",
	} {
		a := message("car")
		a.Type = kind
		if replies := c.process(a); len(replies) > 0 || len(c.storage.read) > 0 || len(c.storage.written) > 0 {
			t.Errorf("%s: %d replies, read %q, wrote %q", kind, len(replies), c.storage.read, c.storage.written)
		}
	}
}

func TestPictureThatCannotBeShown(t *testing.T) {
	c := newChat(t, nil)
	for _, text := range []string{"hello", "car", "Ada", "no"} {
		c.say(text)
	}
	c.channel.Answers(func(_ context.Context, a schema.Activity) error {
		if len(a.Attachments) > 0 {
			return errors.New("refused")
		}
		return nil
	})
	a := message("")
	a.Attachments = []schema.Attachment{{ContentType: "image/png", ContentURL: "https://example.com/a.png"}}
	replies := c.process(a)
	if len(replies) != 3 || replies[1].Text != "A profile picture was saved but could not be displayed here." {
		t.Errorf("got %v", replies)
	}
	if got := c.document(userKey); !strings.Contains(got, "a.png") {
		t.Errorf("user state %s", got)
	}
}

func TestUnusableState(t *testing.T) {
	for name, stored := range map[string]string{
		"a .NET stack": `{"$type":"Microsoft.Bot.Builder.Dialogs.DialogState, Microsoft.Bot.Builder.Dialogs","dialogStack":{"$type":` +
			`"System.Collections.Generic.List` + "`" + `1[[Microsoft.Bot.Builder.Dialogs.DialogInstance, Microsoft.Bot.Builder.Dialogs]], System.Private.CoreLib","$values":[]}}`,
		"a Python stack":           `{"py/object":"botbuilder.dialogs.dialog_state.DialogState","_dialog_stack":[]}`,
		"a string":                 `"gibberish"`,
		"an unknown dialog":        `{"dialogStack":[{"id":"other","state":{}}]}`,
		"an empty component":       `{"dialogStack":[{"id":"userProfileDialog","state":{"dialogs":{"dialogStack":[]}}}]}`,
		"a component in itself":    nested(40),
		"a component 9000 deep":    `{"dialogStack":[{"id":"userProfileDialog","state":{"dialogs":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}}]}`,
		"a step that is not there": waterfall(`"options":{},"values":{},"stepIndex":7`),
		"a step before the first":  waterfall(`"options":{},"values":{},"stepIndex":-1`),
		"a step and a half":        waterfall(`"options":{},"values":{},"stepIndex":1.5`),
		"a step in words":          waterfall(`"options":{},"values":{},"stepIndex":"one"`),
		"no step":                  waterfall(`"options":{},"values":{}`),
		"values of another kind":   waterfall(`"options":{},"values":[],"stepIndex":0`),
		"a number for a name":      waterfall(`"options":{},"values":{},"stepIndex":1`, `{"id":"NUMBER_PROMPT","state":{"options":{},"state":{}}}`),
		"a prompt without options": waterfall(`"options":{},"values":{},"stepIndex":1`, `{"id":"NAME_PROMPT","state":{}}`),
		"a choice without choices": waterfall(`"options":{},"values":{},"stepIndex":0`, `{"id":"CHOICE_PROMPT","state":{"options":{},"state":{}}}`),
	} {
		t.Run(name, func(t *testing.T) {
			c := newChat(t, map[string]json.RawMessage{
				conversationKey: json.RawMessage(`{"other":1,"DialogState":` + stored + `}`),
			})
			got := c.say("42")
			if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "Please enter your mode of transport.") {
				t.Errorf("answered %q", got)
			}
			if len(c.reports) != 1 || !errors.Is(c.reports[0], state.ErrCorrupt) {
				t.Errorf("reported %v", c.reports)
			}
			if got := c.say("bus"); !slices.Equal(got, []string{"Please enter your name."}) {
				t.Errorf("then answered %q", got)
			}
			if got := c.document(conversationKey); !strings.HasPrefix(got, `{"other":1,"DialogState":{"dialogStack":[`) {
				t.Errorf("document %s", got)
			}
		})
	}
}

// waterfall returns a stored stack with the waterfall in a given state.
func waterfall(state string, above ...string) string {
	frames := append([]string{`{"id":"WATERFALL_DIALOG","state":{` + state + `}}`}, above...)
	return `{"dialogStack":[{"id":"userProfileDialog","state":{"dialogs":{"dialogStack":[` + strings.Join(frames, ",") + `]}}}]}`
}

// nested returns a stored stack with the component n times within itself.
func nested(n int) string {
	s := `{"dialogStack":[]}`
	for range n {
		s = `{"dialogStack":[{"id":"userProfileDialog","state":{"dialogs":` + s + `}}]}`
	}
	return s
}

// FuzzDialogState runs a turn on a stack with something replaced in it: the
// value number at, counted as they are met, becomes what replacement is.
func FuzzDialogState(f *testing.F) {
	for _, r := range recordings(f) {
		for _, turn := range r.Turns {
			var document struct{ DialogState json.RawMessage }
			for _, data := range turn.Storage {
				if json.Unmarshal(data, &document) == nil && document.DialogState != nil {
					f.Add([]byte(document.DialogState), uint(9), []byte(`"NUMBER_PROMPT"`), "yes")
				}
			}
		}
	}
	f.Add([]byte(nested(3)), uint(2), []byte(nested(3)), "1")
	f.Fuzz(func(t *testing.T, stored []byte, at uint, replacement []byte, text string) {
		var value, with any
		if json.Unmarshal(stored, &value) != nil {
			return
		}
		if json.Unmarshal(replacement, &with) == nil {
			at %= 64
			stored, _ = json.Marshal(replace(value, &at, with))
		}
		c := newChat(t, map[string]json.RawMessage{
			conversationKey: json.RawMessage(`{"DialogState":` + string(stored) + `}`),
		})
		for _, text := range []string{text, "yes"} {
			a := message(text)
			err := c.adapter.Process(t.Context(), a, func(ctx context.Context, turn *bot.Turn) error {
				place, err1 := c.dialogs.Place(ctx)
				target, err2 := c.dialogs.Target(ctx)
				err := errors.Join(err1, err2, c.dialogs.Ask(ctx, turn, 1))
				if err != nil || len(place.Path) == 0 && (target != "" || turn.Responded()) {
					t.Errorf("at %q the target is %q, and something was said: %v; error %v", place.Path, target, turn.Responded(), err)
				}
				r, err := c.dialogs.Run(ctx, turn, userprofile.Root)
				if err == nil && r.Status != dialog.Waiting && r.Status != dialog.Complete {
					t.Errorf("result %v", r)
				}
				return err
			})
			if err != nil {
				t.Errorf("turn failed: %v", err)
			}
		}
		for _, err := range c.reports {
			if !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("reported %v", err)
			}
		}
	})
}

// replace returns v with the value number *at in it replaced.
func replace(v any, at *uint, with any) any {
	if *at == 0 {
		*at--
		return with
	}
	*at--
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			v[name] = replace(v[name], at, with)
		}
	case []any:
		for i := range v {
			v[i] = replace(v[i], at, with)
		}
	}
	return v
}
