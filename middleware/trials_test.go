package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/internal/redact"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// document returns what is stored of a conversation.
func (s *shared) document(t *testing.T, conversation string) string {
	t.Helper()
	items, err := s.storage.Read(t.Context(), []string{"test/conversations/" + conversation})
	if err != nil {
		t.Fatal(err)
	}
	return string(items["test/conversations/"+conversation].Value)
}

// referenceTo returns the reference of u1 in a conversation.
func referenceTo(conversation string) schema.ConversationReference {
	return schema.ConversationReference{
		ChannelID: "test", ServiceURL: "https://test/", Conversation: schema.ConversationAccount{ID: conversation},
		User: schema.ChannelAccount{ID: "u1"}, Bot: schema.ChannelAccount{ID: "bot"},
	}
}

// only waits, and then returns the texts that were sent, without times.
func only(c *channel) []string {
	synctest.Wait()
	var texts []string
	for _, line := range c.take() {
		_, text, _ := strings.Cut(line, ": ")
		texts = append(texts, text)
	}
	return texts
}

// TestPA1AHandlerThatClearsItsScope, as for "/restart", and asks its first question
// anew, leaves the conversation as mortal as it was.
func TestPA1AHandlerThatClearsItsScope(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]func(context.Context, *state.Scope) error{
		"Clear":  func(ctx context.Context, s *state.Scope) error { return s.Clear(ctx) },
		"Delete": func(ctx context.Context, s *state.Scope) error { return s.Delete(ctx) },
		"Load":   func(ctx context.Context, s *state.Scope) error { return s.Load(ctx) },
		"all three": func(ctx context.Context, s *state.Scope) error {
			return errors.Join(s.Clear(ctx), s.Load(ctx), s.Delete(ctx), s.Load(ctx), s.Clear(ctx))
		},
	} {
		bubble(t, name, func(t *testing.T) {
			s := newShared()
			r := s.start(t, middleware.SessionsOptions{})
			r.say(t, "a")
			time.Sleep(20 * time.Minute)
			if err := r.process(t, "a", func(ctx context.Context, turn *bot.Turn) error {
				return errors.Join(restart(ctx, r.scope), r.count.Set(ctx, 10))
			}); err != nil {
				t.Fatal(err)
			}
			s.channel.take()
			time.Sleep(timeout - 1)
			expect(t, s.channel)
			time.Sleep(time.Nanosecond)
			expect(t, s.channel, "50m0s a: Goodbye.")
			time.Sleep(20 * time.Hour)
			r.say(t, "a")
			expect(t, s.channel, "20h50m0s a: message 1")
		})
		bubble(t, name+", without deadlines", func(t *testing.T) {
			c := newCounter(state.NewMemory(), timeout, nil)
			c.say(t, "a", "a: 1 here, 1 in all")
			if err := c.adapter.Process(t.Context(), message("/restart"), func(ctx context.Context, turn *bot.Turn) error {
				return errors.Join(restart(ctx, c.conversation), c.inConversation.Set(ctx, 10))
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Hour)
			c.say(t, "hi", notice, "hi: 1 here, 2 in all")
		})
	}
}

// TestPA2AHandlerThatLoadsItsScopeExtendsTheConversation all the same.
func TestPA2AHandlerThatLoadsItsScopeExtendsTheConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, "a")
		time.Sleep(20 * time.Minute)
		if err := r.process(t, "a", func(ctx context.Context, _ *bot.Turn) error { return r.scope.Load(ctx) }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute) // of silence, and the timeout after the first message
		s.channel.take()
		r.say(t, "a")
		expect(t, s.channel, "30m0s a: message 2")
		time.Sleep(timeout)
		expect(t, s.channel, "1h0m0s a: Goodbye.")
	})
}

// TestPA3ASlowArmLeavesNobodyWithoutADeadline: one call in a thousand takes 3 s,
// while a hundred conversations a second begin.
func TestPA3ASlowArmLeavesNobodyWithoutADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		memory := s.store
		var arms atomic.Int64
		s.store = brokenStore{memory, func(verb, _ string) error {
			if verb == "arm" && arms.Add(1)%1000 == 500 {
				time.Sleep(3 * time.Second)
			}
			return nil
		}}
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: -1})
		var turns sync.WaitGroup
		const n = 1000
		for i := range n {
			turns.Go(func() { r.say(t, fmt.Sprint(i)) })
			time.Sleep(10 * time.Millisecond)
		}
		turns.Wait()
		time.Sleep(3 * time.Second)
		armed := 0
		for range memory.All(t.Context()) {
			armed++
		}
		if armed != n {
			t.Errorf("%d of %d have a deadline", armed, n)
		}
		s.channel.take()
		time.Sleep(timeout)
		synctest.Wait()
		if told := len(s.channel.take()); told != n {
			t.Errorf("%d of %d were told", told, n)
		}
	})
}

// TestPA5TheLatestReferenceIsUsed, though a deadline that is early enough is armed.
func TestPA5TheLatestReferenceIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var to []string
		s.channel.fail = func(a schema.Activity) error {
			if a.Text == farewell {
				to = append(to, a.ServiceURL+" for "+a.Recipient.ID)
			}
			return nil
		}
		r := s.start(t, middleware.SessionsOptions{})
		for i := range 3 {
			if err := r.adapter.Process(t.Context(), schema.Activity{
				Type: schema.Message, ChannelID: "test", ServiceURL: fmt.Sprintf("https://%d.test/", i),
				Conversation: schema.ConversationAccount{ID: "a"}, From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"},
			}, silent); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(timeout)
		synctest.Wait()
		if want := []string{"https://2.test/ for u1"}; !slices.Equal(to, want) {
			t.Errorf("sent was to %q, want %q", to, want)
		}
	})
}

