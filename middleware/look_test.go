package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// silently is a rule that ends a session without a word to who is away.
var silently = policy.Rule{Name: "idle", After: timeout, Do: policy.Action{End: true, OnReturn: notice}}

func TestASilentExpiryLeavesTheNoticeForTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{}, silently)
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout)
		synctest.Wait()
		items, err := s.storage.Read(t.Context(), []string{"test/conversations/a"})
		if err != nil || strings.Contains(string(items["test/conversations/a"].Value), "count") {
			t.Errorf("stored is %s: %v", items["test/conversations/a"].Value, err)
		}
		time.Sleep(time.Hour)
		r.say(t, "a")
		expect(t, s.channel, "1h30m0s a: "+notice, "1h30m0s a: message 1")
	})
}

// P9, P26: two replicas and a claim that cannot be finished; told once.
func TestP9P26TheUserIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var broken atomic.Bool
		broken.Store(true)
		s.store = brokenStore{s.store, func(verb, _ string) error {
			if verb == "settle" && broken.Load() {
				return errors.New("away")
			}
			return nil
		}}
		var replicas []*replica
		for range 3 {
			replicas = append(replicas, s.start(t, middleware.SessionsOptions{}))
		}
		for i := range 20 {
			replicas[i%3].say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout + 10*time.Minute) // in which many leases end
		broken.Store(false)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 20 {
			t.Errorf("sent were %q", sent)
		}
		expectNone(t, s.store)
	})
}

// P8: a message that is stored first wins.
func TestP8AMessageThatCommitsFirstWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		other := s.start(t, middleware.SessionsOptions{})
		other.say(t, "a")
		s.channel.take()
		// Between the runner's read and its write, another replica's turn saves.
		memory := s.storage
		var once sync.Once
		s.storage = &statetest.Faults{Storage: memory, Before: func(ctx context.Context, c statetest.Call) error {
			if c.Op == statetest.Write && time.Since(s.channel.begin) >= timeout {
				once.Do(func() {
					conversation := state.NewConversation(memory)
					last := state.NewProperty[time.Time](conversation, "lastAccessed")
					ctx := state.NewContext(context.Background(), state.IDs{Channel: "test", Conversation: "a", User: "u1"})
					if err := errors.Join(last.Set(ctx, time.Now()), conversation.Save(ctx)); err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		}}
		if err := other.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.start(t, middleware.SessionsOptions{})
		time.Sleep(timeout)
		expect(t, s.channel)
		time.Sleep(timeout)
		expect(t, s.channel, "1h0m0s a: Goodbye.")
	})
}

// P28: never while a turn of the conversation is running.
func TestP28ATurnThatTakesLongIsNotInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.turnTimeout = -1
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, "a")
		time.Sleep(timeout - time.Second)
		r.hold = 10 * time.Minute
		r.say(t, "a")
		expect(t, s.channel, "0s a: message 1", "39m59s a: message 2")
		time.Sleep(timeout)
		expect(t, s.channel, "59m59s a: Goodbye.")
	})
}

// P6, P7, P-B11: conversations that fail, panic or end their goroutine delay
// nobody, and what fails for hours is parked.
func TestP6P7PoisonDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var poisoned atomic.Bool
		s.storage = &statetest.Faults{Storage: s.storage, Before: func(_ context.Context, c statetest.Call) error {
			if poisoned.Load() && slices.Contains(c.Keys, "test/conversations/poison") {
				return errors.New("the storage cannot read this")
			}
			return nil
		}}
		r := s.start(t, middleware.SessionsOptions{OnEnd: func(_ context.Context, turn *bot.Turn, _ middleware.Expiry) {
			switch turn.Activity.Conversation.ID {
			case "panic":
				panic("ouch")
			case "gone":
				runtime.Goexit()
			}
		}})
		for _, id := range []string{"poison", "panic", "gone", "a", "b", "c"} {
			r.say(t, id)
		}
		s.channel.take()
		poisoned.Store(true)
		time.Sleep(timeout)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 3 {
			t.Errorf("sent were %q", sent)
		}
		time.Sleep(8 * time.Hour)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 2 {
			t.Errorf("to those whose turns had ended, sent were %q", sent)
		}
		parked := ""
		for e := range s.store.All(t.Context()) {
			parked += e.Key + " " + e.Parked
		}
		if !strings.HasPrefix(parked, "test/conversations/poison ") || !strings.Contains(parked, "cannot read this") {
			t.Errorf("parked is %s", parked)
		}
		if logs := r.log.String(); !strings.Contains(logs, "a deadline is parked") || strings.Contains(logs, "poison") {
			t.Errorf("the log is\n%s", logs)
		}
		poisoned.Store(false)
		r.say(t, "poison") // which arms it anew
		s.channel.take()
		time.Sleep(timeout)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 1 || !strings.HasSuffix(sent[0], "poison: Goodbye.") {
			t.Errorf("after it was mended, sent were %q", sent)
		}
	})
}

