package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/middleware"
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

// TestACrashAtAnyStep ends a process, or holds it up, at each step of a
// conversation that falls silent, is looked at too early, and expires; and starts
// another one.
func TestACrashAtAnyStep(t *testing.T) {
	for _, once := range []bool{false, true} {
		for _, what := range []accident{crashBefore, crashAfter, freeze} {
			for at := 1; ; at++ {
				happened := false
				t.Run(fmt.Sprintf("%v step %d, at most once %v", what, at, once), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { happened = explore(t, newShared(), what, at, once) })
				})
				if !happened {
					if at < 12 {
						t.Errorf("there were only %d steps", at-1)
					}
					break
				}
			}
		}
	}
}

// explore reports whether there was such a step.
func explore(t *testing.T, world *shared, what accident, at int, once bool) bool {
	p := &process{accident: what, at: at, reached: make(chan struct{})}
	options := middleware.SessionsOptions{AtMostOnce: once}
	world.timeout = 5 * time.Minute
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
	first := &shared{storage: crashingStorage{world.storage, p}, store: crashingStore{world.store, p}, channel: &channel{begin: world.channel.begin}, timeout: world.timeout}
	first.channel.fail = func(a schema.Activity) error {
		return p.step("send "+a.Text, func() error {
			_, err := world.channel.SendActivity(context.Background(), a)
			return err
		})
	}
	ended := make(chan struct{})
	var starting sync.WaitGroup
	var second *replica
	starting.Go(func() {
		select {
		case <-p.reached:
			second = world.start(t, options)
		case <-ended:
		}
	})
	r := first.start(t, options)
	answered := r.try(t, "a") == nil
	time.Sleep(world.timeout / 2)
	answered = r.try(t, "a") == nil && answered
	last := time.Now()
	time.Sleep(world.timeout + 10*time.Minute)
	synctest.Wait()
	close(ended)
	starting.Wait()

	happened := second != nil
	n := heard(farewell)
	if n > 1 && once || n > 2 {
		t.Errorf("the user was told %d times", n)
	}
	if n == 0 && (!happened || what == freeze || !once && answered) {
		t.Error("the user was not told")
	}
	items, err := world.storage.Read(t.Context(), []string{"test/conversations/a"})
	if document := string(items["test/conversations/a"].Value); err != nil || strings.Contains(document, "count") || strings.Contains(document, "open") {
		t.Errorf("%v after the last message (answered %v), stored is %s: %v", time.Since(last), answered, document, err)
	}
	expectNone(t, world.store)
	if happened { // and who comes back is told, if they were not yet
		second.say(t, "a")
		// With at most once, it may not be known whether the user was told.
		if back := heard(notice); answered && (n == 0 && back != 1 || n > 0 && back > 0 && !once) {
			t.Errorf("told %d times, and %d times on return", n, back)
		}
	}
	if t.Failed() {
		t.Logf("steps: %q", p.steps)
	}
	return happened
}