// TestPA5WhoWritesInAGroupIsNoReasonToArm, because all of them are written to alike.
func TestPA5WhoWritesInAGroupIsNoReasonToArm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		counting := &countingStore{Store: s.store}
		s.store = counting
		r := s.start(t, middleware.SessionsOptions{})
		for i := range 20 {
			if err := r.adapter.Process(t.Context(), schema.Activity{
				Type: schema.Message, ChannelID: "test", ServiceURL: "https://test/",
				Conversation: schema.ConversationAccount{ID: "a", IsGroup: true}, From: schema.ChannelAccount{ID: fmt.Sprint("u", i%3)}, Recipient: schema.ChannelAccount{ID: "bot"},
			}, silent); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if counting.armed != 1 {
			t.Errorf("armed %d times", counting.armed)
		}
	})
}

// TestPB1ALookLeavesTheDeadlineOfARunningTurn: the deadline of a turn comes due on
// another replica before the turn has saved what says so.
func TestPB1ALookLeavesTheDeadlineOfARunningTurn(t *testing.T) {
	for _, test := range []struct {
		name    string
		before  time.Duration // how long before the turn the user wrote; 0: never
		failed  bool          // a look at the deadline fails before another one is made
		waiting bool          // the turn has waited for another one
	}{
		{name: "the first turn"},
		{name: "the conversation has expired before", before: 2 * timeout},
		{name: "a look has failed before", failed: true},
		{name: "the turn has waited for another one", waiting: true},
	} {
		bubble(t, test.name, func(t *testing.T) {
			s := newShared()
			s.timeout = time.Second // so that the deadline is due while the turn saves
			memory := s.storage
			var slow atomic.Bool
			s.storage = &statetest.Faults{Storage: memory, Before: func(ctx context.Context, call statetest.Call) error {
				if call.Op == statetest.Write && slow.Load() {
					time.Sleep(8 * time.Second)
				}
				return nil
			}}
			one := s.start(t, middleware.SessionsOptions{})
			s.storage = &statetest.Faults{Storage: memory, Before: func(ctx context.Context, call statetest.Call) error {
				if test.failed && call.Op == statetest.Read && call.N == 1 {
					return errors.New("away")
				}
				return nil
			}}
			if err := one.sessions.Close(t.Context()); err != nil { // it runs turns, and looks at nothing
				t.Fatal(err)
			}
			s.start(t, middleware.SessionsOptions{})
			if test.before > 0 {
				one.say(t, "a")
				time.Sleep(test.before)
			}
			s.channel.take()
			time.Sleep(7 * time.Second) // the other replica asks its store each 10 s
			slow.Store(true)
			var turns sync.WaitGroup
			if test.waiting {
				one.hold = 20 * time.Second
				turns.Go(func() { one.try(t, "a") })
				time.Sleep(time.Millisecond)
			}
			turns.Go(func() {
				for one.try(t, "a") != nil { // it may have expired meanwhile
					time.Sleep(time.Second)
				}
			})
			turns.Wait()
			slow.Store(false)
			time.Sleep(10 * time.Minute)
			if texts := only(s.channel); len(texts) == 0 || texts[len(texts)-1] != farewell {
				t.Errorf("sent were %q", texts)
			}
			if document := s.document(t, "a"); strings.Contains(document, "count") {
				t.Errorf("stored is %s", document)
			}
			expectNone(t, s.store)
		})
	}
}

// event runs a turn of an activity that is no user input.
func (r *replica) event(t *testing.T, conversation string, h bot.Handler) error {
	return r.adapter.Process(t.Context(), schema.Activity{
		Type: schema.Event, ChannelID: "test", ServiceURL: "https://test/",
		Conversation: schema.ConversationAccount{ID: conversation}, From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"},
	}, h)
}

// push has the program write to a conversation, in the middle of whatever runs.
func (r *replica) push(t *testing.T, conversation string) error {
	return r.adapter.ProactiveMessage(t.Context(), referenceTo(conversation), activity.HandlerFuncs{
		OnMessageFunc: func(*activity.TurnContext) (schema.Activity, error) {
			return schema.Activity{Type: schema.Message, Text: "push"}, nil
		},
	})
}

// setAfter returns a handler that reads the conversation, waits, and sets a property.
func (r *replica) setAfter(wait time.Duration, name string) bot.Handler {
	property := state.NewProperty[bool](r.scope, name)
	return func(ctx context.Context, _ *bot.Turn) error {
		if _, _, err := property.Get(ctx); err != nil {
			return err
		}
		time.Sleep(wait)
		return property.Set(ctx, true)
	}
}

// TestPB2AMergedSaveKeepsTheTimeToLive: a turn that has read the conversation before
// its first message, and saves after it, lets it live for as long as the message does.
func TestPB2AMergedSaveKeepsTheTimeToLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.timeout = 2 * 24 * time.Hour
		one, two := s.start(t, middleware.SessionsOptions{}), s.start(t, middleware.SessionsOptions{})
		var turn sync.WaitGroup
		turn.Go(func() {
			if err := two.event(t, "a", two.setAfter(time.Minute, "started")); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		one.say(t, "a")
		turn.Wait()
		time.Sleep(s.timeout - 2*time.Minute)
		one.say(t, "a")
		if texts := only(s.channel); !slices.Equal(texts, []string{"message 1", "message 2"}) {
			t.Errorf("sent were %q", texts)
		}
	})
}