// A sendError is a bot.SendError.
type sendError struct{ permanent, refused bool }

func (e sendError) Error() string {
	return fmt.Sprintf("permanent %v, refused %v", e.permanent, e.refused)
}
func (e sendError) Permanent() bool { return e.permanent }
func (e sendError) Refused() bool   { return e.refused }

// T3, P38, P-B10: whoever is away when the farewell is sent is told it later, or
// told on return, but never nothing.
func TestT3P38AChannelThatFailsLeavesNobodyUntold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		err      error
		once     bool
		away     time.Duration // how long the channel is
		sent     []string      // by itself
		onReturn bool          // whether the notice is told on return, 12 h later
	}{
		{"a channel that is away for a moment", sendError{refused: true}, false, 8 * time.Second, []string{"30m16s a: Goodbye."}, false},
		{"at most once, too, because it has refused", sendError{refused: true}, true, 8 * time.Second, []string{"30m16s a: Goodbye."}, false},
		{"an answer that is lost", errors.New("lost"), false, 8 * time.Second, []string{"30m16s a: Goodbye."}, false},
		{"at most once, an answer that is lost", errors.New("lost"), true, 8 * time.Second, nil, true},
		{"a channel that refuses for good", sendError{permanent: true, refused: true}, false, 8 * time.Second, nil, true},
		{"a channel that is away for longer than MaxLateness", sendError{refused: true}, false, 2 * time.Hour, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				back := time.Now().Add(timeout + test.away)
				s.channel.fail = func(a schema.Activity) error {
					if a.Text == farewell && time.Now().Before(back) {
						return test.err
					}
					return nil
				}
				r := s.start(t, middleware.SessionsOptions{AtMostOnce: test.once, MaxLateness: time.Hour})
				r.say(t, "a")
				s.channel.take()
				time.Sleep(12 * time.Hour)
				synctest.Wait()
				sent := s.channel.take()
				if len(sent) != len(test.sent) {
					t.Errorf("sent were %q, want %q", sent, test.sent)
				}
				expectNone(t, s.store)
				r.say(t, "a")
				want := []string{"12h0m0s a: message 1"}
				if test.onReturn {
					want = append([]string{"12h0m0s a: " + notice}, want...)
				}
				expect(t, s.channel, want...)
			})
		})
	}
}

// P22: what comes due while nobody runs is done afterwards.
func TestP22ARestartCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, middleware.SessionsOptions{})
		for _, id := range []string{"c", "a", "b"} {
			first.say(t, id)
			time.Sleep(time.Second)
		}
		s.channel.take()
		if err := first.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		s.start(t, middleware.SessionsOptions{MessagesPerSecond: -1})
		synctest.Wait()
		sent := s.channel.take()
		slices.Sort(sent)
		if want := []string{"24h0m3s a: Goodbye.", "24h0m3s b: Goodbye.", "24h0m3s c: Goodbye."}; !slices.Equal(sent, want) {
			t.Errorf("sent were %q, want %q", sent, want)
		}
	})
}

