package middleware_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

const timeout = 30 * time.Minute

// tick is the precision to which the time of user input is recorded. Bubbles
// begin on it.
const tick = 100 * time.Nanosecond

// bubble runs f in a synctest bubble.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestAConversationExpiresAtItsTimeoutAndNotBefore(t *testing.T) {
	for _, test := range []struct {
		name    string
		timeout time.Duration
		silence time.Duration
		expired bool
	}{
		{"at once it is alive", timeout, 0, false},
		{"1 ns before the timeout it is alive", timeout, timeout - 1, false},
		{"at the timeout it is expired", timeout, timeout, true},
		{"1 ns after the timeout it is expired", timeout, timeout + 1, true},
		{"days after the timeout it is a new one", timeout, 100 * time.Hour, false},
		{"with a timeout of 1 ns it expires after 1 ns", 1, 1, true},
		{"P1 with timeout 0 it never expires", 0, 10000 * time.Hour, false},
		{"P1 with a negative timeout it never expires", -time.Second, 10000 * time.Hour, false},
		{"with the longest timeout it is alive", 1<<63 - 1, 10000 * time.Hour, false},
	} {
		bubble(t, test.name, func(t *testing.T) {
			c := newCounter(state.NewMemory(), test.timeout, nil)
			c.say(t, "one", "one: 1 here, 1 in all")
			time.Sleep(test.silence)
			switch {
			case test.expired:
				c.say(t, "two", notice, "two: 1 here, 2 in all")
			case test.timeout == timeout && test.silence > 24*time.Hour:
				c.say(t, "two", "two: 1 here, 2 in all")
			default:
				c.say(t, "two", "two: 2 here, 2 in all")
			}
			c.say(t, "three", fmt.Sprintf("three: %d here, 3 in all", 3-map[bool]int{true: 1}[test.expired || test.silence == 100*time.Hour]))
		})
	}
}

// P18: the second message comes at half the timeout, so at the timeout the
// conversation is alive, and at one and a half it is not.
func TestP18EachMessageStartsTheTimeoutAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout / 2)
		c.say(t, "b", "b: 2 here, 2 in all")
		time.Sleep(timeout - tick)
		c.say(t, "c", "c: 3 here, 3 in all")
		time.Sleep(timeout)
		c.say(t, "d", notice, "d: 1 here, 4 in all")
	})
}

func TestTheFirstMessageNeverExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), 1, nil)
		c.say(t, "hi", "hi: 1 here, 1 in all")
	})
}

// A connection opens the conversation long before the first message.
func TestAConversationWithoutUserInputHasNotExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		opened := message("")
		opened.Type = schema.ConversationUpdate
		wantTexts(t, c.process(t, opened))
		time.Sleep(timeout)
		c.say(t, "hi", "hi: 1 here, 1 in all")
	})
}

func TestP3OnlyUserInputExtendsAConversation(t *testing.T) {
	fromBot := func(a *schema.Activity) { a.From, a.Recipient = a.Recipient, a.From; a.Recipient.ID = "bot" }
	for _, test := range []struct {
		name    string
		of      schema.ActivityTypes
		change  func(*schema.Activity)
		extends bool
	}{
		{"a message", schema.Message, nil, true},
		{"P2 a card's submit, which has no text", schema.Message, func(a *schema.Activity) { a.Text = ""; a.Value = map[string]any{"x": 1} }, true},
		{"P2 an invoke", schema.Invoke, nil, true},
		{"typing", schema.Typing, nil, false},
		{"a conversationUpdate", schema.ConversationUpdate, nil, false},
		{"a messageReaction", schema.MsgReaction, nil, false},
		{"an installationUpdate", schema.InstallationUpdate, nil, false},
		{"a trace", schema.Trace, nil, false},
		{"an event", schema.Event, nil, false},
		{"an edited message", schema.MessageUpdate, nil, false},
		{"a deleted message", schema.MessageDelete, nil, false},
		{"an endOfConversation", schema.EndOfConversation, nil, false},
		{"a handoff", schema.Handoff, nil, false},
		{"a contactRelationUpdate", schema.ContactRelationUpdate, nil, false},
		{"a type that nobody knows", "command", nil, false},
		{"a message of the bot", schema.Message, fromBot, false},
		{"a message of another bot", schema.Message, func(a *schema.Activity) { a.From.Role = "bot" }, false},
	} {
		bubble(t, test.name, func(t *testing.T) {
			c := newCounter(state.NewMemory(), timeout, nil)
			c.say(t, "a", "a: 1 here, 1 in all")
			time.Sleep(timeout - 1)
			a := message("between")
			a.Type = test.of
			if test.change != nil {
				test.change(&a)
			}
			c.adapter.Process(t.Context(), a, func(context.Context, *bot.Turn) error { return nil })
			time.Sleep(time.Nanosecond)
			if test.extends {
				c.say(t, "b", "b: 2 here, 2 in all")
				time.Sleep(timeout - 2)
				c.say(t, "c", "c: 3 here, 3 in all")
			} else {
				c.say(t, "b", notice, "b: 1 here, 2 in all")
			}
		})
	}
}

