package deadline_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
	"github.com/botlapse/botlapse/state/statetest"
)

const timeout = 30 * time.Minute

const (
	farewell = "Goodbye."
	notice   = "Welcome back!  Let's start over from the beginning."
)

// A channel is what bots send to, with the time at which they do.
type channel struct {
	core.Adapter
	begin time.Time
	app   string // "" for a base that lets in anybody
	fail  func(a schema.Activity) error

	mu   sync.Mutex
	sent []string
}

func (c *channel) SendActivity(_ context.Context, a schema.Activity) (id string, err error) {
	if c.fail != nil {
		if err := c.fail(a); err != nil {
			return "", err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, fmt.Sprintf("%v %s: %s", time.Since(c.begin), a.Conversation.ID, a.Text))
	return "", nil
}

func (c *channel) AppID() string { return c.app }

// take returns what was sent since the last call.
func (c *channel) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.sent
	c.sent = nil
	return sent
}

// A replica is one process of a bot that counts messages.
type replica struct {
	*channel
	adapter *bot.Adapter
	count   *state.Property[int]
	runner  *deadline.Runner
	log     *bytes.Buffer
	hold    time.Duration // how long a turn takes
}

type shared struct {
	storage     state.Storage
	store       deadline.Store
	channel     *channel
	turnTimeout time.Duration
	timeout     time.Duration
}

func newShared() *shared {
	return &shared{storage: state.NewMemory(), store: deadline.NewMemory(), channel: &channel{begin: time.Now()}}
}

// start starts a replica.
func (s *shared) start(t *testing.T, opts deadline.Options) *replica {
	conversation := state.NewConversation(s.storage)
	deadlines := deadline.New(s.store, conversation)
	r := &replica{channel: s.channel, count: state.NewProperty[int](conversation, "count"), log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(&lockedWriter{w: r.log}, nil))
	r.adapter = bot.NewAdapter(s.channel, middleware.AutoSave(conversation),
		middleware.Expire(conversation, cmp.Or(s.timeout, timeout), &middleware.ExpireOptions{Arm: deadlines.Arm}))
	r.adapter.Logger, r.adapter.TurnTimeout = logger, s.turnTimeout
	opts.Logger = logger
	r.runner = deadline.NewRunner(deadlines, r.adapter, &opts)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := r.runner.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (r *replica) say(t *testing.T, conversation string) {
	t.Helper()
	if err := r.try(t, conversation); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) try(t *testing.T, conversation string) error {
	return r.adapter.Process(t.Context(), schema.Activity{
		Type: schema.Message, Text: "hi", ChannelID: "test", ServiceURL: "https://test/",
		Conversation: schema.ConversationAccount{ID: conversation}, From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"},
	}, func(ctx context.Context, turn *bot.Turn) error {
		n, err := r.count.GetOr(ctx, 0)
		if err != nil {
			return err
		}
		time.Sleep(r.hold)
		if _, err := turn.SendText(ctx, fmt.Sprint("message ", n+1)); err != nil {
			return err
		}
		return r.count.Set(ctx, n+1)
	})
}

func expect(t *testing.T, c *channel, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := c.take(); !slices.Equal(got, want) {
		t.Errorf("sent were\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// expectNone checks that there are no deadlines.
func expectNone(t *testing.T, store deadline.Store) {
	t.Helper()
	for e, err := range store.All(t.Context()) {
		t.Errorf("left is %+v: %v", e, err)
	}
}

func TestASilentConversationExpiresWhenItsTimeComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.say(t, "a")
		time.Sleep(time.Minute)
		r.say(t, "b")
		expect(t, s.channel, "0s a: message 1", "1m0s b: message 1")
		time.Sleep(timeout - time.Minute - time.Nanosecond)
		expect(t, s.channel)
		time.Sleep(time.Nanosecond)
		expect(t, s.channel, "30m0s a: Goodbye.")
		time.Sleep(24 * time.Hour)
		expect(t, s.channel, "31m0s b: Goodbye.")
		r.say(t, "a") // who was told gets no notice
		expect(t, s.channel, "24h30m0s a: message 1")
	})
}

// P18: a message in between moves the deadline.
func TestP18AMessageMovesTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.say(t, "a")
		time.Sleep(timeout / 2)
		r.say(t, "a")
		s.channel.take()
		time.Sleep(timeout)
		expect(t, s.channel, "45m0s a: Goodbye.")
	})
}