// TestWhoIsTooLateIsNotTold counts from when the conversation was due, not from
// its deadline, which may be older.
func TestWhoIsTooLateIsNotTold(t *testing.T) {
	for _, test := range []struct {
		name     string
		lateness time.Duration
		then     []string // what is sent when it is looked at
		when     []string // and when the user writes
	}{
		{"just in time is told", time.Hour, []string{farewell}, []string{"message 1"}},
		{"a moment later expires silently", time.Hour + 100, nil, []string{notice, "message 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				first := s.start(t, middleware.SessionsOptions{}, silently)
				first.say(t, "a")
				time.Sleep(timeout - time.Minute) // which leaves the deadline where it is
				first.say(t, "a")
				if err := first.sessions.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.channel.take()
				time.Sleep(timeout + test.lateness)
				second := s.start(t, middleware.SessionsOptions{MaxLateness: time.Hour})
				texts := func(want []string) {
					t.Helper()
					synctest.Wait()
					var got []string
					for _, line := range s.channel.take() {
						_, text, _ := strings.Cut(line, "a: ")
						got = append(got, text)
					}
					if !slices.Equal(got, want) {
						t.Errorf("sent were %q, want %q", got, want)
					}
				}
				texts(test.then)
				items, err := s.storage.Read(t.Context(), []string{"test/conversations/a"})
				if strings.Contains(string(items["test/conversations/a"].Value), "count") || err != nil {
					t.Errorf("stored is %s: %v", items["test/conversations/a"].Value, err)
				}
				expectNone(t, s.store)
				second.say(t, "a")
				texts(test.when)
				time.Sleep(timeout)
				texts([]string{farewell}) // it was armed anew
			})
		})
	}
}

func TestCloseWaitsForRunningTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.turnTimeout = -1
		s.channel.hang = func(ctx context.Context, a schema.Activity) error {
			switch {
			case a.Text != farewell:
			case a.Conversation.ID == "a":
				time.Sleep(time.Minute)
			default:
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, "a")
		time.Sleep(timeout)
		synctest.Wait()
		s.channel.take()
		if err := r.sessions.Close(t.Context()); err != nil {
			t.Error(err)
		}
		expect(t, s.channel, "31m0s a: Goodbye.")

		second := s.start(t, middleware.SessionsOptions{})
		second.say(t, "b")
		time.Sleep(timeout)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := second.sessions.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if err := second.sessions.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestAStoreThatIsAwayIsComeBackTo keeps the bot answering meanwhile.
func TestAStoreThatIsAwayIsComeBackTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var away atomic.Bool
		away.Store(true)
		s.store = brokenStore{s.store, func(string, string) error {
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}}
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, "a")
		expect(t, s.channel, "0s a: message 1")
		time.Sleep(time.Minute)
		away.Store(false)
		r.say(t, "a") // which was not armed
		s.channel.take()
		time.Sleep(timeout + time.Minute)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 1 {
			t.Errorf("sent were %q", sent)
		}
	})
}

// TestASlowTurnKeepsItsClaim beyond the lease.
func TestASlowTurnKeepsItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.turnTimeout = -1
		s.channel.fail = func(a schema.Activity) error {
			if a.Text == farewell {
				time.Sleep(10 * time.Minute)
			}
			return nil
		}
		r := s.start(t, middleware.SessionsOptions{})
		s.start(t, middleware.SessionsOptions{})
		r.say(t, "a")
		s.channel.take()
		time.Sleep(2 * time.Hour)
		expect(t, s.channel, "40m0s a: Goodbye.")
	})
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

// TestAnotherScopeThatExpiresTooIsLeftAlone by deadlines that are not its own.
func TestAnotherScopeThatExpiresTooIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		private := state.NewPrivateConversation(s.storage)
		quiet, err := policy.New(policy.Rule{Name: "idle", After: timeout, Do: policy.Action{End: true}})
		if err != nil {
			t.Fatal(err)
		}
		s.timeout = 2 * timeout
		r := s.startAround(t, middleware.SessionsOptions{}, []bot.Middleware{middleware.AutoSave(private), middleware.NewSessions(private, quiet, nil).Middleware})
		for range 2 {
			r.say(t, "a")
			time.Sleep(20 * time.Minute)
		}
		s.channel.take()
		time.Sleep(24 * time.Hour)
		expect(t, s.channel, "1h20m0s a: Goodbye.")
	})
}

