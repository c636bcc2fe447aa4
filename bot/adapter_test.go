package bot_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/state"
)

func TestTheFirstMiddlewareListedIsOutermost(t *testing.T) {
	var trail []string
	note := func(name string) bot.Middleware {
		return func(next bot.Handler) bot.Handler {
			trail = append(trail, "make "+name)
			return func(ctx context.Context, turn *bot.Turn) error {
				trail = append(trail, name+" in")
				defer func() { trail = append(trail, name+" out") }()
				return next(ctx, turn)
			}
		}
	}
	adapter := bot.NewAdapter(&base{}, note("a"), note("b"))
	for range 2 {
		if err := adapter.Process(t.Context(), message("x"), func(context.Context, *bot.Turn) error {
			trail = append(trail, "handler")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want := "make b, make a, a in, b in, handler, b out, a out, a in, b in, handler, b out, a out"
	if got := strings.Join(trail, ", "); got != want {
		t.Errorf("trail is %s, want %s", got, want)
	}
}

func TestRepliesAreAddressedAndSentInOrder(t *testing.T) {
	b := &base{}
	adapter := bot.NewAdapter(b)
	in := withID("m1", message("hi"))
	if err := adapter.Process(t.Context(), in, func(ctx context.Context, turn *bot.Turn) error {
		if turn.Responded() {
			t.Error("responded before the first send")
		}
		if _, err := turn.Send(ctx, schema.Activity{Type: schema.Trace}); err != nil || turn.Responded() {
			t.Errorf("after a trace: responded is %v, error %v", turn.Responded(), err)
		}
		id, err := turn.SendText(ctx, "one")
		if err != nil || id != "sent-1" {
			t.Errorf("id is %q, error %v", id, err)
		}
		ids, err := turn.Send(ctx,
			schema.Activity{Text: "two", InputHint: schema.ExpectingInput},
			schema.Activity{Type: schema.Typing},
			schema.Activity{Text: "three", ReplyToID: "m0", ChannelID: "forged", From: schema.ChannelAccount{ID: "forged"}})
		if err != nil || fmt.Sprint(ids) != "[sent-2 sent-3 sent-4]" {
			t.Errorf("ids are %v, error %v", ids, err)
		}
		if !turn.Responded() {
			t.Error("not responded after a send")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range b.Sent() {
		if a.ChannelID != "test" || a.ServiceURL != in.ServiceURL || a.Conversation != in.Conversation || a.From != in.Recipient || a.Recipient != in.From {
			t.Errorf("wrongly addressed: %+v", a)
		}
		got = append(got, fmt.Sprintf("%s %s %s %s", a.Type, a.Text, a.InputHint, a.ReplyToID))
	}
	want := []string{"message one acceptingInput m1", "message two expectingInput m1", "typing   m1", "message three acceptingInput m0"}
	if !slices.Equal(got, want) {
		t.Errorf("sent\n%q, want\n%q", got, want)
	}
}

func TestATraceGoesToTheEmulatorOnly(t *testing.T) {
	b := &base{}
	in := message("hi")
	in.ChannelID = "emulator"
	bot.NewAdapter(b).Process(t.Context(), in, func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.Send(ctx, schema.Activity{Type: schema.Trace, Name: "x"})
		return err
	})
	if n := len(b.Sent()); n != 1 {
		t.Errorf("%d activities sent, want 1", n)
	}
}

func TestASendStopsAtTheFirstThatFails(t *testing.T) {
	b := &base{}
	refused := errors.New("refused")
	b.Answers(func(_ context.Context, a schema.Activity) error {
		if a.Text == "two" {
			return refused
		}
		return nil
	})
	bot.NewAdapter(b).Process(t.Context(), message("hi"), func(ctx context.Context, turn *bot.Turn) error {
		ids, err := turn.Send(ctx, schema.Activity{Text: "one"}, schema.Activity{Text: "two"}, schema.Activity{Text: "three"})
		if len(ids) != 1 || !errors.Is(err, refused) {
			t.Errorf("ids are %v, error %v", ids, err)
		}
		return nil
	})
	wantTexts(t, b.texts(), "one")
}

func TestASendAfterTheTurnFails(t *testing.T) {
	var kept *bot.Turn
	bot.NewAdapter(&base{}).Process(t.Context(), message("hi"), func(ctx context.Context, turn *bot.Turn) error {
		kept = turn
		return nil
	})
	if _, err := kept.SendText(t.Context(), "late"); !errors.Is(err, bot.ErrTurnEnded) {
		t.Errorf("error is %v, want ErrTurnEnded", err)
	}
}

func TestTheReferenceOfAConversationThatOpensHasNoActivityToReplyTo(t *testing.T) {
	for _, test := range []struct {
		channel string
		of      schema.ActivityTypes
		want    string
	}{
		{"webchat", schema.ConversationUpdate, ""},
		{"DirectLine", schema.ConversationUpdate, ""},
		{"msteams", schema.ConversationUpdate, "m1"},
		{"webchat", schema.Message, "m1"},
	} {
		in := withID("m1", message(""))
		in.ChannelID, in.Type = test.channel, test.of
		bot.NewAdapter(&base{}).Process(t.Context(), in, func(ctx context.Context, turn *bot.Turn) error {
			if got := turn.Reference().ActivityID; got != test.want {
				t.Errorf("%s on %s: activity id is %q, want %q", test.of, test.channel, got, test.want)
			}
			return nil
		})
	}
}

func TestAPlainAdapterIsSentThroughByItsHandler(t *testing.T) {
	b := &base{}
	adapter := bot.NewAdapter(struct{ core.Adapter }{b}) // and nothing more
	if err := adapter.Process(t.Context(), message("hi"), func(ctx context.Context, turn *bot.Turn) error {
		ids, err := turn.Send(ctx, schema.Activity{Text: "one"}, schema.Activity{Text: "two", SuggestedActions: schema.SuggestedActions{
			Actions: []schema.CardAction{{Type: schema.ImBack, Title: "Car", Value: bot.Value("Car")}},
		}})
		if fmt.Sprintf("%q", ids) != `["" ""]` {
			t.Errorf("ids are %q, want none", ids)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	sent := b.Sent()
	if len(sent) != 2 || sent[0].Text != "one" || sent[1].Text != "two" {
		t.Fatalf("sent were %+v", sent)
	}
	card := sent[1].Attachments
	if len(card) != 1 || fmt.Sprint(card[0].Content) != "map[buttons:[map[title:Car type:imBack value:Car]]]" || sent[1].SuggestedActions.Actions != nil {
		t.Errorf("sent %+v", sent[1])
	}
}

// The adapter takes the place of a core.Adapter in a bot for msbotbuilder-go.
func TestABotForMsbotbuilderRunsUnchanged(t *testing.T) {
	handler := activity.HandlerFuncs{
		OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
			if turn.Activity.Text == "quiet" {
				return schema.Activity{}, nil
			}
			return turn.SendActivity(activity.MsgOptionText("Echo: " + turn.Activity.Text))
		},
	}
	b := &base{}
	var adapter core.Adapter = bot.NewAdapter(b)
	r := httptest.NewRequest("POST", "/api/messages", strings.NewReader(`{"type":"message","text":"hi","id":"m1"}`))
	in, err := adapter.ParseRequest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []schema.Activity{in, message("quiet"), {Type: schema.ConversationUpdate}, {Type: schema.Invoke}, {Type: schema.Typing}} {
		if err := adapter.ProcessActivity(t.Context(), a, handler); err != nil {
			t.Errorf("%s: %v", a.Type, err)
		}
	}
	wantTexts(t, b.texts(), "Echo: hi")

	if err := adapter.ProactiveMessage(t.Context(), schema.ConversationReference{ActivityID: "old"}, activity.HandlerFuncs{
		OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
			return turn.SendActivity(activity.MsgOptionText("news"))
		},
	}); err != nil {
		t.Error(err)
	}
	if sent := b.Sent(); len(sent) != 1 || sent[0].Text != "news" || sent[0].ReplyToID != "" {
		t.Errorf("proactively sent %+v", sent)
	}
	if err := errors.Join(adapter.UpdateActivity(t.Context(), schema.Activity{ID: "x"}), adapter.DeleteActivity(t.Context(), "y", schema.ConversationReference{})); err != nil {
		t.Error(err)
	}
	if sent := b.Sent(); len(sent) != 2 || sent[0].Type != schema.MessageUpdate || sent[0].ID != "x" || sent[1].Type != schema.MessageDelete || sent[1].ID != "y" {
		t.Errorf("updated and deleted: %+v", sent)
	}
	if err := adapter.ProcessActivity(t.Context(), message("x"), activity.HandlerFuncs{
		OnMessageFunc: func(*activity.TurnContext) (schema.Activity, error) { return schema.Activity{}, errBad },
	}); err != errBad {
		t.Errorf("error is %v, want the handler's", err)
	}
}

var errBad = errors.New("bad day")

// P37: types that msbotbuilder-go refuses.
func TestP37EveryActivityTypePassesThroughTheMiddleware(t *testing.T) {
	handler := activity.HandlerFuncs{OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
		return turn.SendActivity(activity.MsgOptionText("Echo"))
	}}
	for _, of := range []schema.ActivityTypes{
		schema.Message, schema.ContactRelationUpdate, schema.ConversationUpdate, schema.Typing, schema.EndOfConversation, schema.Event,
		schema.Invoke, schema.DeleteUserData, schema.MessageUpdate, schema.MessageDelete, schema.InstallationUpdate, schema.MsgReaction,
		schema.Suggestion, schema.Trace, schema.Handoff, "command", "commandResult", "delay", "x",
	} {
		passed := false
		b := &base{}
		adapter := bot.NewAdapter(b, func(next bot.Handler) bot.Handler {
			return func(ctx context.Context, turn *bot.Turn) error {
				passed = turn.Activity.Type == of
				return next(ctx, turn)
			}
		})
		a := message("hi")
		a.Type = of
		if err := adapter.ProcessActivity(t.Context(), a, handler); err != nil || !passed {
			t.Errorf("%s: passed is %v, error %v", of, passed, err)
		}
		if got, want := len(b.Sent()), map[bool]int{true: 1}[of == schema.Message]; got != want {
			t.Errorf("%s: %d replies, want %d", of, got, want)
		}
	}
}

func TestTheOldInterfaceAnswersInvokes(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler activity.Handler
		status  int
		body    string
	}{
		{"handled without reply", activity.HandlerFuncs{OnInvokeFunc: func(*activity.TurnContext) (schema.Activity, error) { return schema.Activity{}, nil }}, 200, ""},
		{"handled with a message", activity.HandlerFuncs{OnInvokeFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
			return turn.SendActivity(activity.MsgOptionText("ok"))
		}}, 200, ""},
		{"handled with an invoke response", activity.HandlerFuncs{OnInvokeFunc: func(*activity.TurnContext) (schema.Activity, error) {
			return schema.Activity{Type: "invokeResponse", Value: map[string]any{"status": 400.0, "body": []int{1}}}, nil
		}}, 400, "[1]"},
		{"not handled", &activity.HandlerFuncs{}, 501, "not implemented\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapter := newHTTP(&base{}, t.Output())
			w := post(t.Context(), adapter.HTTPHandler(bot.HandleActivity(test.handler)), strings.Replace(aMessage, "message", "invoke", 1))
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("answer is %d %q, want %d %q", w.Code, w.Body, test.status, test.body)
			}
		})
	}
}

func TestCloseWaitsForRunningTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := newHTTP(&base{}, t.Output())
		adapter.AckAfter = time.Second
		post(t.Context(), adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error { // goes on after its answer
			time.Sleep(time.Minute)
			return nil
		}), aMessage)
		start := time.Now()
		var wg sync.WaitGroup
		for range 3 { // closing is idempotent
			wg.Go(func() {
				if err := adapter.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := adapter.Process(t.Context(), message("x"), silent); err != bot.ErrClosed {
			t.Errorf("a turn after Close: %v, want ErrClosed", err)
		}
		wg.Wait()
		if took := time.Since(start); took != 59*time.Second {
			t.Errorf("Close took %v, want 59s", took)
		}
	})
}

func TestCloseCancelsTurnsWhenItsContextIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		ended := make(chan error, 1)
		go func() {
			ended <- adapter.Process(t.Context(), message("x"), func(ctx context.Context, turn *bot.Turn) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := adapter.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close: %v, want DeadlineExceeded", err)
		}
		if err := <-ended; err != context.Canceled {
			t.Errorf("the turn ended with %v, want Canceled", err)
		}
		if err := adapter.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}

func TestStartAndCloseUnderStress(t *testing.T) {
	for range 50 {
		c := newCounter(state.NewMemory(), timeout, nil)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				err := c.adapter.Process(t.Context(), in(fmt.Sprint(i%3), message("x")), func(ctx context.Context, turn *bot.Turn) error {
					return c.inConversation.Set(ctx, i)
				})
				if err != nil && err != bot.ErrClosed {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := c.adapter.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
}

func TestWiringMistakesPanic(t *testing.T) {
	adapter := bot.NewAdapter(&base{})
	for name, f := range map[string]func(){
		"no base":             func() { bot.NewAdapter(nil) },
		"no middleware":       func() { bot.NewAdapter(&base{}, nil) },
		"no handler":          func() { adapter.HTTPHandler(nil) },
		"no activity handler": func() { bot.HandleActivity(nil) },
	} {
		func() {
			defer func() {
				if v := recover(); v == nil || !strings.HasPrefix(fmt.Sprint(v), "bot: ") {
					t.Errorf("%s: recovered %v", name, v)
				}
			}()
			f()
		}()
	}
}

// TestAnOldBotMayWriteProactivelyWithinATurn has a handler that was written for
// msbotbuilder-go send a second message in the only way that it has.
func TestAnOldBotMayWriteProactivelyWithinATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &base{}
		adapter := bot.NewAdapter(b)
		begin := time.Now()
		err := adapter.ProcessActivity(t.Context(), withID("m1", message("x")), activity.HandlerFuncs{OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
			err := adapter.ProactiveMessage(context.Background(), activity.GetCoversationReference(turn.Activity), activity.HandlerFuncs{
				OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
					return schema.Activity{Type: schema.Message, Text: "extra"}, nil
				}})
			return schema.Activity{Type: schema.Message, Text: "reply"}, err
		}})
		if err != nil || time.Since(begin) != 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		wantTexts(t, b.texts(), "extra", "reply")
	})
}

func TestContinueWithinATurnIsAPartOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		begin := time.Now()
		err := c.adapter.Process(t.Context(), message("x"), func(ctx context.Context, turn *bot.Turn) error {
			if err := c.inConversation.Set(ctx, 7); err != nil {
				return err
			}
			return c.adapter.Continue(ctx, turn.Reference(), func(ctx context.Context, inner *bot.Turn) error {
				n, err := c.inConversation.GetOr(ctx, 0)
				if n != 7 || !inner.Proactive() {
					t.Errorf("count is %d, proactive %v", n, inner.Proactive())
				}
				inner.SendText(ctx, "from within")
				return errors.Join(err, c.inConversation.Set(ctx, 8))
			})
		})
		if err != nil || time.Since(begin) != 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		wantTexts(t, c.base.texts(), "from within")
		c.say(t, "y", "y: 9 here, 1 in all")
	})
}

func TestCloseOfAnIdleAdapterSucceedsWhateverItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if err := bot.NewAdapter(&base{}).Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