// TestTwentyMessagesCostOneWrite counts the calls to the store.
func TestTwentyMessagesCostOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		counting := &countingStore{Store: s.store}
		s.store = counting
		r := s.start(t, deadline.Options{})
		for range 20 {
			r.say(t, "a")
			time.Sleep(time.Minute)
		}
		if counting.armed != 1 {
			t.Errorf("armed %d times", counting.armed)
		}
		time.Sleep(time.Hour)
		r.say(t, "a")
		if counting.armed != 2 {
			t.Errorf("after the expiry, armed %d times", counting.armed)
		}
	})
}

type countingStore struct {
	deadline.Store
	armed int
	fail  func(verb string) error
}

func (c *countingStore) Arm(ctx context.Context, d deadline.Deadline) error {
	c.armed++
	if c.fail != nil {
		if err := c.fail("arm"); err != nil {
			return err
		}
	}
	return c.Store.Arm(ctx, d)
}

func (c *countingStore) Settle(ctx context.Context, claim deadline.Claim, o deadline.Outcome) error {
	if c.fail != nil && o == (deadline.Outcome{}) {
		if err := c.fail("finish"); err != nil {
			return err
		}
	}
	return c.Store.Settle(ctx, claim, o)
}

func (c *countingStore) Claim(ctx context.Context, now time.Time, lease time.Duration, n int) ([]deadline.Claim, time.Time, error) {
	if c.fail != nil {
		if err := c.fail("claim"); err != nil {
			return nil, time.Time{}, err
		}
	}
	return c.Store.Claim(ctx, now, lease, n)
}

func TestASilentExpiryLeavesTheNoticeForTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, deadline.Options{})
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
		s.store = &countingStore{Store: s.store, fail: func(verb string) error {
			if verb == "finish" && broken.Load() {
				return errors.New("away")
			}
			return nil
		}}
		var replicas []*replica
		for range 3 {
			replicas = append(replicas, s.start(t, deadline.Options{Message: deadline.Text(farewell)}))
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
		other := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
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
		if err := other.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.start(t, deadline.Options{Message: deadline.Text(farewell)})
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
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.say(t, "a")
		time.Sleep(timeout - time.Second)
		r.hold = 10 * time.Minute
		r.say(t, "a")
		expect(t, s.channel, "0s a: message 1", "39m59s a: message 2")
		time.Sleep(timeout)
		expect(t, s.channel, "59m59s a: Goodbye.")
	})
}

// P6, P7: conversations that fail, panic or hang delay nobody, and are parked.
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
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell), Concurrency: 4, MaxAttempts: 3, Handler: func(_ context.Context, turn *bot.Turn, _ middleware.Expiry) error {
			if turn.Activity.Conversation.ID == "panic" {
				panic("ouch")
			}
			return nil
		}})
		for _, id := range []string{"poison", "panic", "a", "b", "c"} {
			r.say(t, id)
		}
		s.channel.take()
		poisoned.Store(true)
		time.Sleep(timeout)
		synctest.Wait()
		if sent := s.channel.take(); len(sent) != 4 {
			t.Errorf("sent were %q", sent)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
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

// P38: a channel that refuses for good has the state cleared all the same.
func TestP38AChannelThatRefusesIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var tries atomic.Int64
		var gone atomic.Bool
		s.channel.fail = func(schema.Activity) error {
			if gone.Load() {
				tries.Add(1)
				return errors.New("status 403")
			}
			return nil
		}
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		r.say(t, "a")
		gone.Store(true)
		time.Sleep(24 * time.Hour)
		if n := tries.Load(); n != 1 {
			t.Errorf("tried %d times", n)
		}
		gone.Store(false)
		s.channel.take()
		r.say(t, "a")
		expect(t, s.channel, "24h0m0s a: message 1")
	})
}

// P22: what comes due while nobody runs is done afterwards, in order.
func TestP22ARestartCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		first := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
		for _, id := range []string{"c", "a", "b"} {
			first.say(t, id)
			time.Sleep(time.Second)
		}
		s.channel.take()
		if err := first.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		s.start(t, deadline.Options{Message: deadline.Text(farewell), Concurrency: 1})
		expect(t, s.channel, "24h0m3s c: Goodbye.", "24h0m3s a: Goodbye.", "24h0m3s b: Goodbye.")
	})
}