// TestPB3ALongerTimeoutHoldsForConversationsThatExist, also for how long they are
// stored.
func TestPB3ALongerTimeoutHoldsForConversationsThatExist(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, middleware.SessionsOptions{})
		for _, id := range []string{"a", "b"} {
			first.say(t, id)
		}
		if err := first.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.timeout = 2 * 24 * time.Hour
		second := s.start(t, middleware.SessionsOptions{})
		s.channel.take()
		time.Sleep(s.timeout - 1)
		second.say(t, "a")
		time.Sleep(time.Nanosecond)
		if texts := only(s.channel); !slices.Equal(texts, []string{"message 2", farewell}) {
			t.Errorf("sent were %q", texts)
		}
	})
}

// TestPB4ADocumentOutlivesItsTurn, though there is no grace.
func TestPB4ADocumentOutlivesItsTurn(t *testing.T) {
	for _, before := range []time.Duration{1, 9 * time.Second, 11 * time.Second, 59 * time.Second, 2 * time.Minute} {
		bubble(t, fmt.Sprint(before, " before the timeout"), func(t *testing.T) {
			c := newCounter(state.NewMemory(), timeout, &middleware.SessionsOptions{Grace: -1})
			c.say(t, "a", "a: 1 here, 1 in all")
			time.Sleep(timeout - before)
			if err := c.adapter.Process(t.Context(), message("b"), func(ctx context.Context, turn *bot.Turn) error {
				if err := c.handle(ctx, turn); err != nil {
					return err
				}
				time.Sleep(100 * time.Second)
				return nil
			}); err != nil {
				t.Error(err)
			}
			wantTexts(t, c.base.texts(), "b: 2 here, 2 in all")
			c.say(t, "c", "c: 3 here, 3 in all")
		})
	}
}

// TestPB5NothingFiresInARunningTurn: while a turn runs, whatever its length, other
// replicas get messages and other activities, write by themselves, and look.
func TestPB5NothingFiresInARunningTurn(t *testing.T) {
	for _, test := range []struct {
		before time.Duration // how long before the timeout the user writes
		hold   time.Duration // how long the turn takes
		other  string        // what happens at another replica a second after the timeout
	}{
		{1, 5 * time.Second, "look"},
		{time.Second, time.Minute, "look"},
		{10 * time.Second, time.Minute, "look"},
		{11 * time.Second, time.Minute, "look"},
		{100 * time.Second, 110 * time.Second, "look"},
		{time.Second, time.Minute, "event"},
		{11 * time.Second, time.Minute, "event"},
		{time.Second, time.Minute, "continue"},
		{100 * time.Second, 110 * time.Second, "continue"},
		{time.Second, time.Minute, "push"},
		{11 * time.Second, time.Minute, "push"},
		{time.Second, time.Minute, "message"},
		{11 * time.Second, time.Minute, "message"},
		{11 * time.Second, time.Minute, "event, and one that writes as the turn begins"},
		{11 * time.Second, time.Minute, "look, and an event that writes as the turn begins"},
	} {
		bubble(t, fmt.Sprintf("%v before the timeout, %v long, %s", test.before, test.hold, test.other), func(t *testing.T) {
			s := newShared()
			one, two := s.start(t, middleware.SessionsOptions{}), s.start(t, middleware.SessionsOptions{})
			if err := one.sessions.Close(t.Context()); err != nil { // two alone looks
				t.Fatal(err)
			}
			one.say(t, "a")
			time.Sleep(timeout - test.before)
			var turn sync.WaitGroup
			turn.Go(func() {
				if err := one.process(t, "a", one.setAfter(test.hold, "answered")); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Second)
			if strings.Contains(test.other, "as the turn begins") {
				if err := two.event(t, "a", two.setAfter(0, "event")); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(test.before)
			var err error
			want := []string{"message 1"}
			switch kind, _, _ := strings.Cut(test.other, ","); kind {
			case "event":
				err = two.event(t, "a", silent)
			case "continue":
				err = two.adapter.Continue(t.Context(), referenceTo("a"), two.setAfter(0, "reminded"))
			case "push": // beside the turn, at its own replica
				err = one.push(t, "a")
				want = append(want, "push")
			case "message":
				err = two.try(t, "a")
				want = append(want, "message 2")
			}
			if err != nil {
				t.Error(err)
			}
			turn.Wait()
			if texts := only(s.channel); !slices.Equal(texts, want) {
				t.Errorf("sent were %q", texts)
			}
			if document := s.document(t, "a"); !strings.Contains(document, `"count":`) || !strings.Contains(document, `"answered":true`) {
				t.Errorf("stored is %s", document)
			}
		})
	}
}

// TestPB5InputThatHasWaitedIsStoredInTime: it is not how long before the timeout it
// arrived that counts, but when its turn begins.
func TestPB5InputThatHasWaitedIsStoredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.timeout = 40 * time.Second
		one := s.start(t, middleware.SessionsOptions{})
		s.start(t, middleware.SessionsOptions{})
		if err := one.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		one.say(t, "a")
		var turns sync.WaitGroup
		for i, hold := range []time.Duration{35500 * time.Millisecond, 5300 * time.Millisecond} {
			time.Sleep(time.Second)
			turns.Go(func() { // from 1 s to 36.5 s, and, having arrived at 2 s, to 41.8 s
				if err := one.process(t, "a", one.setAfter(hold, fmt.Sprint("answered", i))); err != nil {
					t.Error(err)
				}
			})
		}
		turns.Wait()
		expect(t, s.channel, "0s a: message 1")
	})
}