func TestOtherActivitiesFindClearedStateAndLeaveTheNoticeToTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		faults := &statetest.Faults{Storage: memory}
		expiries := 0
		c := newCounter(faults, timeout, &middleware.SessionsOptions{
			OnEnd: func(context.Context, *bot.Turn, middleware.Expiry) { expiries++ },
		})
		c.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout)
		typing := message("")
		typing.Type = schema.Typing
		for range 3 {
			if err := c.adapter.Process(t.Context(), typing, func(ctx context.Context, turn *bot.Turn) error {
				if n, ok, err := c.inConversation.Get(ctx); ok || err != nil {
					t.Errorf("count is %d, %v; want none", n, err)
				}
				if e, ok := middleware.Expired(turn); !ok || e.Timeout != timeout {
					t.Errorf("Expired is %v, %v", e, ok)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		if n := faults.Count(statetest.Write); n != 3 { // conversation, user, clearing
			t.Errorf("%d writes, want 3", n)
		}
		wantTexts(t, c.base.texts())
		c.say(t, "b", notice, "b: 1 here, 2 in all")
		if expiries != 1 {
			t.Errorf("OnEnd was called %d times, want once", expiries)
		}
	})
}

// P4: the community trigger changed the type of the activity, so that what the
// user wrote was lost.
func TestP4TheMessageThatRevealedTheExpiryIsHandledUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.say(t, "a", "a: 1 here, 1 in all")
		arrived := time.Now()
		time.Sleep(timeout + time.Second)
		sent := withID("m2", message("book a flight"))
		sent.Value = map[string]any{"card": "x"}
		handled := false
		if err := c.adapter.Process(t.Context(), sent, func(ctx context.Context, turn *bot.Turn) error {
			handled = true
			if got, want := fmt.Sprint(turn.Activity), fmt.Sprint(sent); got != want {
				t.Errorf("activity is\n%s, want\n%s", got, want)
			}
			want := middleware.Expiry{Rule: "idle", LastAccessed: arrived.UTC(), Timeout: timeout, Idle: timeout + time.Second, At: arrived.Add(timeout).UTC()}
			if e, ok := middleware.Expired(turn); !ok || e != want {
				t.Errorf("Expired is %v, %v, want %v", e, ok, want)
			}
			if _, ok, _ := c.inConversation.Get(ctx); ok {
				t.Error("the handler finds state from before")
			}
			if n, _, _ := c.ofUser.Get(ctx); n != 1 {
				t.Errorf("user state is %d, want 1", n)
			}
			return nil
		}); err != nil || !handled {
			t.Errorf("handled: %v, error: %v", handled, err)
		}
		wantTexts(t, c.base.texts(), notice)
	})
}

// P4: the community trigger's limit was a static, shared by all bots.
func TestP4TwoBotsInOneProcessHaveTheirOwnTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick := newCounter(state.NewMemory(), time.Minute, nil)
		slow := newCounter(state.NewMemory(), time.Hour, nil)
		quick.say(t, "a", "a: 1 here, 1 in all")
		slow.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(time.Minute)
		quick.say(t, "b", notice, "b: 1 here, 2 in all")
		slow.say(t, "b", "b: 2 here, 2 in all")
	})
}

