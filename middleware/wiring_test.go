package middleware_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// wantPanic checks that f panics with a sentence that has a text in it.
func wantPanic(t *testing.T, name, text string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "middleware: ") && !strings.HasPrefix(got, "state: ") || !strings.Contains(got, text) {
			t.Errorf("%s: it panics with %q, want %q", name, got, text)
		}
	}()
	f()
}

// TestT9WithoutAutoSaveOfItsScopeAroundItEveryTurnFails, because nothing that the
// Sessions record would be kept.
func TestT9WithoutAutoSaveOfItsScopeAroundItEveryTurnFails(t *testing.T) {
	storage := state.NewMemory()
	conversation, user := state.NewConversation(storage), state.NewUser(storage)
	twin := state.NewConversation(storage)
	expire := middleware.Expire(conversation, timeout, nil)
	for _, test := range []struct {
		name string
		mw   []bot.Middleware
		ok   bool
	}{
		{"around it", []bot.Middleware{middleware.AutoSave(user, conversation), expire}, true},
		{"around it, with another one between them", []bot.Middleware{middleware.AutoSave(conversation), middleware.AutoSave(user), expire}, true},
		{"none", []bot.Middleware{expire}, false},
		{"of other scopes", []bot.Middleware{middleware.AutoSave(user), expire}, false},
		{"of another scope of the same storage", []bot.Middleware{middleware.AutoSave(twin, user), expire}, false},
		{"inside of it", []bot.Middleware{expire, middleware.AutoSave(conversation)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapter := bot.NewAdapter(&base{}, test.mw...)
			for range 2 {
				handled := false
				err := adapter.Process(t.Context(), message("hi"), func(context.Context, *bot.Turn) error { handled = true; return nil })
				if test.ok && err != nil || !test.ok && (err == nil || !strings.Contains(err.Error(), "without AutoSave of its scope around it")) || handled != test.ok {
					t.Errorf("handled: %v, error: %v", handled, err)
				}
			}
		})
	}
}

func TestT9OptionsThatCannotWorkPanic(t *testing.T) {
	conversation := state.NewConversation(state.NewMemory())
	for name, o := range map[string]middleware.SessionsOptions{
		"at most once": {AtMostOnce: true},
		"a pace":       {MessagesPerSecond: 1},
		"a lateness":   {MaxLateness: time.Hour},
	} {
		wantPanic(t, name, "without Deadlines", func() { middleware.NewSessions(conversation, policy.Idle(timeout), &o) })
	}
	wantPanic(t, "deadlines that nobody starts", "use NewSessions", func() {
		middleware.Expire(conversation, timeout, &middleware.SessionsOptions{Deadlines: deadline.NewMemory()})
	})
	wantPanic(t, "no scope", "nil scope", func() { middleware.NewSessions(nil, policy.Idle(timeout), nil) })
}

func TestT9TwoSessionsOfOnePropertyOfAScopePanic(t *testing.T) {
	storage := state.NewMemory()
	conversation, private := state.NewConversation(storage), state.NewPrivateConversation(storage)
	middleware.NewSessions(conversation, policy.Idle(timeout), &middleware.SessionsOptions{Deadlines: deadline.NewMemory()})
	middleware.NewSessions(private, policy.Idle(timeout), &middleware.SessionsOptions{Deadlines: deadline.NewMemory()})
	middleware.NewSessions(state.NewConversation(storage), policy.Idle(timeout), nil) // of another bot
	wantPanic(t, "the same again", "bookkeeping already", func() { middleware.NewSessions(conversation, policy.Idle(timeout), nil) })
	wantPanic(t, "with another property", "bookkeeping already", func() {
		middleware.NewSessions(conversation, policy.Idle(timeout), &middleware.SessionsOptions{Property: "other", Deadlines: deadline.NewMemory()})
	})
}

