package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

var errCrashed = errors.New("crashed")

// An accident is what happens to a process at one of the steps that it takes in
// the world.
type accident int

const (
	crashBefore accident = iota // from then on it does nothing any more
	crashAfter
	freeze // it takes the step, and all others, only after its lease has ended
)

func (a accident) String() string {
	return [...]string{"crash before", "crash after", "freeze before"}[a]
}

// A process takes steps until an accident.
type process struct {
	accident
	at      int           // the step, 0 for none
	reached chan struct{} // closed then

	mu    sync.Mutex
	steps []string
	dead  bool
	until time.Time
}

// step takes a step, unless the process has ended.
func (p *process) step(name string, do func() error) error {
	p.mu.Lock()
	p.steps = append(p.steps, name)
	now := !p.dead && len(p.steps) == p.at
	if now {
		p.happen()
	}
	dead, until := p.dead, p.until
	p.mu.Unlock()
	time.Sleep(time.Until(until))
	if now && p.accident == crashAfter {
		do()
	}
	if dead {
		return errCrashed
	}
	return do()
}

// happen has the accident happen. The caller holds p.mu.
func (p *process) happen() {
	if p.accident == freeze {
		p.until = time.Now().Add(time.Minute)
	} else {
		p.dead = true
	}
	close(p.reached)
}

type crashingStorage struct {
	state.Storage
	*process
}

func (c crashingStorage) Read(ctx context.Context, keys []string) (items map[string]state.Item, err error) {
	err = c.step("read", func() (err error) { items, err = c.Storage.Read(ctx, keys); return err })
	return items, err
}

func (c crashingStorage) Write(ctx context.Context, items map[string]state.Item) (etags map[string]string, err error) {
	err = c.step("write", func() (err error) { etags, err = c.Storage.Write(ctx, items); return err })
	return etags, err
}

type crashingStore struct {
	deadline.Store
	*process
}

func (c crashingStore) Arm(ctx context.Context, d deadline.Deadline) error {
	return c.step("arm", func() error { return c.Store.Arm(ctx, d) })
}

func (c crashingStore) Claim(ctx context.Context, now time.Time, lease time.Duration, n int) (claims []deadline.Claim, next time.Time, err error) {
	if _, next, _ := c.Store.Claim(ctx, now, lease, 0); next.IsZero() || next.After(now) {
		return nil, next, nil // which changes nothing, and would be a step each 10 s
	}
	err = c.step("claim", func() (err error) { claims, next, err = c.Store.Claim(ctx, now, lease, n); return err })
	return claims, next, err
}

func (c crashingStore) Settle(ctx context.Context, claim deadline.Claim, o deadline.Outcome) error {
	return c.step("settle", func() error { return c.Store.Settle(ctx, claim, o) })
}

// TestACrashAtAnyStep ends a process, or holds it up, at each step of a conversation:
// its first message, one that moves the deadline, and one shortly before it; a look
// that is too early, and one that ends the session; the user's return; and another
// end. Another process is started then. The channel delivers again what has failed.
func TestACrashAtAnyStep(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		store     string
		open      func(*testing.T) (first, second *shared)
		accidents []accident
		modes     []bool // whether at most once
		silent    []bool // whether the user is told on return only
		skip      int    // steps, because they take long
	}{
		{"memory", func(*testing.T) (first, second *shared) { s := newShared(); return s, s }, []accident{crashBefore, crashAfter, freeze}, []bool{false, true}, []bool{false, true}, 0},
		{"cosmos", newCosmos, []accident{crashAfter, freeze}, []bool{false}, []bool{false}, 6}, // the store knows nothing of the rest
	} {
		for _, once := range test.modes {
			for _, silent := range test.silent {
				for _, what := range test.accidents {
					for at := 1; ; at++ {
						happened := false
						t.Run(fmt.Sprintf("%s, %v step %d, at most once %v, silent %v", test.store, what, at, once, silent), func(t *testing.T) {
							synctest.Test(t, func(t *testing.T) {
								first, second := test.open(t)
								happened = explore(t, first, second, what, at, once, silent)
							})
						})
						if !happened {
							if at < 29 {
								t.Errorf("there were only %d steps", at-1)
							}
							break
						}
						if !*crashes {
							at += test.skip
							if racing() {
								at += 2 + test.skip
							}
						}
					}
				}
			}
		}
	}
}

