package middleware_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

const farewell = "Goodbye."

// A channel is what bots send to, with the time at which they do.
type channel struct {
	core.Adapter
	begin time.Time
	app   string // whose tokens it demands; "" for none
	fail  func(a schema.Activity) error
	hang  func(ctx context.Context, a schema.Activity) error

	mu   sync.Mutex
	sent []string
}

func (c *channel) SendActivity(ctx context.Context, a schema.Activity) (id string, err error) {
	if c.hang != nil {
		if err := c.hang(ctx, a); err != nil {
			return "", err
		}
	}
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
	adapter  *bot.Adapter
	scope    *state.Scope
	count    *state.Property[int]
	sessions *middleware.Sessions
	log      *bytes.Buffer
	hold     time.Duration // how long a turn takes
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

// start starts a replica with a policy, which by default says farewell when the
// user has been silent for the timeout, and the notice to those who were not told.
func (s *shared) start(t *testing.T, opts middleware.SessionsOptions, rules ...policy.Rule) *replica {
	t.Helper()
	return s.startAround(t, opts, nil, rules...)
}

// startAround starts a replica with more middleware around its Sessions.
func (s *shared) startAround(t *testing.T, opts middleware.SessionsOptions, around []bot.Middleware, rules ...policy.Rule) *replica {
	t.Helper()
	if rules == nil {
		rules = []policy.Rule{{Name: "idle", After: cmp.Or(s.timeout, timeout), Do: policy.Action{End: true, Say: farewell, OnReturn: notice}}}
	}
	p, err := policy.New(rules...)
	if err != nil {
		t.Fatal(err)
	}
	conversation := state.NewConversation(s.storage)
	r := &replica{channel: s.channel, scope: conversation, count: state.NewProperty[int](conversation, "count"), log: &bytes.Buffer{}}
	opts.Deadlines = s.store
	r.sessions = middleware.NewSessions(conversation, p, &opts)
	r.adapter = bot.NewAdapter(s.channel, append(around, middleware.AutoSave(conversation), r.sessions.Middleware)...)
	r.adapter.Logger, r.adapter.TurnTimeout = slog.New(slog.NewTextHandler(&lockedWriter{w: r.log}, nil)), s.turnTimeout
	r.sessions.Start(r.adapter)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := r.sessions.Close(ctx); err != nil {
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

func (r *replica) sayOn(t *testing.T, channel, conversation string) {
	t.Helper()
	if err := r.tryOn(t, channel, conversation); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) try(t *testing.T, conversation string) error {
	return r.tryOn(t, "test", conversation)
}

func (r *replica) tryOn(t *testing.T, channel, conversation string) error {
	return r.adapter.Process(t.Context(), schema.Activity{
		Type: schema.Message, Text: "hi", ChannelID: channel, ServiceURL: "https://test/",
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
		t.Errorf("left is %+v, error %v", e, err)
	}
}

func TestASilentConversationExpiresWhenItsTimeComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared()
		r := s.start(t, middleware.SessionsOptions{})
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
		r := s.start(t, middleware.SessionsOptions{})
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
		r := s.start(t, middleware.SessionsOptions{})
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

// A countingStore counts what is armed.
type countingStore struct {
	deadline.Store
	armed int
}

func (c *countingStore) Arm(ctx context.Context, d deadline.Deadline) error {
	c.armed++
	return c.Store.Arm(ctx, d)
}

// A brokenStore fails at calls.
type brokenStore struct {
	deadline.Store
	fail func(verb string, key string) error
}

func (b brokenStore) Arm(ctx context.Context, d deadline.Deadline) error {
	if err := b.fail("arm", d.Key); err != nil {
		return err
	}
	return b.Store.Arm(ctx, d)
}

func (b brokenStore) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]deadline.Claim, time.Time, error) {
	if err := b.fail("claim", ""); err != nil {
		return nil, time.Time{}, err
	}
	return b.Store.Claim(ctx, now, lease, limit)
}

func (b brokenStore) Settle(ctx context.Context, c deadline.Claim, o deadline.Outcome) error {
	if err := b.fail("settle", c.Key); err != nil {
		return err
	}
	return b.Store.Settle(ctx, c, o)
}

// process runs a turn whose handler is h.
func (r *replica) process(t *testing.T, conversation string, h bot.Handler) error {
	return r.adapter.Process(t.Context(), schema.Activity{
		Type: schema.Message, Text: "hi", ChannelID: "test", ServiceURL: "https://test/",
		Conversation: schema.ConversationAccount{ID: conversation}, From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"},
	}, h)
}