func TestT9AStartThatCannotWorkPanics(t *testing.T) {
	storage := state.NewMemory()
	wired := func() (*middleware.Sessions, *bot.Adapter) {
		conversation := state.NewConversation(storage)
		s := middleware.NewSessions(conversation, policy.Idle(timeout), &middleware.SessionsOptions{Deadlines: deadline.NewMemory()})
		t.Cleanup(func() { s.Close(context.Background()) })
		return s, bot.NewAdapter(&base{}, middleware.AutoSave(conversation), s.Middleware)
	}
	s, adapter := wired()
	_, other := wired()
	wantPanic(t, "nil", "nil adapter", func() { s.Start(nil) })
	if err := adapter.Process(t.Context(), message("hi"), silent); err != nil {
		t.Fatal(err)
	}
	wantPanic(t, "with the adapter of others", "another adapter", func() { s.Start(other) })
	s.Start(adapter)
	wantPanic(t, "twice", "twice", func() { s.Start(adapter) })

	s, adapter = wired()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantPanic(t, "after Close", "after Close", func() { s.Start(adapter) })

	alone := middleware.NewSessions(state.NewConversation(storage), policy.Idle(timeout), nil)
	wantPanic(t, "around nothing", "before its Middleware", func() { alone.Start(adapter) })
}

// TestT9InAnotherAdapterThanTheStartedOneEveryTurnFails: its users would be told
// through a channel that does not know them.
func TestT9InAnotherAdapterThanTheStartedOneEveryTurnFails(t *testing.T) {
	conversation := state.NewConversation(state.NewMemory())
	sessions := middleware.NewSessions(conversation, policy.Idle(timeout), &middleware.SessionsOptions{Deadlines: deadline.NewMemory()})
	adapter := bot.NewAdapter(&base{}, middleware.AutoSave(conversation), sessions.Middleware)
	sessions.Start(bot.NewAdapter(&base{}))
	defer sessions.Close(context.Background())
	for range 2 {
		if err := adapter.Process(t.Context(), message("hi"), silent); err == nil || !strings.Contains(err.Error(), "another adapter than the one it was started with") {
			t.Errorf("error is %v", err)
		}
	}
	// Without deadlines, nothing has to agree.
	conversation = state.NewConversation(state.NewMemory())
	expire := middleware.Expire(conversation, timeout, nil)
	for range 2 {
		if err := bot.NewAdapter(&base{}, middleware.AutoSave(conversation), expire).Process(t.Context(), message("hi"), silent); err != nil {
			t.Error(err)
		}
	}
}

// logged returns the adapter's log.
func logged(adapter *bot.Adapter) *bytes.Buffer {
	log := &bytes.Buffer{}
	adapter.Logger = slog.New(slog.NewTextHandler(&lockedWriter{w: log}, nil))
	return log
}

func TestT9DeadlinesThatNobodyLooksAtAreWarnedOfOnce(t *testing.T) {
	conversation := state.NewConversation(state.NewMemory())
	store := deadline.NewMemory()
	sessions := middleware.NewSessions(conversation, policy.Idle(timeout), &middleware.SessionsOptions{Deadlines: store})
	adapter := bot.NewAdapter(&base{}, middleware.AutoSave(conversation), sessions.Middleware)
	log := logged(adapter)
	for _, id := range []string{"a", "b"} {
		if err := adapter.Process(t.Context(), in(id, message("hi")), silent); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "the Sessions was not started") {
		t.Errorf("logged was\n%s", log)
	}
	sessions.Start(adapter) // which is not too late
	defer sessions.Close(context.Background())
	armed := 0
	for range store.All(t.Context()) {
		armed++
	}
	if armed != 2 {
		t.Errorf("%d deadlines are armed", armed)
	}
}

func TestT9ANameToKeepThatNoPropertyHasIsWarnedOf(t *testing.T) {
	for name, want := range map[string]int{"count": 0, "coumt": 1} {
		c := newCounter(state.NewMemory(), timeout, &middleware.SessionsOptions{Keep: []string{name}})
		log := logged(c.adapter)
		c.say(t, "a", "a: 1 here, 1 in all")
		c.say(t, "b", "b: 2 here, 2 in all")
		if logs := log.String(); strings.Count(logs, "Keep has a name that no property of the scope has") != want || want == 1 && !strings.Contains(logs, "coumt") {
			t.Errorf("of %s, logged was\n%s", name, logs)
		}
	}
}