// TestWhoIsTooLateIsNotTold counts from when the conversation was due, not from
// its deadline, which may be older.
func TestWhoIsTooLateIsNotTold(t *testing.T) {
	for _, test := range []struct {
		name     string
		lateness time.Duration
		leave    bool
		then     []string // what is sent when it is looked at
		when     []string // and when the user writes
	}{
		{"just in time is told", time.Hour, false, []string{farewell}, []string{"message 1"}},
		{"a moment later expires silently", time.Hour + 100, false, nil, []string{notice, "message 1"}},
		{"or is left as it is", time.Hour + 100, true, nil, []string{notice, "message 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared()
				first := s.start(t, deadline.Options{})
				first.say(t, "a")
				time.Sleep(timeout - time.Minute) // which leaves the deadline where it is
				first.say(t, "a")
				if err := first.runner.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.channel.take()
				time.Sleep(timeout + test.lateness)
				second := s.start(t, deadline.Options{Message: deadline.Text(farewell), MaxLateness: time.Hour, LeaveLate: test.leave})
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
				if left := strings.Contains(string(items["test/conversations/a"].Value), "count"); err != nil || left != test.leave {
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

func TestTheHandlerRunsOnceWithACompleteTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var seen []string
		r := s.start(t, deadline.Options{Handler: func(ctx context.Context, turn *bot.Turn, expiry middleware.Expiry) error {
			a := turn.Activity
			seen = append(seen, fmt.Sprint(a.ChannelID, a.Conversation.ID, a.From.ID, a.Recipient.ID, a.ServiceURL, turn.Proactive(), expiry.Idle))
			return nil
		}})
		r.say(t, "a")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(seen) != 1 || seen[0] != "testau1bothttps://test/true 30m0s" {
			t.Errorf("seen was %q", seen)
		}
	})
}

func TestCloseWaitsForRunningTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		var ended atomic.Bool
		r := s.start(t, deadline.Options{Handler: func(ctx context.Context, _ *bot.Turn, _ middleware.Expiry) error {
			select {
			case <-time.After(time.Minute):
				ended.Store(true)
			case <-ctx.Done():
			}
			return ctx.Err()
		}})
		r.say(t, "a")
		time.Sleep(timeout)
		synctest.Wait()
		if err := r.runner.Close(t.Context()); err != nil || !ended.Load() {
			t.Errorf("ended %v: %v", ended.Load(), err)
		}

		s.turnTimeout = -1
		again := s.start(t, deadline.Options{Handler: func(ctx context.Context, _ *bot.Turn, _ middleware.Expiry) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		again.say(t, "b")
		time.Sleep(timeout)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := again.runner.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if err := again.runner.Close(t.Context()); err != nil {
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
		s.store = &countingStore{Store: s.store, fail: func(string) error {
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}}
		r := s.start(t, deadline.Options{Message: deadline.Text(farewell)})
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
		var runs atomic.Int64
		for i := range 2 {
			r := s.start(t, deadline.Options{Handler: func(context.Context, *bot.Turn, middleware.Expiry) error {
				runs.Add(1)
				time.Sleep(10 * time.Minute)
				return nil
			}})
			if i == 0 {
				r.say(t, "a")
			}
		}
		time.Sleep(2 * time.Hour)
		if n := runs.Load(); n != 1 {
			t.Errorf("it ran %d times", n)
		}
	})
}

// TestDeadlinesSurviveARestart keeps state and deadlines in one file. What is
// overdue is told in order.
func TestDeadlinesSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		c := &channel{begin: time.Now()}
		run := func(f func(s *shared)) {
			file, err := bolt.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			f(&shared{storage: file, store: file.Deadlines("bot"), channel: c})
		}
		run(func(s *shared) {
			r := s.start(t, deadline.Options{})
			for i := range 10 {
				r.say(t, fmt.Sprint(i))
				time.Sleep(time.Millisecond)
			}
			if err := r.runner.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		c.take()
		time.Sleep(timeout)
		run(func(s *shared) {
			r := s.start(t, deadline.Options{Message: deadline.Text(farewell), Concurrency: 1})
			time.Sleep(time.Minute)
			synctest.Wait()
			sent := c.take()
			if len(sent) != 10 {
				t.Errorf("sent were %q", sent)
			}
			for i, line := range sent {
				if !strings.HasSuffix(line, fmt.Sprintf(" %d: %s", i, farewell)) {
					t.Errorf("as number %d, sent was %s", i, line)
				}
			}
			if err := r.runner.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	})
}