// TestWhoWritesIsArmedAnew, whatever has become of a deadline that came due.
func TestWhoWritesIsArmedAnew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		away time.Duration // how long the storage is, from when the deadline comes due
	}{
		{"moved", 0},
		{"put off", 2 * time.Minute},
		{"parked", 8 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				faults, away := breakable(s.storage)
				s.storage = faults
				r := s.start(t, middleware.SessionsOptions{})
				r.say(t, "a")
				time.Sleep(29 * time.Minute)
				r.say(t, "a")
				away.Store(test.away > 0)
				time.Sleep(time.Minute + test.away)
				away.Store(false)
				s.channel.take()
				r.say(t, "a")
				begin := time.Since(s.channel.begin)
				synctest.Wait()
				s.channel.take()
				time.Sleep(24 * time.Hour)
				expect(t, s.channel, fmt.Sprintf("%v a: Goodbye.", begin+timeout))
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
		r := s.start(t, middleware.SessionsOptions{})
		s.start(t, middleware.SessionsOptions{})
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
		r := s.start(t, middleware.SessionsOptions{})
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
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: 1})
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
	t.Parallel()
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
			return sendError{refused: true}
		}
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: 10})
		for i := range 200 {
			r.say(t, fmt.Sprint(i))
		}
		time.Sleep(timeout + time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for second, n := range perSecond {
			if n > 11 {
				t.Errorf("at %v, %d were sent", second, n)
			}
		}
	})
}

// TestPA4WhatHangsHoldsUpNobodyElse: thousands of conversations of a channel that
// hangs, or of a partition of the storage that hangs, come due a moment before
// those of others, again and again.
func TestPA4WhatHangsHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]func(s *shared, hangs *atomic.Bool){
		"a channel": func(s *shared, hangs *atomic.Bool) {
			s.channel.hang = func(ctx context.Context, a schema.Activity) error {
				if hangs.Load() && strings.HasPrefix(a.Conversation.ID, "bad") {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
		},
		"a partition": func(s *shared, hangs *atomic.Bool) {
			s.storage = &statetest.Faults{Storage: s.storage, Before: func(ctx context.Context, call statetest.Call) error {
				if hangs.Load() && strings.Contains(call.Keys[0], "/bad") {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				var hangs atomic.Bool
				hang(s, &hangs)
				r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: -1})
				hanging := 3000
				if racing() {
					hanging = 600
				}
				for i := range hanging {
					r.sayOn(t, "badchannel", fmt.Sprint("bad", i))
				}
				hangs.Store(true)
				const healthy = 150
				for i := range healthy {
					time.Sleep(time.Second)
					r.say(t, fmt.Sprint(i))
				}
				s.channel.take()
				time.Sleep(timeout + 10*time.Second)
				synctest.Wait()
				var late []time.Duration
				for _, line := range s.channel.take() {
					var at, id string
					if _, err := fmt.Sscan(line, &at, &id); err != nil {
						t.Fatal(err)
					}
					told, err := time.ParseDuration(at)
					i, err2 := strconv.Atoi(strings.TrimSuffix(id, ":"))
					if err != nil || err2 != nil {
						t.Fatal(line)
					}
					late = append(late, told-timeout-time.Duration(i+1)*time.Second)
				}
				slices.Sort(late)
				if len(late) != healthy || late[0] < 0 || late[(healthy-1)*99/100] > time.Second {
					t.Errorf("%d were told, the last percent of them late by %v", len(late), late[(len(late)-1)*99/100:])
				}
			})
		})
	}
}

// TestAnOutageParksNothing: five hours of it are survived.
func TestAnOutageParksNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		faults, away := breakable(s.storage)
		s.storage = faults
		r := s.start(t, middleware.SessionsOptions{})
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
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		faults, away := breakable(s.storage)
		s.storage = faults
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, `secret"id`)
		away.Store(true)
		time.Sleep(timeout + 8*time.Hour)
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
		s.store = brokenStore{s.store, func(verb, _ string) error {
			if verb == "arm" {
				time.Sleep(10 * time.Second)
				return context.DeadlineExceeded
			}
			return nil
		}}
		r := s.start(t, middleware.SessionsOptions{}, silently)
		r.say(t, "a")
		r.say(t, "b")
		expect(t, s.channel, "0s a: message 1", "2s b: message 1")
		if strings.Count(r.log.String(), "the store takes long") != 2 || time.Since(s.channel.begin) > 3*time.Second {
			t.Errorf("logged was\n%s", r.log)
		}
	})
}

