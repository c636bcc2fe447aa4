package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// ladder is a policy of two steps.
var ladder = []policy.Rule{
	{Name: "nudge", After: timeout / 2, Do: policy.Action{Say: "Still there?"}},
	{Name: "idle", After: timeout, Do: policy.Action{End: true, Say: farewell, OnReturn: notice}},
}

// in does something in a turn of the user's, or in a proactive one.
func (r *replica) in(t *testing.T, conversation string, do func(ctx context.Context) error) {
	t.Helper()
	if err := r.process(t, conversation, func(ctx context.Context, turn *bot.Turn) error { return do(ctx) }); err != nil {
		t.Fatal(err)
	}
}

func TestASessionHasAnIDUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{}, ladder...)
		id := func() (id string) {
			t.Helper()
			r.in(t, "a", func(ctx context.Context) (err error) { id, err = r.sessions.ID(ctx); return err })
			return id
		}
		first := id()
		if first == "" || id() != first {
			t.Error("the id of a session changes")
		}
		time.Sleep(2 * timeout)
		if second := id(); second == "" || second == first {
			t.Errorf("after the end the id is %q, before it was %q", second, first)
		}
		r.in(t, "a", r.sessions.End)
		if third := id(); third == "" || third == first {
			t.Errorf("the id is %q", third)
		}
	})
}

func TestEndClearsTheStateAndFallsDueNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{}, ladder...)
		r.say(t, "a")
		r.in(t, "a", r.sessions.End)
		s.channel.take()
		time.Sleep(24 * time.Hour)
		expect(t, s.channel)
		expectNone(t, s.store)
		r.say(t, "a")
		expect(t, s.channel, "24h0m0s a: message 1")
	})
}

// TestPostponeHoldsAllRules: 45 min from the message of the turn, and what comes after
// counts from there, until the user writes.
func TestPostponeHoldsAllRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{}, ladder...)
		r.in(t, "a", func(ctx context.Context) error { return r.sessions.Postpone(ctx, 45*time.Minute) })
		time.Sleep(2 * time.Hour)
		expect(t, s.channel, "45m0s a: Goodbye.")
		r.in(t, "b", func(ctx context.Context) error { return r.sessions.Postpone(ctx, 24*time.Hour) })
		r.say(t, "b") // which ends it
		s.channel.take()
		time.Sleep(timeout / 2)
		expect(t, s.channel, "2h15m0s b: Still there?")
	})
}

// TestBeginStartsTheClocksOfABotThatWritesFirst.
func TestBeginStartsTheClocksOfABotThatWritesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{}, ladder...)
		ref := schema.ConversationReference{ChannelID: "test", Conversation: schema.ConversationAccount{ID: "a"}, User: schema.ChannelAccount{ID: "u1"}}
		if err := r.adapter.Continue(t.Context(), ref, func(ctx context.Context, turn *bot.Turn) error {
			_, err := turn.SendText(ctx, "Are you coming?")
			return errors.Join(err, r.sessions.Begin(ctx))
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		expect(t, s.channel, "0s a: Are you coming?", "15m0s a: Still there?", "30m0s a: Goodbye.")
	})
}

func TestASessionIsChangedFromOutsideByItsStorageKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{}, append(ladder, policy.Rule{Name: "kept", Since: policy.Resolved, After: time.Minute, Do: policy.Action{End: true, Say: "Closed."}})...)
		r.say(t, "a")
		s.channel.take()
		if err := r.sessions.Continue(t.Context(), "test/conversations/a", func(ctx context.Context, turn *bot.Turn) error { return r.sessions.Resolve(ctx) }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		expect(t, s.channel, "1m0s a: Closed.")
		for _, key := range []string{"test/conversations/nobody", "nonsense"} {
			if err := r.sessions.Continue(t.Context(), key, silent); !errors.Is(err, middleware.ErrUnknown) {
				t.Errorf("%s: error is %v, want ErrUnknown", key, err)
			}
		}
	})
}

func TestSessionsOutsideOfATurnAreAnError(t *testing.T) {
	s := middleware.NewSessions(state.NewConversation(state.NewMemory()), policy.Idle(timeout), nil)
	_, err := s.ID(t.Context())
	for _, err := range []error{err, s.Begin(t.Context()), s.Resolve(t.Context()), s.HandOff(t.Context(), "agent"), s.Postpone(t.Context(), 1), s.End(t.Context())} {
		if !errors.Is(err, state.ErrNoTurn) {
			t.Errorf("error is %v, want ErrNoTurn", err)
		}
	}
}