// TestPB5ATurnThatFailsStoresItsInputOnly, though it has taken long shortly before
// the timeout.
func TestPB5ATurnThatFailsStoresItsInputOnly(t *testing.T) {
	for _, before := range []time.Duration{time.Second, 20 * time.Second} {
		bubble(t, fmt.Sprint(before, " before the timeout"), func(t *testing.T) {
			s := newShared()
			r := s.start(t, middleware.SessionsOptions{})
			r.say(t, "a")
			time.Sleep(timeout - before)
			bad := errors.New("bad day")
			if err := r.process(t, "a", func(ctx context.Context, _ *bot.Turn) error {
				if err := errors.Join(r.count.Set(ctx, 10), r.sessions.HandOff(ctx, "agent")); err != nil {
					return err
				}
				time.Sleep(12 * time.Second)
				return bad
			}); err != bad {
				t.Errorf("error is %v", err)
			}
			if document := s.document(t, "a"); !strings.Contains(document, `"count":1`) || strings.Contains(document, "agent") {
				t.Errorf("stored is %s", document)
			}
			s.channel.take()
			time.Sleep(timeout)
			expect(t, s.channel, fmt.Sprint(2*timeout-before, " a: Goodbye."))
		})
	}
}

// TestPB8ALookThatGoesAstrayKeepsItsDeadline: its turn does not come through, because
// of another middleware. It is tried again, and in the end parked.
func TestPB8ALookThatGoesAstrayKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	for name, astray := range map[string]bot.Middleware{
		"a middleware that lets only messages through": func(next bot.Handler) bot.Handler {
			return func(ctx context.Context, turn *bot.Turn) error {
				if turn.Activity.Type != schema.Message {
					return nil
				}
				return next(ctx, turn)
			}
		},
		"a middleware that has the turn run for another conversation": func(next bot.Handler) bot.Handler {
			return func(ctx context.Context, turn *bot.Turn) error {
				if turn.Proactive() {
					ctx = state.NewContext(ctx, state.IDs{Channel: "test", Conversation: "other", User: "u1"})
				}
				return next(ctx, turn)
			}
		},
	} {
		bubble(t, name, func(t *testing.T) {
			s := newShared()
			bad := s.startAround(t, middleware.SessionsOptions{}, []bot.Middleware{astray})
			bad.say(t, "a")
			bad.say(t, "b")
			s.channel.take()
			time.Sleep(timeout + time.Hour)
			synctest.Wait()
			if log := bad.log.String(); !strings.Contains(log, "did not come through its Sessions") {
				t.Errorf("logged was\n%s", log)
			}
			if err := bad.sessions.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			second := s.start(t, middleware.SessionsOptions{MaxLateness: 100 * time.Hour}) // one that is mended
			time.Sleep(10 * time.Minute)
			if texts := only(s.channel); !slices.Equal(texts, []string{farewell, farewell}) {
				t.Errorf("sent were %q", texts)
			}
			if err := second.sessions.Close(t.Context()); err != nil {
				t.Fatal(err)
			}

			bad = s.startAround(t, middleware.SessionsOptions{}, []bot.Middleware{astray})
			bad.say(t, "a")
			time.Sleep(24 * time.Hour)
			for e := range s.store.All(t.Context()) {
				if !strings.Contains(e.Parked, "did not come through its Sessions") {
					t.Errorf("left is %+v", e)
				}
			}
			if log := bad.log.String(); !strings.Contains(log, "a deadline is parked") {
				t.Errorf("logged was\n%s", log)
			}
		})
	}
}

// TestPB9WhoWritesWhileTheyAreToldIsToldSomehow: the send of the farewell takes
// long, and the user writes at another replica.
func TestPB9WhoWritesWhileTheyAreToldIsToldSomehow(t *testing.T) {
	for _, once := range []bool{false, true} {
		for _, lost := range []bool{false, true} {
			bubble(t, fmt.Sprintf("at most once %v, the farewell is lost %v", once, lost), func(t *testing.T) {
				s := newShared()
				s.channel.hang = func(ctx context.Context, a schema.Activity) error {
					if a.Text != farewell {
						return nil
					}
					time.Sleep(20 * time.Second)
					if lost {
						return errors.New("lost")
					}
					return nil
				}
				one := s.start(t, middleware.SessionsOptions{AtMostOnce: once})
				two := s.start(t, middleware.SessionsOptions{AtMostOnce: once})
				if err := two.sessions.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				one.say(t, "a")
				s.channel.take()
				time.Sleep(timeout + 10*time.Second)
				two.say(t, "a")
				want := []string{notice, "message 1", farewell}
				if lost {
					want = want[:2]
				}
				time.Sleep(time.Minute)
				if texts := only(s.channel); !slices.Equal(texts, want) {
					t.Errorf("sent were %q, want %q", texts, want)
				}
				time.Sleep(timeout)
				two.say(t, "a")
				if document := s.document(t, "a"); strings.Contains(document, `"open"`) {
					t.Errorf("stored is %s", document)
				}
			})
		}
	}
}