// TestAConversationThatCannotBeArmedIsInNobodysWay.
func TestAConversationThatCannotBeArmedIsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		s.store = brokenStore{s.store, func(verb, key string) error {
			if verb == "arm" && strings.HasSuffix(key, "refused") {
				return errors.New("key too large")
			}
			return nil
		}}
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, "refused")
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout)
		expect(t, s.channel, "30m0s a: Goodbye.")
	})
}

// P13: a burst is spread, and nothing is claimed that cannot be run.
func TestP13ABurstKeepsThePaceOfTheChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: 10})
		for i := range 300 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout)
		leased := 0
		for e := range s.store.All(t.Context()) {
			if !e.Leased.IsZero() {
				leased++
			}
		}
		if leased > 64 {
			t.Errorf("%d are claimed", leased)
		}
		for second, sum := 1, 0; second <= 30; second++ {
			time.Sleep(time.Second)
			synctest.Wait()
			n := len(s.channel.take())
			sum += n
			if n > 11 {
				t.Errorf("in second %d, %d were told", second, n)
			}
			if second == 30 && sum != 300 {
				t.Errorf("in 30 seconds, %d were told", sum)
			}
		}
	})
}

// TestABacklogDelaysNobody: after an outage, those that come due are told at
// once, while those that are late are told at half the pace.
func TestABacklogDelaysNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, middleware.SessionsOptions{}, silently)
		for i := range 1000 {
			first.say(t, fmt.Sprint("late", i))
		}
		if err := first.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(timeout + time.Hour)
		for i := range 100 {
			time.Sleep(time.Second)
			first.say(t, fmt.Sprint("fresh", i))
		}
		s.channel.take()
		begin := time.Now()
		time.Sleep(timeout - 2*time.Minute)
		late, fresh := 0, 0
		s.start(t, middleware.SessionsOptions{MessagesPerSecond: 2})
		due := begin.Add(-99 * time.Second).Add(timeout) // of the first one that is not late
		for range 1500 {
			time.Sleep(time.Second)
			synctest.Wait()
			for _, line := range s.channel.take() {
				if strings.Contains(line, " late") {
					late++
					continue
				}
				at, _, _ := strings.Cut(line, " ")
				told, err := time.ParseDuration(at)
				if wait := s.channel.begin.Add(told).Sub(due.Add(time.Duration(fresh) * time.Second)); err != nil || wait < 0 || wait > time.Second {
					t.Errorf("%v after it was due, %s", wait, line)
				}
				fresh++
			}
		}
		if late != 1000 || fresh != 100 {
			t.Errorf("told were %d of the late ones and %d of the others", late, fresh)
		}
	})
}

// TestAPaceThatIsVerySlowFailsNothing: no turn waits that long, and none is
// parked for it.
func TestAPaceThatIsVerySlowFailsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{MessagesPerSecond: 0.01})
		for i := range 20 {
			r.say(t, fmt.Sprint(i))
		}
		s.channel.take()
		time.Sleep(timeout + 2*time.Hour)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 20 {
			t.Errorf("sent were %q", sent)
		}
	})
}

// TestCloseGivesBackWhatIsBeingClaimed.
func TestCloseGivesBackWhatIsBeingClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		memory := s.store
		s.store = brokenStore{memory, func(verb, _ string) error {
			if verb == "claim" {
				time.Sleep(time.Second)
			}
			return nil
		}}
		r := s.start(t, middleware.SessionsOptions{})
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout + time.Second/2)
		synctest.Wait()
		if err := r.sessions.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.store = memory
		s.start(t, middleware.SessionsOptions{})
		expect(t, s.channel, "30m1s a: Goodbye.")
	})
}
