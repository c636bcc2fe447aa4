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

	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/deadline"
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
	steps int
	dead  bool
	until time.Time
}

// step takes a step, unless the process has ended.
func (p *process) step(do func() error) error {
	p.mu.Lock()
	p.steps++
	now := !p.dead && p.steps == p.at
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
	err = c.step(func() (err error) { items, err = c.Storage.Read(ctx, keys); return err })
	return items, err
}

func (c crashingStorage) Write(ctx context.Context, items map[string]state.Item) (etags map[string]string, err error) {
	err = c.step(func() (err error) { etags, err = c.Storage.Write(ctx, items); return err })
	return etags, err
}

type crashingStore struct {
	deadline.Store
	*process
}

func (c crashingStore) Arm(ctx context.Context, d deadline.Deadline) error {
	return c.step(func() error { return c.Store.Arm(ctx, d) })
}

func (c crashingStore) Claim(ctx context.Context, now time.Time, lease time.Duration, n int) (claims []deadline.Claim, next time.Time, err error) {
	if _, next, _ := c.Store.Claim(ctx, now, lease, 0); next.IsZero() || next.After(now) {
		return nil, next, nil // which changes nothing, and would be a step each 10 s
	}
	err = c.step(func() (err error) { claims, next, err = c.Store.Claim(ctx, now, lease, n); return err })
	return claims, next, err
}

func (c crashingStore) Settle(ctx context.Context, claim deadline.Claim, o deadline.Outcome) error {
	return c.step(func() error { return c.Store.Settle(ctx, claim, o) })
}

// TestACrashAtAnyStep ends a process, or holds it up, at each step of a
// conversation that falls silent, is looked at too early, and expires; and starts
// another one.
func TestACrashAtAnyStep(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (first, second *shared){
		"memory": func(*testing.T) (first, second *shared) { s := newShared(); return s, s },
		"cosmos": newCosmos,
	} {
		for _, redeliver := range []bool{false, true} {
			for _, what := range []accident{crashBefore, crashAfter, freeze} {
				if name == "cosmos" && (redeliver || what == crashBefore) {
					continue // it takes long, and the store knows nothing of that
				}
				for at := 1; ; at++ {
					happened := false
					t.Run(fmt.Sprintf("%s, %v step %d, redeliver %v", name, what, at, redeliver), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							one, other := open(t)
							happened = explore(t, one, other, what, at, redeliver)
						})
					})
					if !happened {
						if at < 16 {
							t.Errorf("there were only %d steps", at-1)
						}
						break
					}
				}
			}
		}
	}
}

// newCosmos returns what two processes have in common that share an account.
func newCosmos(t *testing.T) (first, second *shared) {
	server := cosmostest.New()
	shared := func() *shared {
		s := newShared()
		s.storage, s.store = openCosmos(t, server)
		return s
	}
	first, second = shared(), shared()
	first.channel = second.channel
	return first, second
}

// explore reports whether there was such a step.
func explore(t *testing.T, one, world *shared, what accident, at int, redeliver bool) bool {
	p := &process{accident: what, at: at, reached: make(chan struct{})}
	options := deadline.Options{Message: deadline.Text(farewell), Redeliver: redeliver, Poll: time.Minute}
	one.timeout, world.timeout = 5*time.Minute, 5*time.Minute
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

	// The process to which it happens has a channel of its own, for its sends are
	// steps too.
	first := &shared{storage: crashingStorage{one.storage, p}, store: crashingStore{one.store, p}, channel: &channel{begin: world.channel.begin}, timeout: one.timeout}
	first.channel.fail = func(a schema.Activity) error {
		return p.step(func() error {
			_, err := world.channel.SendActivity(context.Background(), a)
			return err
		})
	}
	ended := make(chan struct{})
	var starting sync.WaitGroup
	starting.Go(func() {
		select {
		case <-p.reached:
			world.start(t, options)
		case <-ended:
		}
	})
	r := first.start(t, options)
	answered := r.try(t, "a") == nil
	time.Sleep(one.timeout / 2)
	answered = r.try(t, "a") == nil && answered
	last := time.Now()
	time.Sleep(one.timeout + 10*time.Minute)
	synctest.Wait()
	close(ended)
	starting.Wait()

	happened := false
	select {
	case <-p.reached:
		happened = true
	default:
	}
	n := goodbyes()
	if n > 1 && !redeliver || n > 2 {
		t.Errorf("the user was told %d times", n)
	}
	if n == 0 && (!happened || what == freeze || redeliver && answered) {
		t.Error("the user was not told")
	}
	items, err := world.storage.Read(t.Context(), []string{"test/conversations/a"})
	if document := string(items["test/conversations/a"].Value); err != nil || strings.Contains(document, "count") || strings.Contains(document, "expiry") {
		t.Errorf("%v after the last message (answered %v), stored is %s: %v", time.Since(last), answered, document, err)
	}
	expectNone(t, world.store)
	return happened
}