// newCosmos returns what two processes have in common that share an account, each
// with a store of its own.
func newCosmos(t *testing.T) (first, second *shared) {
	server := cosmostest.New()
	open := func() *shared {
		s := newShared()
		storage, queue := openCosmos(t, server)
		s.storage, s.store = storage, queue("")
		return s
	}
	first, second = open(), open()
	first.channel = second.channel
	return first, second
}

// explore reports whether there was such a step.
func explore(t *testing.T, world, other *shared, what accident, at int, once, silent bool) bool {
	p := &process{accident: what, at: at, reached: make(chan struct{})}
	options := middleware.SessionsOptions{AtMostOnce: once}
	idle := policy.Rule{Name: "idle", After: 5 * time.Minute, Do: policy.Action{End: true, Say: farewell, OnReturn: notice}}
	if silent {
		idle.Do.Say = ""
	}
	heard := func(text string) (n int) {
		world.channel.mu.Lock()
		defer world.channel.mu.Unlock()
		for _, line := range world.channel.sent {
			if strings.HasSuffix(line, text) {
				n++
			}
		}
		return n
	}

	// The process to which it happens has a channel of its own, because its sends
	// are steps too.
	first := &shared{storage: crashingStorage{world.storage, p}, store: crashingStore{world.store, p}, channel: &channel{begin: world.channel.begin}}
	first.channel.fail = func(a schema.Activity) error {
		return p.step("send "+a.Text, func() error {
			_, err := world.channel.SendActivity(context.Background(), a)
			return err
		})
	}
	ended := make(chan struct{})
	var starting sync.WaitGroup
	var second atomic.Pointer[replica]
	starting.Go(func() {
		select {
		case <-p.reached:
			second.Store(other.start(t, options, idle))
		case <-ended:
		}
	})
	r := first.start(t, options, idle)
	messages := 0
	say := func() {
		messages++
		a := message("hi")
		a.ID, a.Conversation.ID = fmt.Sprint("m", messages), "a"
		for r := r; ; r = second.Load() { // a channel delivers again what has failed
			if r.adapter.Process(t.Context(), a, func(ctx context.Context, turn *bot.Turn) error {
				n, err := r.count.GetOr(ctx, 0)
				if err != nil {
					return err
				}
				return r.count.Set(ctx, n+1)
			}) == nil {
				return
			}
			if time.Sleep(100 * time.Millisecond); second.Load() == nil {
				t.Fatalf("message %d was not handled, and nothing has happened", messages)
			}
		}
	}
	say()
	time.Sleep(idle.After / 2)
	say()
	time.Sleep(idle.After - 5*time.Second)
	say()
	for end := range 2 {
		before, back := heard(farewell), heard(notice)
		time.Sleep(idle.After + 5*time.Minute)
		synctest.Wait()
		items, err := other.storage.Read(t.Context(), []string{"test/conversations/a"})
		if document := string(items["test/conversations/a"].Value); err != nil || strings.Contains(document, "count") || strings.Contains(document, "open") {
			t.Errorf("after end %d, stored is %s: %v", end+1, document, err)
		}
		expectNone(t, other.store)
		say()
		told, back := heard(farewell)-before, heard(notice)-back
		// What is told on return may be told again even at most once, and of a farewell it
		// may then not be known whether it got through.
		if told > 1 && once || told > 2 || told > 0 && back > 0 && !once || told+back == 0 || back > 2 {
			t.Errorf("of end %d, told %d times, and %d times on return", end+1, told, back)
		}
	}
	close(ended)
	starting.Wait()
	if t.Failed() {
		t.Logf("steps: %q\nheard: %q", p.steps, world.channel.sent)
	}
	return second.Load() != nil
}