// TestAChangedPolicyCountsForThoseAlreadySilent.
func TestAChangedPolicyCountsForThoseAlreadySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: -1}, policy.Rule{Name: "idle", After: 7 * 24 * time.Hour, Do: policy.Action{End: true, Say: farewell}})
		for i := range 150 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(time.Hour)
		rules, err := policy.New(ladder...)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.sessions.SetPolicy(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) < 90 || len(sent) > 101 {
			t.Errorf("in a second %d were told", len(sent))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) < 49 {
			t.Errorf("in the next second %d were told", len(sent))
		}
	})
}

// TestTheHookMayChangePostponeAndVeto, for 24 h after the rule fell due.
func TestTheHookMayChangePostponeAndVeto(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		hook func(n int64, f *middleware.Firing)
		want []string
	}{
		{"it changes what is said", func(_ int64, f *middleware.Firing) { f.Say = strings.ToUpper(f.Say) }, []string{"15m0s a: STILL THERE?", "30m0s a: GOODBYE."}},
		{"it has nothing said", func(_ int64, f *middleware.Firing) { f.Say = "" }, nil},
		{"it postpones once, and what comes after counts from there", func(n int64, f *middleware.Firing) {
			if n == 1 {
				f.Postpone(time.Hour)
			}
		}, []string{"1h15m0s a: Goodbye."}},
		{"it postpones for ever", func(_ int64, f *middleware.Firing) { f.Postpone(time.Hour) }, []string{"24h15m0s a: Goodbye."}},
		{"it vetoes the first", func(n int64, f *middleware.Firing) {
			if f.Steps[0].Line == "nudge" {
				f.Veto()
			}
		}, []string{"30m0s a: Goodbye."}},
		{"it panics", func(int64, *middleware.Firing) { panic("ouch") }, []string{"15m0s a: Still there?", "30m0s a: Goodbye."}},
		{"it hangs", func(int64, *middleware.Firing) { time.Sleep(time.Minute) }, []string{"15m5s a: Still there?", "30m5s a: Goodbye."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				var n atomic.Int64
				r := s.start(t, middleware.SessionsOptions{Before: func(_ context.Context, _ *bot.Turn, f *middleware.Firing) { test.hook(n.Add(1), f) }}, ladder...)
				r.say(t, "a")
				s.channel.take()
				time.Sleep(25 * time.Hour)
				expect(t, s.channel, test.want...)
				expectNone(t, s.store)
			})
		})
	}
}

// TestTheHookSeesTheStateThatIsAboutToBeCleared.
func TestTheHookSeesTheStateThatIsAboutToBeCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var r *replica
		var seen []int
		r = s.start(t, middleware.SessionsOptions{Before: func(ctx context.Context, _ *bot.Turn, f *middleware.Firing) {
			n, _, err := r.count.Get(ctx)
			if err != nil {
				t.Error(err)
			}
			seen = append(seen, n)
		}}, ladder[1])
		r.say(t, "a")
		r.say(t, "a")
		time.Sleep(2 * timeout)
		synctest.Wait()
		if fmt.Sprint(seen) != "[2]" {
			t.Errorf("the hook has seen %v", seen)
		}
	})
}

// Nobody is disturbed at night: what falls due between 22 and 8 o'clock waits.
func ExampleSessionsOptions_quietHours() {
	quiet := func(ctx context.Context, turn *bot.Turn, f *middleware.Firing) {
		now := time.Now()
		morning := time.Date(now.Year(), now.Month(), now.Day(), 8, 0, 0, 0, now.Location())
		switch hour := now.Hour(); {
		case hour >= 22:
			f.Postpone(time.Until(morning.AddDate(0, 0, 1)))
		case hour < 8:
			f.Postpone(time.Until(morning))
		}
	}
	conversation := state.NewConversation(state.NewMemory())
	middleware.NewSessions(conversation, policy.Idle(time.Hour), &middleware.SessionsOptions{Before: quiet})
	fmt.Println("ready")
	// Output: ready
}

// TestOfThreeReplicasNobodyRemindsTwice has all of them look at the same deadlines.
func TestOfThreeReplicasNobodyRemindsTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var replicas []*replica
		for range 3 {
			replicas = append(replicas, s.start(t, middleware.SessionsOptions{MessagesPerSecond: -1}, ladder...))
		}
		const users = 300
		for i := range users {
			replicas[i%3].say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		heard := make(map[string]int)
		for _, line := range s.channel.take() {
			_, text, _ := strings.Cut(line, " ")
			heard[text]++
		}
		if len(heard) != 2*users {
			t.Errorf("%d different messages were sent, want %d", len(heard), 2*users)
		}
		for text, n := range heard {
			if n > 1 {
				t.Errorf("%s was said %d times", text, n)
			}
		}
	})
}