// P4b: Teams keeps one conversation id for ever and says once that it began.
func TestP4bAConversationThatExpiredBeginsAnewUnderTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		for i := range 5 {
			want := []string{fmt.Sprintf("hi: 1 here, %d in all", 2*i+1)}
			if i > 0 {
				want = append([]string{notice}, want...)
			}
			c.say(t, "hi", want...)
			time.Sleep(timeout - tick)
			c.say(t, "on", fmt.Sprintf("on: 2 here, %d in all", 2*i+2))
			time.Sleep(timeout)
		}
	})
}

// P21: a timestamp of all users in one variable.
func TestP21OfTwoConversationsOnlyTheSilentOneExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.process(t, in("busy", message("a")))
		c.process(t, in("silent", message("a")))
		for range 3 {
			time.Sleep(timeout / 2)
			if got := c.process(t, in("busy", message("b"))); len(got) != 1 {
				t.Errorf("the busy one was told %q", got)
			}
		}
		if got := c.process(t, in("silent", message("b"))); len(got) != 2 || got[0] != notice {
			t.Errorf("the silent one was told %q", got)
		}
	})
}

// P43: after an expiry each message restarted the conversation again.
func TestP43OneRestartPerExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout)
		c.say(t, "b", notice, "b: 1 here, 2 in all")
		c.say(t, "c", "c: 2 here, 3 in all")
		c.say(t, "d", "d: 3 here, 4 in all")
	})
}

// P43, with a handler that fails in the turn that expires.
func TestP43AHandlerThatFailsAfterTheExpiryDoesNotRepeatIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout)
		bad := errors.New("bad day")
		if err := c.adapter.Process(t.Context(), message("b"), func(ctx context.Context, turn *bot.Turn) error {
			c.inConversation.Set(ctx, 100)
			return bad
		}); err != bad {
			t.Errorf("error is %v, want the handler's", err)
		}
		wantTexts(t, c.base.texts(), notice)
		c.say(t, "c", "c: 1 here, 2 in all")
	})
}

func TestAFailedTurnSavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.say(t, "a", "a: 1 here, 1 in all")
		for name, h := range map[string]bot.Handler{
			"error": func(ctx context.Context, turn *bot.Turn) error {
				c.inConversation.Set(ctx, 100)
				return errors.New("bad day")
			},
			"panic": func(ctx context.Context, turn *bot.Turn) error { c.inConversation.Set(ctx, 100); panic("worse") },
		} {
			if err := c.adapter.Process(t.Context(), message("b"), h); err == nil {
				t.Errorf("%s: the turn succeeded", name)
			}
		}
		c.say(t, "c", "c: 2 here, 2 in all")
	})
}

func TestANoticeThatCannotBeSentIsLoggedAndTheTurnGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := newCounter(state.NewMemory(), timeout, nil)
		c.adapter.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.base.Answers(func(_ context.Context, a schema.Activity) error {
			if a.Text == notice {
				return errors.New("channel is down")
			}
			return nil
		})
		c.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout)
		c.say(t, "b", "b: 1 here, 2 in all")
		c.base.Answers(nil)
		c.say(t, "c", "c: 2 here, 3 in all")
		if strings.Count(log.String(), "channel is down") != 1 {
			t.Errorf("the log is %s", log.String())
		}
	})
}

func TestOptionsOfExpire(t *testing.T) {
	for _, test := range []struct {
		name string
		opts middleware.SessionsOptions
		want []string
	}{
		{"a card instead of the text", middleware.SessionsOptions{Render: func(ctx context.Context, turn *bot.Turn, text string) schema.Activity {
			e, _ := middleware.Expired(turn)
			return schema.Activity{Text: fmt.Sprintf("%q after %v: %s", turn.Activity.Text, e.Idle, text)}
		}}, []string{`"b" after 30m0s: ` + notice, "b: 1 here, 2 in all"}},
		{"no activity for the text", middleware.SessionsOptions{Render: func(context.Context, *bot.Turn, string) schema.Activity {
			return schema.Activity{}
		}}, []string{"b: 1 here, 2 in all"}},
		{"a property that is kept", middleware.SessionsOptions{Keep: []string{"count"}}, []string{notice, "b: 2 here, 2 in all"}},
		{"a property that is not there is kept", middleware.SessionsOptions{Keep: []string{"other"}}, []string{notice, "b: 1 here, 2 in all"}},
		{"nothing is user input", middleware.SessionsOptions{IsUserInput: func(*bot.Turn) bool { return false }}, []string{"b: 2 here, 2 in all"}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			c := newCounter(state.NewMemory(), timeout, &test.opts)
			c.say(t, "a", "a: 1 here, 1 in all")
			time.Sleep(timeout)
			c.say(t, "b", test.want...)
		})
	}
}

func TestMoreCanBeUserInputByOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, &middleware.SessionsOptions{IsUserInput: func(turn *bot.Turn) bool {
			return middleware.IsUserInput(turn) || turn.Activity.Type == schema.MsgReaction
		}})
		c.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout - 1)
		liked := message("")
		liked.Type = schema.MsgReaction
		c.process(t, liked)
		time.Sleep(timeout - 1)
		c.say(t, "b", "b: 2 here, 2 in all")
	})
}

func TestLastAccessedIsReadAsOtherSDKsWriteIt(t *testing.T) {
	// A bubble begins at 2000-01-01T00:00:00Z.
	for _, test := range []struct {
		name, property, stored string
		expired                bool
		reported               bool
	}{
		{"RFC 3339 at the timeout", "", `"1999-12-31T23:30:00Z"`, true, false},
		{"RFC 3339 just before it", "", `"1999-12-31T23:30:00.000000001Z"`, false, false},
		{"C# with seven digits, at the timeout", "LastAccessedTimeProperty", `"1999-12-31T23:30:00.0000000Z"`, true, false},
		{"C# with seven digits, just before it", "LastAccessedTimeProperty", `"1999-12-31T23:30:00.0000001Z"`, false, false},
		{"C# without zone", "LastAccessedTimeProperty", `"1999-12-31T23:30:00.5"`, false, false},
		{"JavaScript, at the timeout", "LastAccessedTime", `"1999-12-31T23:30:00.000Z"`, true, false},
		{"JavaScript, just before it", "LastAccessedTime", `"1999-12-31T23:30:00.001Z"`, false, false},
		{"with an offset", "LastAccessedTime", `"2000-01-01T01:30:00+02:00"`, true, false},
		{"Python, at the timeout", "LastAccessedTime", `946683000`, true, false},
		{"Python, just before it", "LastAccessedTime", `946683001`, false, false},
		{"a clock that was ahead counts as now and is reported", "", `"2000-01-01T05:00:00Z"`, false, true},
		{"a clock that was ahead by the skew that is allowed wins", "", `"2000-01-01T00:00:00Z"`, false, false},
		{"null counts as none", "", `null`, false, false},
		{"text that is no time counts as none and is reported", "", `"yesterday"`, false, true},
		{"an object counts as none and is reported", "", `{"$date":1}`, false, true},
		{"a number out of range counts as none and is reported", "", `1e300`, false, true},
	} {
		bubble(t, test.name, func(t *testing.T) {
			memory := state.NewMemory()
			name := test.property
			if name == "" {
				name = "lastAccessed"
			}
			memory.Write(t.Context(), map[string]state.Item{"test/conversations/c1": {Value: json.RawMessage(`{"` + name + `":` + test.stored + `,"count":7}`)}})
			var log bytes.Buffer
			c := newCounter(memory, timeout, &middleware.SessionsOptions{Property: test.property})
			c.adapter.Logger = slog.New(slog.NewTextHandler(&log, nil))
			if test.expired {
				c.say(t, "hi", notice, "hi: 1 here, 1 in all")
			} else {
				c.say(t, "hi", "hi: 8 here, 1 in all")
			}
			if reported := strings.Contains(log.String(), "WARN"); reported != test.reported {
				t.Errorf("reported is %v, want %v", reported, test.reported)
			}
			items, err := memory.Read(t.Context(), []string{"test/conversations/c1"})
			if want := `"` + name + `":"2000-01-01T00:00:00Z"`; err != nil || !strings.Contains(string(items["test/conversations/c1"].Value), want) {
				t.Errorf("stored is %s, want %s in it", items["test/conversations/c1"].Value, want)
			}
		})
	}
}

