package middleware_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"runtime/debug"
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
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// This file plays random schedules on three replicas of a bot, and holds all that
// is stored and sent to what DESIGN.md promises. The checks know what the world did,
// what was stored and what was sent, and nothing of how Sessions work.
//
// The world has faults: calls that fail before or after their effect, take long, or
// hang; a channel that refuses; replicas that are killed, or replaced by some with
// another timeout. Each replica has a clock of its own, ahead or behind: what it
// reads is moved by that, and what it writes moved back, which is the same to it.
// What cannot be varied so is how fast a clock runs, and two clocks within one turn.

var (
	schedules = flag.Int("schedules", 0, "how many random schedules are played; 0 for 1000, or 100 with the race detector")
	crashes   = flag.Bool("crashes", false, "end a process at each step on each store, and not only in memory")
)

const (
	atOnce  = 10 // schedules in one world
	perUser = 7  // what a user does in one
	nudge   = "Are you still there?"
	lasts   = 20 * time.Millisecond // a call at most, if nothing is wrong
)

func TestRandomSchedules(t *testing.T) {
	n := *schedules
	if n == 0 {
		n = 1000
		if racing() {
			n = 100
		}
	}
	for seed := range uint64(n / atOnce) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newWorld(t, seed).play() })
		})
	}
}

// racing reports whether the race detector watches, which takes five times as long.
func racing() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A world is what replicas share, and what is known of it.
type world struct {
	t       *testing.T
	seed    uint64
	begin   time.Time
	storage *state.Memory
	store   *deadline.Memory

	timeout time.Duration // replicas have it, half of it, or twice
	faults  float64       // how often something is wrong with a call
	skews   bool          // clocks differ
	once    bool          // at most once is asked for
	mixed   bool          // by some, and not by others
	silent  bool          // nobody is told but on return
	nudges  bool          // users are asked whether they are there

	mu       sync.Mutex
	hosts    []*host
	number   int  // of hosts and lives that there were
	calm     bool // nothing is wrong any more
	talks    map[string]*talk
	sequence map[string]uint64 // of calls
}

// A talk is what is known of one conversation.
type talk struct {
	id        string
	lines     []string // what happened
	versions  []*version
	arrivals  map[int64]bool     // of user input, on the clock of the replica
	inSession map[int64]bool     // of these, those that arrived in a session
	over      map[string]bool    // sessions, and lives of the state
	told      map[int64]int      // how many ends the program may still be told of, by the last input
	ends      []time.Time        // when a session ended
	running   map[string]running // turns of user input
	turns     []ran              // of user input that have succeeded
	sends     []said
	unarmed   bool // the last Arm has failed, and who would make up for it is gone
}

// A version of a document that was stored.
type version struct {
	LastAccessed time.Time `json:"lastAccessed"`
	Life         string    `json:"life"`
	Record       struct {
		Session string    `json:"session"`
		Began   time.Time `json:"began"`
		Ended   time.Time `json:"ended"`
		Open    any       `json:"open"`
	} `json:"botlapse.session"`
}

// ends reports whether v ends the session of the version before.
func (v *version) ends(before *version) bool {
	if before.Record.Session == "" || !before.Record.Ended.IsZero() {
		return false
	}
	return v.Record.Session != before.Record.Session || !v.Record.Ended.IsZero()
}

type ran struct{ from, to time.Time }

type running struct {
	by      *host
	arrived time.Time
}

type said struct {
	at   time.Time // when the send began
	text string
}

func newWorld(t *testing.T, seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		t: t, seed: seed, begin: time.Now(),
		storage: state.NewMemory(), store: deadline.NewMemory(),
		talks: make(map[string]*talk), sequence: make(map[string]uint64),
		timeout: []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute}[random.IntN(3)],
		faults:  []float64{0, 0, 0.02, 0.1}[random.IntN(4)],
		skews:   random.IntN(3) == 0,
		once:    random.IntN(2) == 0,
		mixed:   random.IntN(4) == 0,
		silent:  random.IntN(4) == 0,
		nudges:  random.IntN(3) == 0,
	}
	return w
}