func TestSessionsWithoutDeadlinesStartAndCloseToo(t *testing.T) {
	conversation := state.NewConversation(state.NewMemory())
	sessions := middleware.NewSessions(conversation, policy.Idle(timeout), nil)
	adapter := bot.NewAdapter(&base{}, middleware.AutoSave(conversation), sessions.Middleware)
	sessions.Start(adapter)
	for range 2 {
		if err := sessions.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestT9AProactiveTurnThatDoesNotComeThroughIsParked, with a sentence.
func TestT9AProactiveTurnThatDoesNotComeThroughIsParked(t *testing.T) {
	t.Parallel()
	onlyMessages := func(next bot.Handler) bot.Handler {
		return func(ctx context.Context, turn *bot.Turn) error {
			if turn.Activity.Type != schema.Message {
				return nil
			}
			return next(ctx, turn)
		}
	}
	for _, test := range []struct {
		name          string
		outer, inner  []bot.Middleware
		otherKeys     bool // than those that the deadlines were armed with
		want          string
		cleared, told bool
	}{
		{"it comes through", nil, nil, false, "", true, true},
		{"a middleware before the Sessions lets only messages through", []bot.Middleware{onlyMessages}, nil, false, "did not come through its Sessions", false, false},
		{"a middleware behind the Sessions lets only messages through", nil, []bot.Middleware{onlyMessages}, false, "", true, true},
		{"the keys of the state have another form now", nil, nil, true, "the state of another conversation", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				storage, store := state.NewMemory(), deadline.NewMemory()
				channel := &base{}
				start := func(keys state.KeyForm, outer, inner []bot.Middleware) (*middleware.Sessions, *bot.Adapter, *bytes.Buffer) {
					conversation := state.NewConversation(storage)
					conversation.KeyForm = keys
					rules, err := policy.New(policy.Rule{Name: "idle", After: timeout, Do: policy.Action{End: true, Say: farewell}})
					if err != nil {
						t.Fatal(err)
					}
					sessions := middleware.NewSessions(conversation, rules, &middleware.SessionsOptions{Deadlines: store})
					adapter := bot.NewAdapter(channel, slices.Concat([]bot.Middleware{middleware.AutoSave(conversation)}, outer, []bot.Middleware{sessions.Middleware}, inner)...)
					log := logged(adapter)
					sessions.Start(adapter)
					return sessions, adapter, log
				}
				sessions, adapter, _ := start(state.DotNet, nil, nil)
				if err := adapter.Process(t.Context(), message("hi"), silent); err != nil {
					t.Fatal(err)
				}
				if err := sessions.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				keys := state.DotNet
				if test.otherKeys {
					keys = state.JavaScript
				}
				sessions, _, log := start(keys, test.outer, test.inner)
				defer sessions.Close(context.Background())
				before := stored(t, storage)
				time.Sleep(timeout + 8*time.Hour)
				synctest.Wait()
				if after := stored(t, storage); (before != after) != test.cleared {
					t.Errorf("stored was %s, and is %s", before, after)
				}
				if told := len(channel.texts()) > 0; told != test.told {
					t.Errorf("told: %v, want %v", told, test.told)
				}
				parked := ""
				for e := range store.All(t.Context()) {
					parked += e.Parked
				}
				if (parked == "") != (test.want == "") || !strings.Contains(parked, test.want) || !strings.Contains(log.String(), test.want) {
					t.Errorf("parked is %q, logged was\n%s", parked, log)
				}
			})
		})
	}
}

// stored returns the state of the conversation c1.
func stored(t *testing.T, storage state.Storage) string {
	t.Helper()
	items, err := storage.Read(t.Context(), []string{"test/conversations/c1"})
	if err != nil {
		t.Fatal(err)
	}
	return string(items["test/conversations/c1"].Value)
}