// .NET reads seven digits at most; rounding up never expires early.
func TestLastAccessedIsWrittenInUTCWithSevenDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1234567801)
		memory := state.NewMemory()
		c := newCounter(memory, timeout, nil)
		c.say(t, "a", "a: 1 here, 1 in all")
		items, _ := memory.Read(t.Context(), []string{"test/conversations/c1"})
		if got := string(items["test/conversations/c1"].Value); !strings.Contains(got, `"2000-01-01T00:00:01.2345679Z"`) {
			t.Errorf("stored is %s", got)
		}
	})
}

// Silence is the user's, from arrival to arrival, however long the bot takes.
func TestP28ALongHandlerDoesNotExpireTheConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.adapter.TurnTimeout = -1
		var wg sync.WaitGroup
		wg.Go(func() {
			c.adapter.Process(t.Context(), message("a"), func(ctx context.Context, turn *bot.Turn) error {
				time.Sleep(2 * timeout)
				return c.inConversation.Set(ctx, 1)
			})
		})
		time.Sleep(timeout - 1)
		c.say(t, "b", "b: 2 here, 1 in all")
		wg.Wait()
	})
}

// P29: two replicas find the same conversation stale at the same time.
func TestP29TwoReplicasExpireAConversationOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		slow := &statetest.Faults{Storage: memory, After: func(ctx context.Context, call statetest.Call) error {
			time.Sleep(time.Duration(1+call.N) * time.Millisecond)
			return nil
		}}
		one, two := newCounter(slow, timeout, nil), newCounter(slow, timeout, nil)
		one.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout)
		var wg sync.WaitGroup
		for i, c := range []*counter{one, two} {
			wg.Go(func() {
				if err := c.adapter.Process(t.Context(), message("b"), func(ctx context.Context, turn *bot.Turn) error {
					if err := state.NewProperty[bool](c.conversation, fmt.Sprint("replica", i)).Set(ctx, true); err != nil {
						return err
					}
					_, err := turn.SendText(ctx, "ok")
					return err
				}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		all := append(one.base.texts(), two.base.texts()...)
		if got := strings.Join(all, "|"); strings.Count(got, notice) != 1 || strings.Count(got, "ok") != 2 {
			t.Errorf("the bot said %q, want one notice and two answers", all)
		}
		items, _ := memory.Read(t.Context(), []string{"test/conversations/c1"})
		for _, want := range []string{`"replica0":true`, `"replica1":true`} {
			if got := string(items["test/conversations/c1"].Value); !strings.Contains(got, want) || strings.Contains(got, "count") {
				t.Errorf("stored is %s, want %s and no count", got, want)
			}
		}
	})
}

// A user message that was saved between another replica's look and its
// clearing keeps the conversation alive.
func TestP8AMessageThatIsSavedFirstWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		other := newCounter(memory, timeout, nil)
		other.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout)
		faults := &statetest.Faults{Storage: memory}
		late := newCounter(faults, timeout, nil)
		faults.Before = func(ctx context.Context, call statetest.Call) error {
			if call.Op == statetest.Write && call.N == 1 {
				other.say(t, "b", notice, "b: 1 here, 2 in all")
			}
			return nil
		}
		late.say(t, "c", "c: 2 here, 3 in all")
	})
}

