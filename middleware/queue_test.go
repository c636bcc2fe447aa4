package middleware_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
	"github.com/botlapse/botlapse/state/statetest"
)

// openBolt opens a state file until the end of the test.
func openBolt(t testing.TB, path string) *bolt.Storage {
	t.Helper()
	file, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// openCosmos returns what one process has of an account, in which it makes what is
// missing.
func openCosmos(t testing.TB, server *cosmostest.Server) (state.Storage, func(queue string) deadline.Store) {
	t.Helper()
	return openCosmosThrough(t, server, server)
}

// openCosmosThrough has the requests made by a transport of the server's.
func openCosmosThrough(t testing.TB, server *cosmostest.Server, transport interface {
	Do(*http.Request) (*http.Response, error)
}) (state.Storage, func(queue string) deadline.Store) {
	t.Helper()
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	initializer := &cosmos.Initializer{Account: account, Database: "bot", Conversation: "conversations", User: "users", Deadlines: "deadlines", TimeToLive: -1, CreateDatabase: true}
	if err := initializer.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cosmos.New(account, "bot", "conversations", nil), func(queue string) deadline.Store {
		return cosmos.NewDeadlines(account, "bot", "deadlines", &cosmos.DeadlinesOptions{Queue: queue})
	}
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
		bubble(t, test.name, func(t *testing.T) {
			s := newShared()
			s.channel.app = test.armed
			first := s.start(t, middleware.SessionsOptions{})
			first.say(t, "a")
			if err := first.sessions.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			faults := &statetest.Faults{Storage: s.storage}
			s.storage, s.channel = faults, &channel{begin: s.channel.begin, app: test.now}
			second := s.start(t, middleware.SessionsOptions{})
			foreign, err := second.sessions.Foreign(t.Context())
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
			const sentence = "did not come with a token of this app"
			for e := range s.store.All(t.Context()) {
				if !strings.Contains(e.Parked, sentence) {
					t.Errorf("left is %+v", e)
				}
			}
			if logs := second.log.String(); strings.Count(logs, "\n") != 1 || !strings.Contains(logs, "a deadline is parked") || !strings.Contains(logs, sentence) {
				t.Errorf("logged was\n%s", logs)
			}
		})
	}
}

// TestD3WhoWritesWithATokenIsToldAgain, though the deadline that somebody has
// planted was not due yet.
func TestD3WhoWritesWithATokenIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, middleware.SessionsOptions{})
		first.say(t, "a")
		if err := first.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.channel = &channel{begin: s.channel.begin, app: "app"}
		second := s.start(t, middleware.SessionsOptions{})
		time.Sleep(time.Minute)
		second.say(t, "a")
		s.channel.take()
		time.Sleep(timeout)
		expect(t, s.channel, "31m0s a: Goodbye.")
	})
}

// TestPB6BotsAndScopesShareOneStore, each with a queue of its own: of two bots, one
// has conversations expire, and members of groups each on their own.
func TestPB6BotsAndScopesShareOneStore(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) (state.Storage, func(string) deadline.Store){
		"bolt": func(t *testing.T) (state.Storage, func(string) deadline.Store) {
			file := openBolt(t, filepath.Join(t.TempDir(), "state.db"))
			return file, func(queue string) deadline.Store { return file.Deadlines(queue) }
		},
		"cosmos": func(t *testing.T) (state.Storage, func(string) deadline.Store) {
			return openCosmos(t, cosmostest.New())
		},
	} {
		bubble(t, name, func(t *testing.T) {
			storage, queue := open(t)
			c := &channel{begin: time.Now()}
			sessions := func(name, text string, timeout time.Duration, scope *state.Scope) *middleware.Sessions {
				rules, err := policy.New(policy.Rule{Name: "idle", After: timeout, Do: policy.Action{End: true, Say: text}})
				if err != nil {
					t.Fatal(err)
				}
				return middleware.NewSessions(scope, rules, &middleware.SessionsOptions{Deadlines: queue(name)})
			}
			start := func(adapter *bot.Adapter, all ...*middleware.Sessions) {
				for _, s := range all {
					s.Start(adapter)
					t.Cleanup(func() { s.Close(context.Background()) })
				}
			}
			conversation, private, elsewhere := state.NewConversation(storage), state.NewPrivateConversation(storage), state.NewConversation(storage)
			ofAll, ofOne := sessions("one", "Goodbye, all.", timeout, conversation), sessions("one-private", "Goodbye, one of you.", timeout+30*time.Second, private)
			one := bot.NewAdapter(c, middleware.AutoSave(conversation, private), ofAll.Middleware, ofOne.Middleware)
			start(one, ofAll, ofOne)
			ofOther := sessions("other", "Goodbye from the other bot.", timeout, elsewhere)
			other := bot.NewAdapter(c, middleware.AutoSave(elsewhere), ofOther.Middleware)
			start(other, ofOther)

			say := func(adapter *bot.Adapter, conversation, user string) {
				t.Helper()
				a := in(conversation, message("hi"))
				a.From.ID = user
				if err := adapter.Process(t.Context(), a, silent); err != nil {
					t.Fatal(err)
				}
			}
			say(one, "group", "u1")
			time.Sleep(time.Minute)
			say(one, "group", "u2")
			time.Sleep(time.Minute)
			say(other, "elsewhere", "u1")
			time.Sleep(2 * timeout)
			synctest.Wait()
			var said []string
			for _, line := range c.take() {
				_, text, _ := strings.Cut(line, " ")
				said = append(said, text)
			}
			if want := "[group: Goodbye, one of you. group: Goodbye, all. group: Goodbye, one of you. elsewhere: Goodbye from the other bot.]"; fmt.Sprint(said) != want {
				t.Errorf("said was %v, want %s", said, want)
			}
			for _, name := range []string{"one", "one-private", "other"} {
				expectNone(t, queue(name))
			}
		})
	}
}

// TestDeadlinesSurviveARestart keeps state and deadlines in one file. All that is
// overdue is told.
func TestDeadlinesSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		c := &channel{begin: time.Now()}
		run := func(f func(r *replica)) {
			file, err := bolt.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			r := (&shared{storage: file, store: file.Deadlines("bot"), channel: c}).start(t, middleware.SessionsOptions{})
			f(r)
			if err := r.sessions.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		run(func(r *replica) {
			for i := range 10 {
				r.say(t, fmt.Sprint(i))
			}
		})
		c.take()
		time.Sleep(timeout)
		run(func(*replica) {
			time.Sleep(time.Minute)
			synctest.Wait()
		})
		told := make(map[string]bool)
		for _, line := range c.take() {
			_, text, _ := strings.Cut(line, " ")
			if told[text] || !strings.HasSuffix(text, ": "+farewell) {
				t.Errorf("sent was %s", line)
			}
			told[text] = true
		}
		if len(told) != 10 {
			t.Errorf("told were %d", len(told))
		}
	})
}

// TestWhoWaitsForThePaceIsLeftToOthersByClose: they are told at their time.
func TestWhoWaitsForThePaceIsLeftToOthersByClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: 2})
		for i := range 20 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 1 {
			t.Errorf("sent were %q", sent)
		}
		begin := time.Now()
		if err := r.sessions.Close(t.Context()); err != nil || time.Since(begin) > 0 {
			t.Errorf("closed after %v: %v", time.Since(begin), err)
		}
		s.start(t, middleware.SessionsOptions{MessagesPerSecond: -1})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 19 {
			t.Errorf("sent were %q", sent)
		}
	})
}