// TestAnActivityThatArrivesWhileTheUserIsToldTellsThemNothing, because somebody is
// about to, and leaves the deadline to them.
func TestAnActivityThatArrivesWhileTheUserIsToldTellsThemNothing(t *testing.T) {
	for _, once := range []bool{false, true} {
		for _, waited := range []time.Duration{0, time.Minute} {
			bubble(t, fmt.Sprintf("at most once %v, the look has waited for %v", once, waited), func(t *testing.T) {
				s := newShared()
				s.channel.hang = func(ctx context.Context, a schema.Activity) error {
					if a.Text == farewell {
						time.Sleep(5 * time.Second)
					}
					return ctx.Err()
				}
				one := s.start(t, middleware.SessionsOptions{AtMostOnce: once})
				two := s.start(t, middleware.SessionsOptions{AtMostOnce: once})
				if err := two.sessions.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				one.say(t, "a")
				s.channel.take()
				time.Sleep(timeout - time.Second)
				var turn sync.WaitGroup
				turn.Go(func() {
					if err := one.event(t, "a", one.setAfter(waited+time.Second, "event")); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(waited + 2*time.Second)
				turn.Wait()
				if err := two.event(t, "a", silent); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute)
				two.say(t, "a")
				want := []string{farewell, "message 1"}
				texts := only(s.channel)
				if once && waited > 0 && texts[0] == notice { // the turn has armed the deadline anew, which ended the look
					want[0] = notice
				}
				if !slices.Equal(texts, want) {
					t.Errorf("sent were %q", texts)
				}
			})
		}
	}
}

// TestAnActivityThatFindsTheEndTellsTheUserOnce: the deadline that it arms, in case
// that it cannot tell them, does not come due meanwhile.
func TestAnActivityThatFindsTheEndTellsTheUserOnce(t *testing.T) {
	for _, what := range []string{"event", "push"} {
		bubble(t, what, func(t *testing.T) {
			s := newShared()
			s.channel.hang = func(ctx context.Context, a schema.Activity) error {
				time.Sleep(time.Second)
				return ctx.Err()
			}
			r := s.start(t, middleware.SessionsOptions{})
			r.say(t, "a")
			s.timeout = time.Minute // of which the deadline does not know
			two := s.start(t, middleware.SessionsOptions{})
			s.channel.take()
			time.Sleep(2 * time.Minute)
			var err error
			if what == "push" {
				err = two.push(t, "a")
			} else {
				err = two.event(t, "a", func(ctx context.Context, turn *bot.Turn) error {
					_, err := turn.SendText(ctx, "push")
					return err
				})
			}
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			if texts := only(s.channel); !slices.Equal(texts, []string{farewell, "push"}) {
				t.Errorf("sent were %q", texts)
			}
			expectNone(t, s.store)
		})
	}
}

// TestPB10WhatFailsOnceLeavesNobodyUntold.
func TestPB10WhatFailsOnceLeavesNobodyUntold(t *testing.T) {
	for _, once := range []bool{false, true} {
		for _, what := range []string{"the answer of the clearing write is lost", "a middleware fails before the look", "a middleware fails after the look", "the save fails"} {
			bubble(t, fmt.Sprintf("%s, at most once %v", what, once), func(t *testing.T) {
				s := newShared()
				var happens atomic.Bool
				lost := errors.New("lost")
				memory := s.storage
				writes := 0
				s.storage = &statetest.Faults{Storage: memory, After: func(_ context.Context, call statetest.Call) error {
					if call.Op == statetest.Write && what == "the answer of the clearing write is lost" && happens.CompareAndSwap(true, false) {
						return lost
					}
					return nil
				}, Before: func(_ context.Context, call statetest.Call) error {
					if call.Op == statetest.Write && what == "the save fails" && happens.Load() {
						if writes++; writes == 2 {
							return lost
						}
					}
					return nil
				}}
				fails := func(next bot.Handler) bot.Handler {
					return func(ctx context.Context, turn *bot.Turn) error {
						if what == "a middleware fails before the look" && happens.CompareAndSwap(true, false) {
							return lost
						}
						if err := next(ctx, turn); err != nil {
							return err
						}
						if what == "a middleware fails after the look" && happens.CompareAndSwap(true, false) {
							return lost
						}
						return nil
					}
				}
				r := s.startAround(t, middleware.SessionsOptions{AtMostOnce: once}, []bot.Middleware{fails})
				r.say(t, "a")
				s.channel.take()
				happens.Store(true)
				time.Sleep(timeout + time.Minute)
				told := only(s.channel)
				if len(told) > 2 || len(told) > 1 && once || slices.Contains(told, notice) {
					t.Errorf("sent were %q", told)
				}
				expectNone(t, s.store)
				r.say(t, "a")
				back := only(s.channel)
				if want := []string{"message 1"}; len(told) == 0 && !slices.Equal(back, []string{notice, "message 1"}) || len(told) > 0 && !once && !slices.Equal(back, want) {
					t.Errorf("sent were %q, and on return %q", told, back)
				}
			})
		}
	}
}

// TestPB10ANoticeThatIsRefusedIsToldWithTheNextMessage, and the turn goes on.
func TestPB10ANoticeThatIsRefusedIsToldWithTheNextMessage(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		once bool
		next []string // what is said with the next message
	}{
		{"refused", sendError{refused: true}, false, []string{notice, "message 2"}},
		{"refused, at most once", sendError{refused: true}, true, []string{notice, "message 2"}},
		{"refused for good", sendError{refused: true, permanent: true}, false, []string{"message 2"}},
		{"an answer that is lost", errors.New("lost"), false, []string{notice, "message 2"}},
		{"an answer that is lost, at most once", errors.New("lost"), true, []string{"message 2"}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			s := newShared()
			failed := false
			s.channel.fail = func(a schema.Activity) error {
				if a.Text == notice && !failed {
					failed = true
					return test.err
				}
				return nil
			}
			r := s.start(t, middleware.SessionsOptions{AtMostOnce: test.once}, silently)
			r.say(t, "a")
			time.Sleep(2 * timeout)
			s.channel.take()
			r.say(t, "a")
			if texts := only(s.channel); !slices.Equal(texts, []string{"message 1"}) {
				t.Errorf("sent were %q", texts)
			}
			time.Sleep(time.Minute)
			r.say(t, "a")
			if texts := only(s.channel); !slices.Equal(texts, test.next) {
				t.Errorf("then, sent were %q, want %q", texts, test.next)
			}
		})
	}
}