// TestI7InputJustBeforeTheTimeoutMeetsAnExpiry has a message arrive 1 ms before
// the timeout at one replica, whose handler runs beyond it. At the timeout
// another replica gets a message, or looks at the conversation.
func TestI7InputJustBeforeTheTimeoutMeetsAnExpiry(t *testing.T) {
	const early = time.Millisecond
	look := func(t *testing.T, c *counter) {
		ref := schema.ConversationReference{ChannelID: "test", Conversation: schema.ConversationAccount{ID: "c1"}, User: schema.ChannelAccount{ID: "u1"}}
		if err := c.adapter.Continue(t.Context(), ref, func(context.Context, *bot.Turn) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	write := func(t *testing.T, c *counter) {
		if err := c.adapter.Process(t.Context(), message("other"), func(context.Context, *bot.Turn) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	for _, test := range []struct {
		name  string
		read  time.Duration // how long the read of the first replica takes
		other func(t *testing.T, c *counter)
		want  []string // what the first replica says
	}{
		{"a message that finds the input stored", 0, write, []string{"b: 2 here, 2 in all"}},
		{"a look that finds the input stored", 0, look, []string{"b: 2 here, 2 in all"}},
		{"a message that is stored first", 2 * early, write, []string{"b: 1 here, 2 in all"}},
		{"a look that is stored first, and leaves the notice to the next message", 2 * early, look, []string{notice, "b: 1 here, 2 in all"}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			memory := state.NewMemory()
			faults := &statetest.Faults{Storage: memory}
			one, two := newCounter(faults, timeout, nil), newCounter(memory, timeout, nil)
			two.say(t, "a", "a: 1 here, 1 in all")
			time.Sleep(timeout - early)
			faults.After = func(_ context.Context, call statetest.Call) error {
				if call.Op == statetest.Read && call.N == 1 {
					time.Sleep(test.read)
				}
				return nil
			}
			handled := 0
			var turn sync.WaitGroup
			turn.Go(func() {
				if err := one.adapter.Process(t.Context(), message("b"), func(ctx context.Context, turn *bot.Turn) error {
					handled++
					time.Sleep(2 * early)
					return one.handle(ctx, turn)
				}); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(early)
			test.other(t, two)
			turn.Wait()
			wantTexts(t, one.base.texts(), test.want...)
			if handled != 1 {
				t.Errorf("the handler has run %d times", handled)
			}
		})
	}
}

// TestI7AnExpiryIsStoredThoughOthersWriteAllTheTime has somebody else write
// before each of the first 20 writes, nothing that is user input.
func TestI7AnExpiryIsStoredThoughOthersWriteAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		newCounter(memory, timeout, nil).say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(timeout)
		other := state.NewConversation(memory)
		n := state.NewProperty[int](other, "events")
		c := newCounter(&statetest.Faults{Storage: memory, Before: func(ctx context.Context, call statetest.Call) error {
			if call.Op != statetest.Write || call.N > 20 {
				return nil
			}
			ctx = state.NewContext(ctx, state.IDs{Channel: "test", Conversation: "c1", User: "u1"})
			return errors.Join(n.Set(ctx, call.N), other.Save(ctx))
		}}, timeout, nil)
		c.say(t, "b", notice, "b: 1 here, 2 in all")
	})
}

func TestInputShortlyBeforeTheTimeoutIsStoredBeforeTheHandlerRuns(t *testing.T) {
	const ahead = 10 * time.Second
	for _, test := range []struct {
		name    string
		silence time.Duration
		stored  bool
	}{
		{"1 ns more than 10 s before the timeout it is stored with the turn", timeout - ahead - 1, false},
		{"10 s before the timeout it is stored at once", timeout - ahead, true},
		{"1 ns before the timeout it is stored at once", timeout - 1, true},
	} {
		bubble(t, test.name, func(t *testing.T) {
			memory := state.NewMemory()
			c := newCounter(memory, timeout, nil)
			c.say(t, "a", "a: 1 here, 1 in all")
			begin := time.Now()
			time.Sleep(test.silence)
			bad := errors.New("bad day")
			if err := c.adapter.Process(t.Context(), message("b"), func(ctx context.Context, turn *bot.Turn) error {
				if err := c.inConversation.Set(ctx, 100); err != nil {
					return err
				}
				return bad
			}); err != bad {
				t.Errorf("error is %v, want the handler's", err)
			}
			// Only input that was stored has made the conversation live longer.
			time.Sleep(time.Until(begin.Add(timeout)))
			if test.stored {
				c.say(t, "c", "c: 2 here, 2 in all")
			} else {
				c.say(t, "c", notice, "c: 1 here, 2 in all")
			}
		})
	}
}

// P32: a turn that began before the expiry ends after it, in another replica.
func TestP32ALateSaveDoesNotBringExpiredStateBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		one, two := newCounter(memory, timeout, nil), newCounter(memory, timeout, nil)
		one.adapter.TurnTimeout = -1
		one.say(t, "a", "a: 1 here, 1 in all")
		time.Sleep(time.Minute)
		var late error
		var wg sync.WaitGroup
		wg.Go(func() {
			late = one.adapter.Process(t.Context(), message("slow"), func(ctx context.Context, turn *bot.Turn) error {
				n, _, _ := one.inConversation.Get(ctx)
				time.Sleep(timeout)
				return one.inConversation.Set(ctx, n+100)
			})
		})
		time.Sleep(timeout - 1)
		two.say(t, "b", notice, "b: 1 here, 2 in all")
		wg.Wait()
		if !errors.Is(late, state.ErrConflict) {
			t.Errorf("the late turn: %v, want ErrConflict", late)
		}
		two.say(t, "c", "c: 2 here, 3 in all")
	})
}

