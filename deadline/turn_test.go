package deadline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// process runs a turn whose handler is h.
func (r *replica) process(t *testing.T, conversation string, h bot.Handler) error {
	return r.adapter.Process(t.Context(), schema.Activity{
		Type: schema.Message, Text: "hi", ChannelID: "test", ServiceURL: "https://test/",
		Conversation: schema.ConversationAccount{ID: conversation}, From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"},
	}, h)
}

// breakable is a storage that can be away.
func breakable(storage state.Storage) (*statetest.Faults, *atomic.Bool) {
	away := new(atomic.Bool)
	return &statetest.Faults{Storage: storage, Before: func(context.Context, statetest.Call) error {
		if away.Load() {
			return errors.New("away")
		}
		return nil
	}}, away
}

// TestD3AReferenceWithoutTheTokenOfTheAppIsNotSentTo: somebody may have planted it
// while the bot let in anybody, and would be sent the token. It gets no turn either.
func TestD3AReferenceWithoutTheTokenOfTheAppIsNotSentTo(t *testing.T) {
	for _, test := range []struct {
		name       string
		armed, now string // the app
		told       bool
	}{
		{"without credentials, all are told", "", "", true},
		{"with credentials, what came without is not", "", "app", false},
		{"what came with a token of the app is told", "app", "app", true},
		{"what came with one of another app is not", "other", "app", false},
		{"without credentials no token can get lost", "app", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				s.channel.app = test.armed
				first := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
				first.say(t, "a")
				if err := first.runner.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				faults := &statetest.Faults{Storage: s.storage}
				s.storage, s.channel = faults, &channel{begin: s.channel.begin, app: test.now}
				second := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
				foreign, err := second.runner.Foreign(t.Context())
				if want := map[bool]int{false: 1}[test.told]; err != nil || foreign != want {
					t.Errorf("counted are %d, want %d: %v", foreign, want, err)
				}
				time.Sleep(timeout)
				if test.told {
					expect(t, s.channel, "30m0s a: Goodbye.")
					expectNone(t, s.store)
					return
				}
				expect(t, s.channel)
				if n := faults.Count(statetest.Read) + faults.Count(statetest.Write); n > 0 {
					t.Errorf("it has had a turn, with %d calls of the storage", n)
				}
				for e := range s.store.All(t.Context()) {
					if !strings.Contains(e.Parked, "did not come with a token of this app") {
						t.Errorf("left is %+v", e)
					}
				}
				if logs := second.log.String(); strings.Count(logs, "\n") != 1 || !strings.Contains(logs, "a deadline is parked") || !strings.Contains(logs, "did not come with a token of this app") {
					t.Errorf("logged was\n%s", logs)
				}

				// Who writes with a token is told again.
				second.say(t, "a")
				s.channel.take()
				time.Sleep(timeout)
				expect(t, s.channel, "1h0m0s a: Goodbye.")
			})
		})
	}
}

// TestOnlyTheConversationOfTheDeadlinesIsAskedAbout, and no other scope that
// expires too.
func TestOnlyTheConversationOfTheDeadlinesIsAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		conversation, private := state.NewConversation(s.storage), state.NewPrivateConversation(s.storage)
		deadlines := deadline.New(s.store, conversation)
		r := &replica{channel: s.channel, adapter: bot.NewAdapter(s.channel, middleware.AutoSave(conversation, private),
			middleware.Expire(conversation, 2*timeout, &middleware.ExpireOptions{Arm: deadlines.Arm}),
			middleware.Expire(private, timeout, &middleware.ExpireOptions{Notice: middleware.NoticeText("")}))}
		runner := deadline.NewRunner(deadlines, r.adapter, &deadline.Options{Message: deadline.Text(farewell), Logger: slog.New(slog.DiscardHandler)})
		defer runner.Close(context.Background())
		nothing := func(context.Context, *bot.Turn) error { return nil }
		for range 2 {
			if err := r.process(t, "a", nothing); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Minute)
		}
		time.Sleep(24 * time.Hour)
		expect(t, s.channel, "1h20m0s a: Goodbye.")
	})
}