// TestADeliveryThatIsRepeatedLateEndsNothingTwice: the first one has ended the session,
// and come to nothing else.
func TestADeliveryThatIsRepeatedLateEndsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		ends := 0
		r := s.start(t, middleware.SessionsOptions{OnEnd: func(context.Context, *bot.Turn, middleware.Expiry) { ends++ }})
		if err := r.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.say(t, "a")
		time.Sleep(2 * timeout)
		s.channel.take()
		deliver := func(h bot.Handler) error {
			a := message("hi")
			a.ID, a.Conversation.ID = "m1", "a"
			return r.adapter.Process(t.Context(), a, h)
		}
		s.channel.fail = func(schema.Activity) error { return sendError{refused: true} }
		if deliver(func(context.Context, *bot.Turn) error { return errors.New("fails") }) == nil {
			t.Error("the turn has not failed")
		}
		s.channel.fail = nil
		time.Sleep(2 * timeout)
		if err := deliver(func(ctx context.Context, _ *bot.Turn) error { return r.count.Set(ctx, 1) }); err != nil {
			t.Error(err)
		}
		if texts := only(s.channel); !slices.Equal(texts, []string{notice}) || ends != 1 {
			t.Errorf("sent were %q, and the session has ended %d times", texts, ends)
		}
		time.Sleep(timeout / 2)
		r.say(t, "a")
		if texts := only(s.channel); !slices.Equal(texts, []string{"message 2"}) {
			t.Errorf("sent were %q", texts)
		}
	})
}

// TestADeliveryThatIsRepeatedIsNotSaidGoodbye: its session has ended while the first
// one was running, and the farewell is still to be told.
func TestADeliveryThatIsRepeatedIsNotSaidGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.timeout = time.Minute
		var away atomic.Bool
		s.channel.fail = func(a schema.Activity) error {
			if a.Text == farewell && away.Load() {
				return sendError{refused: true}
			}
			return nil
		}
		one := s.start(t, middleware.SessionsOptions{})
		if err := one.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		one.say(t, "a")
		time.Sleep(2 * time.Minute)
		s.channel.take()
		away.Store(true)
		deliver := func(h bot.Handler) error {
			a := message("hi")
			a.ID, a.Conversation.ID = "m1", "a"
			return one.adapter.Process(t.Context(), a, h)
		}
		var turn sync.WaitGroup
		turn.Go(func() {
			if err := deliver(one.setAfter(90*time.Second, "answered")); !errors.Is(err, state.ErrConflict) {
				t.Errorf("error is %v, want ErrConflict", err)
			}
		})
		time.Sleep(time.Second)
		two := s.start(t, middleware.SessionsOptions{})
		turn.Wait()
		if err := two.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		away.Store(false)
		s.channel.take()
		if err := deliver(silent); err != nil {
			t.Error(err)
		}
		if texts := only(s.channel); !slices.Equal(texts, []string{notice}) {
			t.Errorf("sent were %q", texts)
		}
	})
}

// TestAHandlerThatPanicsIsNoReasonToTellTwice what was told on return.
func TestAHandlerThatPanicsIsNoReasonToTellTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{}, silently)
		r.say(t, "a")
		time.Sleep(2 * timeout)
		s.channel.take()
		if r.process(t, "a", func(context.Context, *bot.Turn) error { panic("ouch") }) == nil {
			t.Error("the turn has not failed")
		}
		r.say(t, "a")
		if texts := only(s.channel); !slices.Equal(texts, []string{notice, "message 1"}) {
			t.Errorf("sent were %q", texts)
		}
	})
}

// TestATurnThatOutlastsItsSessionLeavesNothing, though the session had no state that
// could be cleared.
func TestATurnThatOutlastsItsSessionLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.timeout = time.Minute
		one := s.start(t, middleware.SessionsOptions{})
		if err := one.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		one.say(t, "a")
		time.Sleep(2 * time.Minute)
		var two *replica
		var turn sync.WaitGroup
		turn.Go(func() {
			one.hold = 90 * time.Second
			if err := one.try(t, "a"); !errors.Is(err, state.ErrConflict) {
				t.Errorf("error is %v, want ErrConflict", err)
			}
		})
		time.Sleep(time.Second) // it has begun a session, which two ends
		two = s.start(t, middleware.SessionsOptions{})
		turn.Wait()
		time.Sleep(time.Minute)
		s.channel.take()
		if document := s.document(t, "a"); strings.Contains(document, "count") {
			t.Errorf("stored is %s", document)
		}
		time.Sleep(time.Hour)
		two.say(t, "a")
		if texts := only(s.channel); !slices.Equal(texts, []string{"message 1"}) {
			t.Errorf("sent were %q", texts)
		}
	})
}

// TestADeadlineThatTheRecordKnowsStays, though a turn that has failed has armed an
// earlier one in its place, which ends the session and is over.
func TestADeadlineThatTheRecordKnowsStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, middleware.SessionsOptions{})
		first.say(t, "a")
		time.Sleep(time.Minute)
		s.timeout = 2 * time.Minute
		memory := s.storage
		var fails atomic.Bool
		fails.Store(true)
		s.storage = &statetest.Faults{Storage: memory, Before: func(_ context.Context, call statetest.Call) error {
			if call.Op == statetest.Write && fails.Load() {
				return errors.New("away")
			}
			return nil
		}}
		second := s.start(t, middleware.SessionsOptions{})
		if second.try(t, "a") == nil { // it has armed for two minutes from now
			t.Error("the turn has not failed")
		}
		fails.Store(false)
		if err := first.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute) // in which the session has ended
		s.channel.take()
		first.say(t, "a")
		time.Sleep(timeout + 10*time.Second)
		if texts := only(s.channel); !slices.Equal(texts, []string{"message 1", farewell}) {
			t.Errorf("sent were %q", texts)
		}
		time.Sleep(timeout)
		expectNone(t, s.store)
	})
}