// P33: the time to live counts from the last user input, and from the end of the
// session, but not from the last write.
func TestP33WritesOfTheBotDoNotProlongALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := state.NewMemory()
		c := newCounter(memory, timeout, &middleware.SessionsOptions{Grace: time.Hour})
		c.say(t, "a", "a: 1 here, 1 in all")
		there := func() bool {
			items, err := memory.Read(t.Context(), []string{"test/conversations/c1"})
			return err == nil && len(items) == 1
		}
		time.Sleep(timeout + time.Minute)
		ref := schema.ConversationReference{ChannelID: "test", Conversation: schema.ConversationAccount{ID: "c1"}, User: schema.ChannelAccount{ID: "u1"}}
		if err := c.adapter.Continue(t.Context(), ref, func(ctx context.Context, turn *bot.Turn) error {
			return c.inConversation.Set(ctx, 5)
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - 1)
		if !there() {
			t.Error("gone before the grace")
		}
		time.Sleep(time.Nanosecond)
		if there() {
			t.Error("there after the grace")
		}
		if items, _ := memory.Read(t.Context(), []string{"test/users/u1"}); len(items) != 1 {
			t.Error("user state is gone")
		}
	})
}

// P36: a proactive turn is no user input.
func TestP36AProactiveTurnDoesNotExtendAConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, nil)
		c.say(t, "a", "a: 1 here, 1 in all")
		var ref schema.ConversationReference
		c.adapter.Process(t.Context(), withID("m1", message("b")), func(ctx context.Context, turn *bot.Turn) error {
			ref = turn.Reference()
			return nil
		})
		time.Sleep(timeout - 1)
		if err := c.adapter.Continue(t.Context(), ref, func(ctx context.Context, turn *bot.Turn) error {
			if !turn.Proactive() || turn.Activity.Type != schema.Event {
				t.Errorf("proactive is %v, type is %s", turn.Proactive(), turn.Activity.Type)
			}
			if n, _, err := c.inConversation.Get(ctx); n != 1 || err != nil {
				t.Errorf("count is %d, %v; want 1", n, err)
			}
			_, err := turn.SendText(ctx, "still there?")
			return err
		}); err != nil {
			t.Error(err)
		}
		all := c.base.Sent()
		sent := all[len(all)-1]
		if sent.ReplyToID != "" || sent.Recipient.ID != "u1" || sent.From.ID != "bot" || sent.Conversation.ID != "c1" {
			t.Errorf("sent %+v", sent)
		}
		time.Sleep(time.Nanosecond)
		c.say(t, "c", notice, "c: 1 here, 2 in all")
	})
}

func TestAStorageThatFailsFailsTheTurn(t *testing.T) {
	down := errors.New("storage is down")
	for _, test := range []struct {
		name string
		op   statetest.Op
		n    int
	}{
		{"the read", statetest.Read, 1},
		{"the write", statetest.Write, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
				if call.Op == test.op && call.N == test.n {
					return down
				}
				return nil
			}}
			c := newCounter(faults, timeout, nil)
			if err := c.adapter.Process(t.Context(), message("a"), silent); !errors.Is(err, down) {
				t.Errorf("error is %v, want the storage's", err)
			}
		})
	}
}