// TestAHandlerMayWriteElsewhere, to a conversation that is stale too.
func TestAHandlerMayWriteElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, deadline.Options{})
		first.say(t, "user")
		time.Sleep(time.Second)
		first.say(t, "agent")
		if err := first.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.channel.take()
		time.Sleep(timeout)
		agent := schema.ConversationReference{ChannelID: "test", ServiceURL: "https://test/", Conversation: schema.ConversationAccount{ID: "agent"}, User: schema.ChannelAccount{ID: "u1"}}
		r := s.start(t, deadline.Options{Concurrency: 1, Message: deadline.Text(farewell), Handler: func(ctx context.Context, turn *bot.Turn, _ middleware.Expiry) error {
			if _, ok := middleware.Expired(turn); !ok {
				t.Error("the turn of an expiry says that there was none")
			}
			if turn.Activity.Conversation.ID == "agent" {
				return nil
			}
			return first.adapter.Continue(ctx, agent, func(ctx context.Context, turn *bot.Turn) error {
				_, err := turn.SendText(ctx, "please take over")
				return err
			})
		}})
		expect(t, s.channel, "30m1s user: Goodbye.", "30m1s agent: please take over", "30m1s agent: Goodbye.")
		if r.log.Len() > 0 {
			t.Errorf("logged was\n%s", r.log)
		}
	})
}

// TestWhoWritesIsArmedAnew, whatever has become of a deadline that came due.
func TestWhoWritesIsArmedAnew(t *testing.T) {
	for _, test := range []struct {
		name    string
		options deadline.Options
		away    bool // the storage is, while the deadline comes due
	}{
		{"parked", deadline.Options{Message: deadline.Text(farewell), MaxAttempts: 1}, true},
		{"moved", deadline.Options{Message: deadline.Text(farewell)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				faults, away := breakable(s.storage)
				s.storage = faults
				r := s.start(t, test.options)
				r.say(t, "a")
				time.Sleep(29 * time.Minute)
				r.say(t, "a")
				away.Store(test.away)
				time.Sleep(2 * time.Minute)
				away.Store(false)
				r.say(t, "a")
				s.channel.take()
				time.Sleep(24 * time.Hour)
				expect(t, s.channel, "1h1m0s a: Goodbye.")
			})
		})
	}
}

// TestAFirstTurnThatTakesLongIsArmed, though another process finds no state when
// the deadline comes due.
func TestAFirstTurnThatTakesLongIsArmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.timeout = 30 * time.Second
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.hold = 45 * time.Second
		r.say(t, "a")
		time.Sleep(time.Hour)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 2 || !strings.HasSuffix(sent[1], farewell) {
			t.Errorf("sent were %q", sent)
		}
		expectNone(t, s.store)
	})
}

func TestATurnThatFailsPutsNothingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.say(t, "a")
		time.Sleep(20 * time.Minute)
		r.say(t, "a")
		time.Sleep(21 * time.Minute) // the deadline was moved to 50 min
		if r.process(t, "a", func(context.Context, *bot.Turn) error { return errors.New("fails") }) == nil {
			t.Error("the turn has not failed")
		}
		s.channel.take()
		time.Sleep(time.Hour)
		expect(t, s.channel, "50m0s a: Goodbye.")
	})
}

// TestWhoWritesDoesNotWaitForThePace of farewells that were not decided yet.
func TestWhoWritesDoesNotWaitForThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), MessagesPerSecond: 1})
		for i := range 5 {
			r.say(t, fmt.Sprint(i))
		}
		time.Sleep(timeout + time.Second/2)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 6 {
			t.Errorf("sent were %q", sent)
		}
		begin := time.Now()
		for i := range 5 {
			r.say(t, fmt.Sprint(i))
		}
		if d := time.Since(begin); d > 0 {
			t.Errorf("answers took %v", d)
		}
		s.channel.take()
		time.Sleep(time.Minute)
		expect(t, s.channel)
	})
}

func TestRedeliveriesKeepThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var mu sync.Mutex
		perSecond := make(map[time.Duration]int)
		s.channel.fail = func(a schema.Activity) error {
			if a.Text != farewell {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			perSecond[time.Since(s.channel.begin).Truncate(time.Second)]++
			return errors.New("status 429")
		}
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), MessagesPerSecond: 10, Redeliver: true})
		for i := range 200 {
			r.say(t, fmt.Sprint(i))
		}
		time.Sleep(timeout + 5*time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for second, n := range perSecond {
			if n > 11 {
				t.Errorf("at %v, %d were sent", second, n)
			}
		}
	})
}

