package deadline_test

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
	"github.com/botlapse/botlapse/state"
)

var errCrashed = errors.New("crashed")

// A crash ends a process at one of the steps that it takes in the world, right
// before the step or right after it: from then on it does nothing any more.
type crash struct {
	at    int // 0 for never
	after bool

	mu    sync.Mutex
	steps int
	dead  bool
}

// step takes a step, unless the process has ended.
func (c *crash) step(do func() error) error {
	c.mu.Lock()
	if !c.dead {
		c.steps++
	}
	now := !c.dead && c.steps == c.at
	dead := c.dead
	c.dead = c.dead || now
	c.mu.Unlock()
	switch {
	case now && c.after:
		do()
		return errCrashed
	case now, dead:
		return errCrashed
	}
	return do()
}

type crashingStorage struct {
	state.Storage
	*crash
}

func (c crashingStorage) Read(ctx context.Context, keys []string) (items map[string]state.Item, err error) {
	err = c.step(func() (err error) { items, err = c.Storage.Read(ctx, keys); return err })
	return items, err
}

func (c crashingStorage) Write(ctx context.Context, items map[string]state.Item) (etags map[string]string, err error) {
	err = c.step(func() (err error) { etags, err = c.Storage.Write(ctx, items); return err })
	return etags, err
}

type crashingStore struct {
	deadline.Store
	*crash
}

func (c crashingStore) Arm(ctx context.Context, d deadline.Deadline) error {
	return c.step(func() error { return c.Store.Arm(ctx, d) })
}

func (c crashingStore) Claim(ctx context.Context, now time.Time, lease time.Duration, n int) (claims []deadline.Claim, err error) {
	if next, ok, _ := c.Store.Next(ctx); !ok || next.After(now) {
		return nil, nil // which changes nothing, and would be a step each 10 s
	}
	err = c.step(func() (err error) { claims, err = c.Store.Claim(ctx, now, lease, n); return err })
	return claims, err
}

func (c crashingStore) Renew(ctx context.Context, claim deadline.Claim, now time.Time, lease time.Duration) error {
	return c.step(func() error { return c.Store.Renew(ctx, claim, now, lease) })
}

func (c crashingStore) Finish(ctx context.Context, claim deadline.Claim) error {
	return c.step(func() error { return c.Store.Finish(ctx, claim) })
}

func (c crashingStore) Move(ctx context.Context, claim deadline.Claim, due time.Time, attempts int) error {
	return c.step(func() error { return c.Store.Move(ctx, claim, due, attempts) })
}

func (c crashingStore) Park(ctx context.Context, claim deadline.Claim, reason string) error {
	return c.step(func() error { return c.Store.Park(ctx, claim, reason) })
}

// TestACrashAtAnyStep ends a process at each step of a conversation that falls
// silent, is looked at too early, and expires, and starts another one.
func TestACrashAtAnyStep(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			over := false
			t.Run(fmt.Sprintf("at %d, after the step %v", at, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { over = !crashAt(t, at, after) })
			})
			if over {
				if at < 15 {
					t.Errorf("there were only %d steps", at-1)
				}
				break
			}
		}
	}
}

// crashAt reports whether there was such a step.
func crashAt(t *testing.T, at int, after bool) bool {
	world := newShared()
	c := &crash{at: at, after: after}
	goodbyes := func() (n int) {
		world.channel.mu.Lock()
		defer world.channel.mu.Unlock()
		for _, line := range world.channel.sent {
			if strings.HasSuffix(line, farewell) {
				n++
			}
		}
		return n
	}

	// The process that will crash has a channel of its own, for its sends are
	// steps too.
	first := &shared{storage: crashingStorage{world.storage, c}, store: crashingStore{world.store, c}, channel: &channel{begin: world.channel.begin}}
	first.channel.fail = func(a schema.Activity) error {
		return c.step(func() error {
			_, err := world.channel.SendActivity(context.Background(), a)
			return err
		})
	}
	r := first.start(t, deadline.Options{Message: deadline.Text(farewell)})
	answered := r.try(t, "a") == nil
	time.Sleep(timeout / 2)
	answered = r.try(t, "a") == nil && answered
	last := time.Now()
	time.Sleep(timeout + time.Minute)
	synctest.Wait()
	c.mu.Lock()
	crashed := c.dead
	c.dead = true
	c.mu.Unlock()

	world.start(t, deadline.Options{Message: deadline.Text(farewell)})
	time.Sleep(time.Hour)
	synctest.Wait()
	switch n := goodbyes(); {
	case n > 1:
		t.Errorf("the user was told %d times", n)
	case n == 0 && !crashed:
		t.Error("the user was not told")
	}
	items, err := world.storage.Read(t.Context(), []string{"test/conversations/a"})
	if document := string(items["test/conversations/a"].Value); err != nil || strings.Contains(document, "count") {
		t.Errorf("%v after the last message (answered %v), stored is %s: %v", time.Since(last), answered, document, err)
	}
	world.store.Entries(t.Context(), func(e deadline.Entry) bool {
		t.Errorf("left is %+v", e)
		return true
	})
	return crashed
}