// TestAClockThatIsBehindDoesNotRelyOnADeadlineThatIsOver: it was looked at by a
// replica whose clock is ahead, so the record says that it is still to come.
func TestAClockThatIsBehindDoesNotRelyOnADeadlineThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{})
		const key = "test/conversations/a"
		r.say(t, "a")
		// As seen from a clock that is 9 s behind, the session ends 9 s before its time.
		time.Sleep(timeout - 9*time.Second)
		items, err := s.storage.Read(t.Context(), []string{key})
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := json.Unmarshal(items[key].Value, &document); err != nil {
			t.Fatal(err)
		}
		delete(document, "count")
		document["botlapse.session"].(map[string]any)["ended"] = s.channel.begin.Add(timeout)
		document["botlapse.cleared"] = "by a clock that is ahead"
		value, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.storage.Write(t.Context(), map[string]state.Item{key: {Value: value}}); err != nil {
			t.Fatal(err)
		}
		claims, _, err := s.store.Claim(t.Context(), time.Now().Add(9*time.Second), time.Minute, 1)
		if err != nil || len(claims) != 1 || s.store.Settle(t.Context(), claims[0], deadline.Outcome{}) != nil {
			t.Fatal(claims, err)
		}
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout)
		expect(t, s.channel, "59m51s a: Goodbye.")
	})
}

// TestPB11LooksThatEndTheirGoroutinesGiveTheirPlacesBack.
func TestPB11LooksThatEndTheirGoroutinesGiveTheirPlacesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: -1, OnEnd: func(_ context.Context, turn *bot.Turn, _ middleware.Expiry) {
			if turn.Activity.Conversation.ID != "a" {
				runtime.Goexit()
			}
		}})
		for i := range 200 {
			r.say(t, fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout)
		synctest.Wait()
		if sent := strings.Join(s.channel.take(), "\n"); !strings.Contains(sent, "30m1s a: Goodbye.") {
			t.Errorf("sent were\n%s", sent)
		}
	})
}

// TestPB12AClosedAdapterIsNobodysFault.
func TestPB12AClosedAdapterIsNobodysFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, middleware.SessionsOptions{})
		first.say(t, "a")
		s.channel.take()
		if err := first.adapter.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(timeout + time.Hour)
		for e := range s.store.All(t.Context()) {
			if e.Parked != "" || e.Attempts > 0 {
				t.Errorf("left is %+v", e)
			}
		}
		if err := first.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if log := first.log.String(); strings.Contains(log, "deadline") {
			t.Errorf("logged was\n%s", log)
		}
		s.start(t, middleware.SessionsOptions{})
		time.Sleep(10 * time.Second)
		if texts := only(s.channel); !slices.Equal(texts, []string{farewell}) {
			t.Errorf("sent were %q", texts)
		}
	})
}

// TestT4EachFiringIsALine, which names the conversation as all lines about it do.
func TestT4EachFiringIsALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var back atomic.Bool
		var told atomic.Int64 // how long after the beginning
		s.channel.fail = func(a schema.Activity) error {
			if !back.Load() {
				return sendError{refused: true}
			}
			told.Store(int64(time.Since(s.channel.begin)))
			return nil
		}
		r := s.start(t, middleware.SessionsOptions{})
		log := &lockedWriter{w: r.log}
		r.adapter.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))
		lines := func(want ...string) {
			t.Helper()
			synctest.Wait()
			log.mu.Lock()
			defer log.mu.Unlock()
			got := strings.Split(strings.TrimSuffix(r.log.String(), "\n"), "\n")
			if r.log.Reset(); !slices.Equal(got, want) {
				t.Errorf("logged was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		session := func() (id string) {
			if err := r.process(t, "a", func(ctx context.Context, _ *bot.Turn) (err error) {
				id, err = r.sessions.ID(ctx)
				return err
			}); err != nil || id == "" {
				t.Fatal(id, err)
			}
			return id
		}
		who := " channel=test conversation=" + redact.Hash("test/conversations/a")
		refused := "level=WARN msg=\"a user could not be told yet\"" + who + " error=\"bot: send message: permanent false, refused true\""
		id := session()
		time.Sleep(timeout)
		lines(refused, "level=INFO msg=fired"+who+" rule=idle session="+id+" due=2000-01-01T00:30:00.000Z late=0s outcome=refused kind=ended")
		back.Store(true)
		time.Sleep(time.Minute)
		lines(fmt.Sprint("level=INFO msg=\"told later\"", who, " rule=idle session=", id, " due=2000-01-01T00:30:00.000Z late=", time.Duration(told.Load())-timeout, " outcome=told"))

		id = session()
		if err := r.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(timeout + time.Second)
		old := id
		if id = session(); id == old {
			t.Errorf("the session is still %s", id)
		}
		lines("level=INFO msg=fired" + who + " rule=idle session=" + old + " due=2000-01-01T01:01:00.000Z late=1s outcome=\"on input\" kind=ended")
	})
}