// TestKeepDoesNotTellTwice: the last user input is forgotten when the user is
// told, although it is to be kept.
func TestKeepDoesNotTellTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.store = &countingStore{Store: s.store, fail: func(verb string) error {
			if verb == "finish" && time.Since(s.channel.begin) < time.Hour {
				return errors.New("away")
			}
			return nil
		}}
		conversation := state.NewConversation(s.storage)
		deadlines := deadline.New(s.store, conversation)
		r := &replica{channel: s.channel, adapter: bot.NewAdapter(s.channel, middleware.AutoSave(conversation),
			middleware.Expire(conversation, timeout, &middleware.ExpireOptions{Arm: deadlines.Arm, Keep: []string{"lastAccessed"}}))}
		runner := deadline.NewRunner(deadlines, r.adapter, &deadline.Options{Message: deadline.Text(farewell), Logger: slog.New(slog.DiscardHandler)})
		defer runner.Close(context.Background())
		if err := r.process(t, "a", func(context.Context, *bot.Turn) error { return nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * timeout)
		expect(t, s.channel, "30m0s a: Goodbye.")
	})
}

// TestSlowTurnsHoldUpOnlyThemselves, as long as a slot is free.
func TestSlowTurnsHoldUpOnlyThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.turnTimeout = -1
		release := make(chan struct{})
		r := s.start(t, deadline.Options{Concurrency: 8, Message: deadline.Text(farewell), MessagesPerSecond: -1, Handler: func(_ context.Context, turn *bot.Turn, _ middleware.Expiry) error {
			if strings.HasPrefix(turn.Activity.Conversation.ID, "slow") {
				<-release
			}
			return nil
		}})
		for i := range 7 {
			r.say(t, fmt.Sprint("slow", i))
		}
		time.Sleep(time.Second)
		for i := range 20 {
			r.say(t, fmt.Sprint("fast", i))
		}
		s.channel.take()
		time.Sleep(timeout + 10*time.Second)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 27 {
			t.Errorf("told were %d", len(sent))
		}
		close(release)
	})
}

// TestAnOutageParksNothing: five hours of it are survived.
func TestAnOutageParksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		faults, away := breakable(s.storage)
		s.storage = faults
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		for i := range 50 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout - time.Minute)
		away.Store(true)
		time.Sleep(4 * time.Hour)
		away.Store(false)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 50 {
			t.Errorf("told were %d", len(sent))
		}
	})
}

func TestLogsDoNotNameConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		faults, away := breakable(s.storage)
		s.storage = faults
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), MaxAttempts: 2})
		r.say(t, `secret"id`)
		away.Store(true)
		time.Sleep(timeout + time.Minute)
		synctest.Wait()
		if logs := r.log.String(); !strings.Contains(logs, "a deadline is parked") || !strings.Contains(logs, "away") || strings.Contains(logs, "secret") {
			t.Errorf("logged was\n%s", logs)
		}
	})
}

// TestAStoreThatHangsHoldsNoUserUp for longer than two seconds, and nobody else at all.
func TestAStoreThatHangsHoldsNoUserUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.store = hangingStore{s.store}
		r := s.start(t, deadline.Options{})
		r.say(t, "a")
		r.say(t, "b")
		expect(t, s.channel, "2s a: message 1", "2s b: message 1")
		if !strings.Contains(r.log.String(), "deadline exceeded") || !strings.Contains(r.log.String(), "away a moment ago") {
			t.Errorf("logged was\n%s", r.log)
		}
	})
}

// TestAConversationThatCannotBeArmedIsInNobodysWay.
func TestAConversationThatCannotBeArmedIsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.store = refusingStore{s.store}
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.say(t, "refused")
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout)
		expect(t, s.channel, "30m0s a: Goodbye.")
	})
}

type refusingStore struct{ deadline.Store }

func (s refusingStore) Arm(ctx context.Context, d deadline.Deadline) error {
	if d.Key == "test/conversations/refused" {
		return errors.New("key too large")
	}
	return s.Store.Arm(ctx, d)
}

type hangingStore struct{ deadline.Store }

func (hangingStore) Arm(ctx context.Context, _ deadline.Deadline) error {
	<-ctx.Done()
	return ctx.Err()
}