func TestATurnCostsOneReadAndOneWriteAndUserStateIsNotRead(t *testing.T) {
	faults := &statetest.Faults{Storage: state.NewMemory()}
	c := newCounter(faults, timeout, nil)
	if err := c.adapter.Process(t.Context(), message("a"), func(ctx context.Context, turn *bot.Turn) error {
		return c.inConversation.Set(ctx, 1)
	}); err != nil {
		t.Fatal(err)
	}
	if r, w := faults.Count(statetest.Read), faults.Count(statetest.Write); r != 1 || w != 1 {
		t.Errorf("%d reads and %d writes, want 1 and 1", r, w)
	}
}

func TestExpireOfANilScopePanics(t *testing.T) {
	defer func() {
		if v := recover(); v == nil {
			t.Error("no panic")
		}
	}()
	middleware.Expire(nil, timeout, nil)
}

// TestAnEarlierInputThatIsServedLaterDoesNotSetTheClockBack has one of two
// replicas serve a message late, which came before one that the other served.
func TestAnEarlierInputThatIsServedLaterDoesNotSetTheClockBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := state.NewMemory()
		a, b := newCounter(storage, timeout, nil), newCounter(storage, timeout, nil)
		a.adapter.TurnTimeout, b.adapter.TurnTimeout = -1, -1
		a.say(t, "start", "start: 1 here, 1 in all")
		event := message("")
		event.Type = schema.Event
		var turns sync.WaitGroup
		turns.Go(func() {
			a.adapter.Process(t.Context(), event, func(context.Context, *bot.Turn) error {
				time.Sleep(timeout / 2)
				return nil
			})
		})
		synctest.Wait()
		turns.Go(func() { a.adapter.Process(t.Context(), withID("1", message("one")), a.handle) })
		synctest.Wait()
		time.Sleep(timeout/2 - time.Second)
		b.say(t, "two", "two: 2 here, 2 in all")
		turns.Wait()
		a.base.texts()
		time.Sleep(timeout - 2*time.Second)
		b.say(t, "three", "three: 4 here, 4 in all")
	})
}

// TestInputsOfTwoReplicasKeepTheLaterTime is the main case of P29.
func TestInputsOfTwoReplicasKeepTheLaterTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := state.NewMemory()
		a, b := newCounter(storage, timeout, nil), newCounter(storage, timeout, nil)
		a.say(t, "start", "start: 1 here, 1 in all")
		var late sync.WaitGroup
		late.Go(func() { // which reads before the other, and saves after it
			a.adapter.Process(t.Context(), message("one"), func(context.Context, *bot.Turn) error {
				time.Sleep(2 * time.Second)
				return nil
			})
		})
		time.Sleep(time.Second)
		b.say(t, "two", "two: 2 here, 2 in all")
		late.Wait()
		time.Sleep(timeout - time.Second - 1)
		b.say(t, "three", "three: 3 here, 3 in all")
	})
}

func TestATimeWithEscapesIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := state.NewMemory()
		c := newCounter(storage, timeout, nil)
		storage.Write(t.Context(), map[string]state.Item{"test/conversations/c1": {Value: []byte(`{"lastAccessed":"1999-12-31T23:00:00\u002B00:00","count":5}`)}})
		c.say(t, "x", notice, "x: 1 here, 1 in all")
	})
}

func TestKeptPropertiesOutliveTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(state.NewMemory(), timeout, &middleware.SessionsOptions{Keep: []string{"language"}})
		language := state.NewProperty[string](c.conversation, "language")
		var got string
		say := func(handle bot.Handler) {
			if err := c.adapter.Process(t.Context(), message("x"), handle); err != nil {
				t.Fatal(err)
			}
		}
		say(func(ctx context.Context, turn *bot.Turn) error { return language.Set(ctx, "sv") })
		time.Sleep(timeout + 30*24*time.Hour)
		say(func(ctx context.Context, turn *bot.Turn) (err error) {
			got, err = language.GetOr(ctx, "none")
			return err
		})
		if got != "sv" {
			t.Errorf("after a month the language is %s", got)
		}
	})
}