// TestABotThatWasRemovedTellsNobody: neither what is due later nor what is open, until
// somebody writes again.
func TestABotThatWasRemovedTellsNobody(t *testing.T) {
	t.Parallel()
	for name, removal := range map[string]schema.Activity{
		"removed":   {Type: schema.InstallationUpdate, Action: "remove"},
		"upgraded":  {Type: schema.InstallationUpdate, Action: "remove-upgrade"},
		"no member": {Type: schema.ConversationUpdate, MembersRemoved: []schema.ChannelAccount{{ID: "u2"}, {ID: "bot"}}},
	} {
		for _, after := range []time.Duration{time.Minute, timeout + time.Second} {
			bubble(t, fmt.Sprint(name, " after ", after), func(t *testing.T) {
				s := newShared()
				var away atomic.Bool
				s.channel.fail = func(schema.Activity) error {
					if away.Load() {
						return sendError{refused: true}
					}
					return nil
				}
				r := s.start(t, middleware.SessionsOptions{})
				r.say(t, "a")
				s.channel.take()
				away.Store(true)
				time.Sleep(after)
				removal.ChannelID, removal.ServiceURL = "test", "https://test/"
				removal.Conversation.ID, removal.From.ID, removal.Recipient.ID = "a", "u1", "bot"
				if err := r.adapter.Process(t.Context(), removal, silent); err != nil {
					t.Error(err)
				}
				away.Store(false)
				if document := s.document(t, "a"); strings.Contains(document, "count") || strings.Contains(document, "reference") {
					t.Errorf("stored is %s", document)
				}
				time.Sleep(2 * time.Hour)
				expect(t, s.channel)
				expectNone(t, s.store)
				r.say(t, "a")
				if texts := only(s.channel); !slices.Equal(texts, []string{"message 1"}) {
					t.Errorf("sent were %q", texts)
				}
				time.Sleep(timeout)
				if texts := only(s.channel); !slices.Equal(texts, []string{farewell}) {
					t.Errorf("sent were %q", texts)
				}
			})
		}
	}
	bubble(t, "another member is no bot", func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, "a")
		s.channel.take()
		if err := r.adapter.Process(t.Context(), schema.Activity{
			Type: schema.ConversationUpdate, MembersRemoved: []schema.ChannelAccount{{ID: "u2"}}, ChannelID: "test", ServiceURL: "https://test/",
			Conversation: schema.ConversationAccount{ID: "a"}, From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"},
		}, silent); err != nil {
			t.Error(err)
		}
		time.Sleep(timeout)
		expect(t, s.channel, "30m0s a: Goodbye.")
	})
}

// TestAClockThatWasAheadIsBounded: what it has recorded counts as now if it is more
// than ten seconds from now, and is warned of.
func TestAClockThatWasAheadIsBounded(t *testing.T) {
	for _, test := range []struct {
		ahead time.Duration
		ends  time.Duration // after the next look
		warns bool
	}{
		{10 * time.Second, timeout + 10*time.Second, false},
		{10*time.Second + tick, timeout, true},
		{1000 * time.Hour, timeout, true},
	} {
		bubble(t, fmt.Sprint(test.ahead), func(t *testing.T) {
			s := newShared()
			r := s.start(t, middleware.SessionsOptions{})
			r.say(t, "a")
			document := s.document(t, "a")
			now, ahead := time.Now().UTC().Format(time.RFC3339Nano), time.Now().Add(test.ahead).UTC().Format(time.RFC3339Nano)
			document = strings.NewReplacer(`"lastAccessed":"`+now, `"lastAccessed":"`+ahead, `"began":"`+now, `"began":"`+ahead).Replace(document)
			if _, err := s.storage.Write(t.Context(), map[string]state.Item{"test/conversations/a": {Value: json.RawMessage(document)}}); err != nil {
				t.Fatal(err)
			}
			if err := r.event(t, "a", silent); err != nil {
				t.Fatal(err)
			}
			s.channel.take()
			time.Sleep(test.ends)
			expect(t, s.channel, fmt.Sprint(test.ends, " a: Goodbye."))
			if warned := strings.Contains(r.log.String(), "a clock is or was ahead"); warned != test.warns {
				t.Errorf("warned %v: %s", warned, r.log)
			}
		})
	}
}

// places are dialogs of which there is one, and its state a property.
type places struct {
	middleware.Dialogs
	under *state.Property[string]
	begun atomic.Int64
}

func (p *places) Place(ctx context.Context) (at policy.Place, err error) {
	under, ok, err := p.under.Get(ctx)
	if ok {
		at.Path = []string{under}
	}
	return at, err
}

func (p *places) Question(context.Context, *bot.Turn) (policy.Question, error) {
	return policy.Question{}, nil
}

func (p *places) Goto(ctx context.Context, _ *bot.Turn, open policy.Open, _ json.RawMessage) (bool, error) {
	p.begun.Add(1)
	return true, p.under.Set(ctx, open.Action.Goto)
}

// TestADialogIsBegunWithTheTurnThatIsSaved: what an activity has found due is to say
// something and to begin a dialog. Its turn fails: what is said stays said, and the
// dialog is begun by another turn.
func TestADialogIsBegunWithTheTurnThatIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		conversation := state.NewConversation(s.storage)
		dialogs := &places{under: state.NewProperty[string](conversation, "under")}
		rules, err := policy.New(policy.Rule{Name: "help", After: timeout, Do: policy.Action{Say: nudge, Goto: "help"}})
		if err != nil {
			t.Fatal(err)
		}
		sessions := middleware.NewSessions(conversation, rules, &middleware.SessionsOptions{Deadlines: s.store, Dialogs: dialogs})
		r := &replica{channel: s.channel, scope: conversation, sessions: sessions}
		r.adapter = bot.NewAdapter(s.channel, middleware.AutoSave(conversation), sessions.Middleware)
		r.adapter.Logger = slog.New(slog.DiscardHandler)
		if err := r.process(t, "a", silent); err != nil {
			t.Fatal(err)
		}
		time.Sleep(timeout)
		if r.event(t, "a", func(context.Context, *bot.Turn) error { return errors.New("fails") }) == nil {
			t.Error("the turn has not failed")
		}
		if document := s.document(t, "a"); strings.Contains(document, "under") || !strings.Contains(document, `"open"`) {
			t.Errorf("stored is %s", document)
		}
		sessions.Start(r.adapter)
		defer sessions.Close(context.Background())
		time.Sleep(time.Minute)
		if texts := only(s.channel); !slices.Equal(texts, []string{nudge}) {
			t.Errorf("sent were %q", texts)
		}
		if document := s.document(t, "a"); !strings.Contains(document, `"under":"help"`) || strings.Contains(document, `"open"`) || dialogs.begun.Load() != 2 {
			t.Errorf("begun %d times, stored is %s", dialogs.begun.Load(), document)
		}
	})
}