// talk returns what is known of a conversation. The caller holds w.mu.
func (w *world) talk(id string) *talk {
	c := w.talks[id]
	if c == nil {
		c = &talk{id: id, arrivals: make(map[int64]bool), inSession: make(map[int64]bool), over: make(map[string]bool), told: make(map[int64]int), running: make(map[string]running)}
		w.talks[id] = c
	}
	return c
}

// note adds a line to what happened. The caller holds w.mu.
func (c *talk) note(w *world, format string, args ...any) {
	c.lines = append(c.lines, fmt.Sprintf("%12v ", time.Since(w.begin).Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

// wrong reports what must not be. The caller holds w.mu.
func (c *talk) wrong(w *world, format string, args ...any) {
	w.t.Helper()
	text := fmt.Sprintf(format, args...)
	c.note(w, "WRONG: %s", text)
	w.t.Errorf("conversation %s: %s", c.id, text)
}

// A host is one replica, with its view of the world.
type host struct {
	core.Adapter
	*world
	name     string
	skew     time.Duration
	timeout  time.Duration
	grace    time.Duration
	once     bool
	life     *state.Property[string]
	scope    *state.Scope
	sessions *middleware.Sessions
	adapter  *bot.Adapter

	dead    bool            // guarded by world.mu
	failing map[string]bool // conversations that it could not arm
}

var errWorld = errors.New("something is wrong")

// call makes a call that has an effect, in a world where something may be wrong.
func (h *host) call(ctx context.Context, name, conversation string, effect func() error) error {
	h.mu.Lock()
	key := fmt.Sprint(name, " ", conversation)
	h.sequence[key]++
	hash := fnv.New64a()
	fmt.Fprint(hash, key, " ", h.sequence[key])
	random := rand.New(rand.NewPCG(h.seed, hash.Sum64()))
	before, after := time.Duration(random.Int64N(int64(lasts)/2)), time.Duration(random.Int64N(int64(lasts)/2))
	fails, lost := false, false
	if !h.calm && random.Float64() < h.faults {
		switch random.IntN(4) {
		case 0:
			fails = true
		case 1:
			lost = true
		case 2:
			before += time.Duration(random.Int64N(int64(12 * time.Second)))
		case 3: // and nobody waits for that long
			before += 20 * time.Second
			lost = true
		}
		h.talk(conversation).note(h.world, "%s: in %s, fails %v, lost %v, takes %v", h.name, name, fails, lost, before)
	}
	h.mu.Unlock()
	if err := rest(ctx, before); err != nil && !lost {
		return err // but an answer that is lost may come to its effect later
	}
	h.mu.Lock()
	if h.dead || fails {
		h.mu.Unlock()
		return errWorld
	}
	err := effect()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if err := rest(ctx, after); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead || lost {
		return errWorld
	}
	return nil
}

// rest waits for d, or until ctx is done.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var instant = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+Z"`)

// moved returns JSON with all instants moved by d.
func moved(value []byte, d time.Duration) []byte {
	if d == 0 {
		return value
	}
	return instant.ReplaceAllFunc(value, func(text []byte) []byte {
		var t time.Time
		if t.UnmarshalJSON(text) != nil {
			return text
		}
		text, _ = t.Add(d).MarshalJSON()
		return text
	})
}

func conversationOf(key string) string { return strings.TrimPrefix(key, "test/conversations/") }

func (h *host) Read(ctx context.Context, keys []string) (items map[string]state.Item, err error) {
	err = h.call(ctx, "read", conversationOf(keys[0]), func() (err error) {
		items, err = h.storage.Read(context.Background(), keys)
		return err
	})
	for key, item := range items {
		item.Value = moved(item.Value, -h.skew)
		items[key] = item
	}
	return items, err
}

func (h *host) Write(ctx context.Context, items map[string]state.Item) (etags map[string]string, err error) {
	for key, item := range items {
		item.Value = moved(item.Value, h.skew)
		err = h.call(ctx, "write", conversationOf(key), func() error {
			etags, err = h.storage.Write(context.Background(), map[string]state.Item{key: item})
			if err == nil {
				h.talk(conversationOf(key)).store(h, item)
			}
			return err
		})
	}
	return etags, err
}

func (h *host) Delete(ctx context.Context, keys []string) error {
	return h.call(ctx, "delete", conversationOf(keys[0]), func() error { return h.storage.Delete(context.Background(), keys) })
}

func (h *host) Arm(ctx context.Context, d deadline.Deadline) error {
	d.Due, d.Data = d.Due.Add(h.skew), moved(d.Data, h.skew)
	id := conversationOf(d.Key)
	h.mu.Lock()
	h.failing[id] = true
	h.mu.Unlock()
	return h.call(ctx, "arm", id, func() error {
		h.failing[id] = false
		c := h.talk(id)
		c.unarmed = false
		c.note(h.world, "%s: armed for %v", h.name, d.Due.Sub(h.begin))
		return h.store.Arm(context.Background(), d)
	})
}

func (h *host) Claim(ctx context.Context, now time.Time, lease time.Duration, n int) (claims []deadline.Claim, next time.Time, err error) {
	err = h.call(ctx, "claim", "", func() (err error) {
		claims, next, err = h.store.Claim(context.Background(), now.Add(h.skew), lease, n)
		for _, c := range claims {
			h.talk(conversationOf(c.Key)).note(h.world, "%s: claimed, attempts %d", h.name, c.Attempts)
		}
		return err
	})
	for i := range claims {
		claims[i].Due, claims[i].Data = claims[i].Due.Add(-h.skew), moved(claims[i].Data, -h.skew)
	}
	if !next.IsZero() {
		next = next.Add(-h.skew)
	}
	return claims, next, err
}

func (h *host) Settle(ctx context.Context, c deadline.Claim, o deadline.Outcome) error {
	for _, at := range []*time.Time{&o.Due, &o.Held} {
		if !at.IsZero() {
			*at = at.Add(h.skew)
		}
	}
	return h.call(ctx, "settle", conversationOf(c.Key), func() error {
		err := h.store.Settle(context.Background(), c, o)
		h.talk(conversationOf(c.Key)).note(h.world, "%s: settled %v held %v parked %q: %v", h.name, o.Due.Sub(h.begin), !o.Held.IsZero(), o.Parked, err)
		return err
	})
}

func (h *host) All(ctx context.Context) iter.Seq2[deadline.Entry, error] { return h.store.All(ctx) }

func (h *host) SendActivity(ctx context.Context, a schema.Activity) (string, error) {
	arrived, began := false, time.Now()
	err := h.call(ctx, "send", a.Conversation.ID, func() error {
		arrived = true
		c := h.talk(a.Conversation.ID)
		c.note(h.world, "%s: says %q", h.name, a.Text)
		c.sends = append(c.sends, said{began, a.Text})
		return nil
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.talk(a.Conversation.ID)
	refused := sendError{refused: true, permanent: len(c.lines)%8 == 0}
	if err != nil && !arrived && len(c.lines)%2 == 0 {
		err = refused
	}
	if err != nil && a.Text == notice && (err == refused && refused.permanent || err != refused && h.once) {
		c.sends = append(c.sends, said{began, notice}) // it is not told again
	}
	return "", err
}

// start starts a replica.
func (w *world) start(random *rand.Rand) *host {
	h := &host{world: w, failing: make(map[string]bool)}
	h.timeout = []time.Duration{w.timeout, w.timeout, w.timeout / 2, 2 * w.timeout}[random.IntN(4)]
	h.grace = []time.Duration{0, 3 * time.Hour}[random.IntN(2)]
	if w.skews {
		h.skew = time.Duration(random.Int64N(int64(4*time.Second/tick)))*tick - 2*time.Second
	}
	h.once = w.once
	if w.mixed {
		h.once = random.IntN(2) == 0
	}
	idle := policy.Rule{Name: "idle", After: h.timeout, Do: policy.Action{End: true, Say: farewell, OnReturn: notice}}
	if w.silent {
		idle.Do.Say = ""
	}
	rules := []policy.Rule{idle}
	if w.nudges {
		rules = append(rules, policy.Rule{Name: "nudge", After: h.timeout / 2, Do: policy.Action{Say: nudge}})
	}
	p, err := policy.New(rules...)
	if err != nil {
		w.t.Fatal(err)
	}
	h.scope = state.NewConversation(h)
	h.life = state.NewProperty[string](h.scope, "life")
	h.sessions = middleware.NewSessions(h.scope, p, &middleware.SessionsOptions{
		Deadlines: h, AtMostOnce: h.once, Grace: h.grace, MessagesPerSecond: -1, OnEnd: h.ended,
		MaxLateness: []time.Duration{0, time.Minute}[random.IntN(2)],
	})
	h.adapter = bot.NewAdapter(h, middleware.AutoSave(h.scope), h.sessions.Middleware)
	h.adapter.Logger = slog.New(slog.DiscardHandler)
	h.mu.Lock()
	w.number++
	h.name = fmt.Sprint("host", w.number)
	h.mu.Unlock()
	h.sessions.Start(h.adapter)
	return h
}

// stop ends a replica.
func (h *host) stop(kill bool) {
	if kill {
		h.mu.Lock()
		h.dead = true
		h.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := errors.Join(h.sessions.Close(ctx), h.adapter.Close(ctx)); err != nil {
		h.t.Error(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, failing := range h.failing {
		if c := h.talk(id); failing {
			c.note(h.world, "%s: could not arm it, and is gone", h.name)
			c.unarmed = true
		}
	}
}

// clock returns what time it is on the clock of h, as it is stored.
func (h *host) clock() time.Time { return policy.Instant(time.Now().Add(h.skew)) }

// ended is called when a session ends.
func (h *host) ended(_ context.Context, turn *bot.Turn, e middleware.Expiry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.talk(turn.Activity.Conversation.ID)
	last := e.LastAccessed.Add(h.skew).UnixNano()
	c.note(h.world, "%s: the program is told of an end", h.name)
	if c.told[last]--; c.told[last] < 0 {
		c.wrong(h.world, "the program was told too often of an end after the input of %v", e.LastAccessed.Sub(h.begin))
	}
}

// store notes a version that is stored, and checks it. The caller holds w.mu.
func (c *talk) store(h *host, item state.Item) {
	v := &version{}
	if err := json.Unmarshal(item.Value, v); err != nil {
		c.wrong(h.world, "stored was %s: %v", item.Value, err)
		return
	}
	c.note(h.world, "%s: stored %s for %v", h.name, item.Value, item.TTL)
	before := &version{}
	if len(c.versions) > 0 {
		before = c.versions[len(c.versions)-1]
	}
	c.versions = append(c.versions, v)

	// Only user input extends.
	if v.LastAccessed.Before(before.LastAccessed) || !v.LastAccessed.IsZero() && !c.arrivals[v.LastAccessed.UnixNano()] {
		c.wrong(h.world, "the last input is %v", v.LastAccessed.Sub(h.begin))
	}
	// Nothing that was cleared comes back.
	if v.Life != before.Life {
		c.over[before.Life] = true
		if v.Life != "" && c.over[v.Life] {
			c.wrong(h.world, "%q has come back", v.Life)
		}
	}
	if session := v.Record.Session; session != before.Record.Session {
		c.over[before.Record.Session] = true
		if c.over[session] {
			c.wrong(h.world, "session %s has come back", session)
		}
	} else if !before.Record.Ended.IsZero() && v.Record.Ended.IsZero() {
		c.wrong(h.world, "session %s has not ended any more", session)
	}
	if v.ends(before) {
		at := v.Record.Ended // by itself, or
		if v.Record.Session != before.Record.Session {
			at = v.Record.Began // by input
			if !c.arrivals[at.UnixNano()] {
				c.wrong(h.world, "no input has begun session %s", v.Record.Session)
			}
		}
		silence := at.Sub(before.LastAccessed)
		if silence < h.timeout || at.After(h.clock()) {
			c.wrong(h.world, "the session ends after %v, its timeout is %v", silence, h.timeout)
		}
		if v.Life != "" {
			c.wrong(h.world, "the session has ended, and its state is there")
		}
		c.ends = append(c.ends, time.Now())
		c.told[before.LastAccessed.UnixNano()]++
		for id, turn := range c.running {
			// Who has a longer timeout does not know of it.
			if h.strict() && turn.by.timeout <= h.timeout && before.LastAccessed.Before(turn.arrived) && at.Before(turn.arrived.Add(h.timeout)) {
				c.wrong(h.world, "the session ends in the running turn of %s", id)
			}
		}
	}
	// The storage keeps it for as long as it is needed.
	needed := v.LastAccessed.Add(h.timeout + h.grace)
	if h.grace == 0 {
		needed = needed.Add(24 * time.Hour)
	}
	if !v.Record.Ended.IsZero() {
		needed = needed.Add(-h.timeout).Add(v.Record.Ended.Sub(v.LastAccessed))
	}
	if lives := h.clock().Add(item.TTL); item.TTL < 2*time.Minute+9*time.Second || lives.Before(needed) && !v.LastAccessed.IsZero() {
		c.wrong(h.world, "it is stored for %v, until %v before it is needed no more", item.TTL, needed.Sub(lives))
	}
}

// strict reports whether nothing is wrong in this world, so that all must be well.
func (w *world) strict() bool { return w.faults == 0 }

// sees checks what a turn finds: not the state of a session that is over. It returns
// what is called when the turn is over.
func (h *host) sees(id, turn string, arrived time.Time, life string) (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.talk(id)
	c.note(h.world, "%s: %s, which arrived at %v, finds %q", h.name, turn, arrived.Sub(h.begin), life)
	var last time.Time
	for _, v := range c.versions {
		if v.LastAccessed.After(last) && !v.LastAccessed.Equal(arrived) {
			last = v.LastAccessed
		}
		if v.Life == life && !v.Record.Ended.IsZero() {
			life = "" // what is written between two sessions has no clock
		}
	}
	if life != "" && !last.IsZero() && arrived.Sub(last) >= h.timeout {
		c.wrong(h.world, "%s was answered from the state of %v before, the timeout is %v", turn, arrived.Sub(last), h.timeout)
	}
	if c.inSession[arrived.UnixNano()] { // or else it cannot be foreseen what falls due
		c.running[turn] = running{h, arrived}
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(c.running, turn)
	}
}

// A deed is what a handler does.
type deed struct {
	hold     time.Duration
	failures int    // how many deliveries fail
	scope    string // what it does to its scope
}

// handler returns the handler of the n-th delivery.
func (h *host) handler(id, turn string, n int, arrived time.Time, d deed) bot.Handler {
	return func(ctx context.Context, t *bot.Turn) error {
		life, _, err := h.life.Get(ctx)
		if err != nil {
			return err
		}
		defer h.sees(id, turn, arrived, life)()
		if err := rest(ctx, d.hold); err != nil {
			return err
		}
		switch d.scope {
		case "clear":
			err, life = h.scope.Clear(ctx), ""
		case "delete":
			err, life = h.scope.Delete(ctx), ""
		case "load":
			if err = h.scope.Load(ctx); err == nil {
				life, _, err = h.life.Get(ctx)
			}
		}
		if err != nil {
			return err
		}
		if life == "" {
			h.mu.Lock()
			h.number++
			life = fmt.Sprint(turn, " at ", h.name, ", ", h.number)
			h.mu.Unlock()
			if err := h.life.Set(ctx, life); err != nil {
				return err
			}
		}
		if n < d.failures {
			if d.scope == "" {
				panic("the handler fails")
			}
			return errors.New("the handler fails")
		}
		_, err = t.SendText(ctx, "reply")
		return err
	}
}

// deliver has a replica process an activity.
func (h *host) deliver(a schema.Activity, n int, d deed) error {
	arrived := h.clock()
	id := a.Conversation.ID
	h.mu.Lock()
	c := h.talk(id)
	c.note(h.world, "%s: gets %s %s, %+v", h.name, a.Type, a.ID, d)
	if a.Type == schema.Message {
		c.arrivals[arrived.UnixNano()] = true
		if n := len(c.versions); n > 0 && !c.versions[n-1].LastAccessed.IsZero() && c.versions[n-1].Record.Ended.IsZero() {
			c.inSession[arrived.UnixNano()] = true
		}
	}
	h.mu.Unlock()
	begin := time.Now()
	err := h.adapter.Process(context.Background(), a, h.handler(id, a.ID, n, arrived, d))
	h.mu.Lock()
	defer h.mu.Unlock()
	c.note(h.world, "%s: has processed %s: %v", h.name, a.ID, err)
	if err == nil && a.Type == schema.Message {
		c.turns = append(c.turns, ran{begin, time.Now()})
	}
	return err
}

// pick returns one of the replicas that run.
func (w *world) pick(random *rand.Rand) *host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts[random.IntN(len(w.hosts))]
}

// insist delivers an activity again and again, as a channel does, until it is handled.
func (w *world) insist(random *rand.Rand, a schema.Activity, d deed) {
	for n := 0; ; n++ {
		if w.pick(random).deliver(a, n, d) == nil {
			return
		}
		if n == 1000 {
			w.t.Errorf("%s is not handled", a.ID)
			return
		}
		time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
	}
}

// user does what a user, and the program, do in a conversation.
func (w *world) user(id string, random *rand.Rand) {
	a := schema.Activity{
		ChannelID: "test", ServiceURL: "https://test/", Conversation: schema.ConversationAccount{ID: id},
		From: schema.ChannelAccount{ID: "u1"}, Recipient: schema.ChannelAccount{ID: "bot"},
	}
	ref := schema.ConversationReference{ChannelID: "test", ServiceURL: "https://test/", Conversation: a.Conversation, User: a.From, Bot: a.Recipient}
	for i := range perUser {
		timeout := []time.Duration{w.timeout, w.timeout / 2, 2 * w.timeout}[random.IntN(3)]
		switch n := random.IntN(10); {
		case n < 2:
			time.Sleep(time.Duration(random.Int64N(int64(timeout))))
		case n < 3:
			time.Sleep(2*timeout + time.Duration(random.Int64N(int64(time.Minute))))
		case n < 5:
			time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
		case n < 7: // some seconds before the end
			time.Sleep(max(0, timeout-time.Duration(random.Int64N(int64(15*time.Second)))))
		default: // close to the end
			time.Sleep(timeout + time.Duration(random.Int64N(int64(200*time.Millisecond))) - 100*time.Millisecond)
		}
		a.Type, a.ID = schema.Message, fmt.Sprint(id, ".", i)
		var d deed
		switch random.IntN(12) {
		case 0:
			d.hold = 4*time.Second + time.Duration(random.Int64N(int64(9*time.Second)))
		case 1:
			d.hold = min(w.timeout, time.Minute) + time.Duration(random.Int64N(int64(30*time.Second)))
		case 2:
			d.failures = 1 + random.IntN(2)
		case 3:
			d.scope = []string{"clear", "delete", "load"}[random.IntN(3)]
		case 4:
			d.hold, d.failures, d.scope = time.Duration(random.Int64N(int64(9*time.Second))), random.IntN(2), "load"
		}
		switch random.IntN(16) {
		case 0, 1:
			a.Type = schema.Typing
			w.pick(random).deliver(a, 0, d)
		case 2:
			a.Type, a.MembersAdded = schema.ConversationUpdate, []schema.ChannelAccount{a.From}
			w.pick(random).deliver(a, 0, deed{})
			a.MembersAdded = nil
		case 3:
			h := w.pick(random)
			h.adapter.Continue(context.Background(), ref, h.handler(id, a.ID, 0, h.clock(), d))
		case 4: // in the middle of whatever runs
			h := w.pick(random)
			h.adapter.ProactiveMessage(context.Background(), ref, activity.HandlerFuncs{OnMessageFunc: func(*activity.TurnContext) (schema.Activity, error) {
				return schema.Activity{Type: schema.Message, Text: "push"}, nil
			}})
		case 5: // delivered twice at once
			var other sync.WaitGroup
			second := rand.New(rand.NewPCG(w.seed, random.Uint64()))
			other.Go(func() {
				time.Sleep(1 + time.Duration(second.Int64N(int64(lasts))))
				w.insist(second, a, d)
			})
			w.insist(random, a, d)
			other.Wait()
		case 6: // one after the other, while the first one runs
			var other sync.WaitGroup
			second, b := rand.New(rand.NewPCG(w.seed, random.Uint64())), a
			b.ID += "b"
			other.Go(func() {
				time.Sleep(time.Duration(second.Int64N(int64(time.Second))))
				w.insist(second, b, deed{})
			})
			w.insist(random, a, d)
			other.Wait()
		default:
			w.insist(random, a, d)
		}
	}
}

func (w *world) play() {
	random := rand.New(rand.NewPCG(w.seed, 2))
	for range 3 {
		w.hosts = append(w.hosts, w.start(random))
	}
	var users, deployment sync.WaitGroup
	for i := range atOnce {
		id := fmt.Sprint(i)
		users.Go(func() { w.user(id, rand.New(rand.NewPCG(w.seed, uint64(i)+10))) })
	}
	deployment.Go(func() {
		for range random.IntN(5) {
			time.Sleep(time.Duration(random.Int64N(int64(2 * w.timeout))))
			next := w.start(random)
			w.mu.Lock()
			i := random.IntN(len(w.hosts))
			old := w.hosts[i]
			w.hosts[i] = next
			w.mu.Unlock()
			old.stop(w.faults > 0 && random.IntN(2) == 0)
		}
	})
	users.Wait()
	deployment.Wait()

	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	time.Sleep(4*w.timeout + 30*time.Minute)
	synctest.Wait()
	w.check(false)
	for i := range atOnce {
		id := fmt.Sprint(i)
		users.Go(func() {
			for n := range 3 {
				a := message("back")
				a.Conversation.ID, a.ID = id, fmt.Sprint(id, ".back", n)
				if err := w.pick(rand.New(rand.NewPCG(w.seed, uint64(i)))).deliver(a, 0, deed{}); err != nil {
					w.t.Errorf("%s: %v", a.ID, err)
				}
			}
		})
	}
	users.Wait()
	time.Sleep(4*w.timeout + 30*time.Minute)
	synctest.Wait()
	w.check(true)
	for _, h := range w.hosts {
		h.stop(false)
	}
}

// check checks what is left when all are silent.
func (w *world) check(last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for e := range w.store.All(context.Background()) {
		c := w.talk(conversationOf(e.Key))
		c.wrong(w, "left is a deadline for %v: %+v", e.Due.Sub(w.begin), e)
	}
	for _, c := range w.talks {
		if len(c.versions) == 0 || c.id == "" {
			continue
		}
		v := c.versions[len(c.versions)-1]
		switch {
		case v.LastAccessed.IsZero(), c.unarmed && !last:
		case v.Record.Ended.IsZero():
			c.wrong(w, "the session has not ended")
		case v.Record.Open != nil:
			c.wrong(w, "something is left to be done")
		case last && v.Record.Ended.Sub(v.LastAccessed) > 2*w.timeout+15*time.Second:
			c.wrong(w, "the session has ended %v after the last input", v.Record.Ended.Sub(v.LastAccessed))
		}
		if last {
			c.checkTold(w)
			if w.t.Failed() && strings.Contains(strings.Join(c.lines, "\n"), "WRONG") {
				w.t.Logf("seed %d, conversation %s:\n%s", w.seed, c.id, strings.Join(c.lines, "\n"))
			}
		}
	}
}

// checkTold checks that of each end the user was told.
func (c *talk) checkTold(w *world) {
	count := func(text string, from, to time.Time) (n int) {
		for _, s := range c.sends {
			if s.text == text && !s.at.Before(from) && s.at.Before(to) {
				n++
			}
		}
		return n
	}
	for i, end := range c.ends {
		next := time.Now().Add(time.Hour)
		if i+1 < len(c.ends) {
			next = c.ends[i+1]
		}
		if n := count(farewell, end, next); n > 1 && (w.once && !w.mixed || w.strict()) {
			c.wrong(w, "of the end at %v, the user was told %d times", end.Sub(w.begin), n)
		}
		// The user is back, and was told until then, or by a turn after that, if it was refused
		// or another turn was about to.
		back := 0
		until := next
		for _, turn := range c.turns {
			if turn.from.After(end) {
				if back++; back == 3 {
					until = turn.to
				}
			}
		}
		if back >= 3 && count(farewell, end, until)+count(nudge, end, until)+count(notice, end.Add(-time.Second), until) == 0 {
			c.wrong(w, "of the end at %v, the user was not told", end.Sub(w.begin))
		}
	}
}
