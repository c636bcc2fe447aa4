package deadline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/deadline"
)

// A watch notes which deadlines were looked at, and when.
type watch struct {
	*testing.T
	store  deadline.Store
	runner *deadline.Runner
	begin  time.Time

	mu    sync.Mutex
	log   bytes.Buffer
	looks []string
}

// newWatch runs a runner over a store, whose looks end as look says.
func newWatch(t *testing.T, store deadline.Store, opts deadline.Options, look func(ctx context.Context, c deadline.Claim) (deadline.Outcome, error)) *watch {
	w := &watch{T: t, store: store, begin: time.Now()}
	opts.Logger = slog.New(slog.NewTextHandler(w, nil))
	w.runner = deadline.Run(store, func(ctx context.Context, c deadline.Claim) (deadline.Outcome, error) {
		w.mu.Lock()
		w.looks = append(w.looks, fmt.Sprintf("%s at %v", c.Key, time.Since(w.begin)))
		w.mu.Unlock()
		return look(ctx, c)
	}, &opts)
	t.Cleanup(func() {
		if err := w.runner.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// Write writes a line of the log.
func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *watch) logs() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *watch) arm(key string, due time.Duration) {
	w.Helper()
	if err := w.runner.Arm(w.Context(), deadline.Deadline{Key: key, Due: w.begin.Add(due), Data: []byte("data of " + key)}); err != nil {
		w.Fatal(err)
	}
}

// expect checks what was looked at since the last call.
func (w *watch) expect(want ...string) {
	w.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.looks, want) {
		w.Errorf("looked at were %q, want %q", w.looks, want)
	}
	w.looks = nil
}

func (w *watch) entries() (all []deadline.Entry) {
	w.Helper()
	for e, err := range w.store.All(w.Context()) {
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func remove(context.Context, deadline.Claim) (deadline.Outcome, error) {
	return deadline.Outcome{}, nil
}

func TestADeadlineIsLookedAtWhenItIsDueAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(t, deadline.NewMemory(), deadline.Options{}, func(_ context.Context, c deadline.Claim) (deadline.Outcome, error) {
			if string(c.Data) != "data of "+c.Key || c.Attempts != 0 {
				t.Errorf("the claim is %+v", c)
			}
			return deadline.Outcome{}, nil
		})
		w.arm("b", time.Hour)
		w.arm("a", time.Minute)
		time.Sleep(time.Minute - 1)
		w.expect()
		time.Sleep(time.Nanosecond)
		w.expect("a at 1m0s")
		time.Sleep(2 * time.Hour)
		w.expect("b at 1h0m0s")
		if left := w.entries(); len(left) > 0 {
			t.Errorf("left are %+v", left)
		}
	})
}

func TestTheOutcomeOfALookIsWhatBecomesOfTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcomes := map[int]deadline.Outcome{0: {Due: time.Now().Add(time.Hour), Attempts: 7}, 7: {Parked: "enough", Attempts: 8}}
		w := newWatch(t, deadline.NewMemory(), deadline.Options{}, func(_ context.Context, c deadline.Claim) (deadline.Outcome, error) {
			return outcomes[c.Attempts], nil
		})
		w.arm("a", time.Minute)
		time.Sleep(24 * time.Hour)
		w.expect("a at 1m0s", "a at 1h0m0s")
		if left := w.entries(); len(left) != 1 || left[0].Parked != "enough" || left[0].Attempts != 8 {
			t.Errorf("left are %+v", left)
		}
		if logs := w.logs(); strings.Count(logs, "\n") != 1 || !strings.Contains(logs, "level=ERROR") || !strings.Contains(logs, `a deadline is parked`) || !strings.Contains(logs, "enough") {
			t.Errorf("logged was\n%s", logs)
		}
	})
}

// TestWhatIsArmedInTheStoreItselfIsFound within 10 s.
func TestWhatIsArmedInTheStoreItselfIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(t, deadline.NewMemory(), deadline.Options{}, remove)
		time.Sleep(time.Second)
		if err := w.store.Arm(t.Context(), deadline.Deadline{Key: "a", Due: time.Now()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		w.expect("a at 10s")
	})
}

// TestALookThatDoesNotReturnAnOutcomeIsTriedAgain, and in the end the deadline is
// parked. With one slot, none of them holds up another deadline for good.
func TestALookThatDoesNotReturnAnOutcomeIsTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		look func() error
		want string // in the log and in the reason
	}{
		"an error":               {func() error { return errors.New("no: secret/key is bad") }, "is bad"},
		"a panic":                {func() error { panic("ouch") }, "panic: ouch"},
		"the end of a goroutine": {func() error { runtime.Goexit(); return nil }, "ended its goroutine"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatch(t, deadline.NewMemory(), deadline.Options{Concurrency: 1, MaxAttempts: 4}, func(_ context.Context, c deadline.Claim) (deadline.Outcome, error) {
					if c.Key == "secret/key" {
						return deadline.Outcome{}, test.look()
					}
					return deadline.Outcome{}, nil
				})
				w.arm("secret/key", time.Minute)
				w.arm("b", time.Minute+time.Nanosecond)
				time.Sleep(time.Minute)
				w.expect("secret/key at 1m0s")
				time.Sleep(time.Second - 1)
				w.expect("b at 1m0.000000001s")
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := len(w.looks); n != 3 {
					t.Errorf("it was tried %d more times: %v", n, w.looks)
				}
				left := w.entries()
				if len(left) != 1 || !strings.Contains(left[0].Parked, test.want) || left[0].Attempts != 3 {
					t.Errorf("left are %+v", left)
				}
				logs := w.logs()
				if strings.Count(logs, "a look has failed") != 3 || strings.Count(logs, "a deadline is parked") != 1 || strings.Count(logs, test.want) < 4 || strings.Contains(logs, "secret") {
					t.Errorf("logged was\n%s", logs)
				}
				if strings.Contains(logs, "runner_test.go") != (name == "a panic") {
					t.Errorf("of %s, logged was\n%s", name, logs)
				}
				w.arm("secret/key", 10*time.Hour)
				time.Sleep(time.Hour)
				if left := w.entries(); len(left) != 1 || left[0].Parked != "" {
					t.Errorf("armed anew, it is %+v", left)
				}
			})
		})
	}
}

// TestALookHoldsItsClaim for as long as it runs, beyond the lease.
func TestALookHoldsItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := deadline.NewMemory()
		slow := func(ctx context.Context, _ deadline.Claim) (deadline.Outcome, error) {
			time.Sleep(10 * time.Minute)
			return deadline.Outcome{}, ctx.Err()
		}
		one, other := newWatch(t, store, deadline.Options{}, slow), newWatch(t, store, deadline.Options{}, slow)
		one.arm("a", time.Minute)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(one.looks) + len(other.looks); n != 1 || one.logs()+other.logs() != "" {
			t.Errorf("it was looked at %d times, logged was\n%s%s", n, one.logs(), other.logs())
		}
	})
}

// TestALookWhoseClaimIsLostIsTold, because somebody else may be looking.
func TestALookWhoseClaimIsLostIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var causes []error
		w := newWatch(t, deadline.NewMemory(), deadline.Options{}, func(ctx context.Context, c deadline.Claim) (deadline.Outcome, error) {
			if len(causes) > 0 {
				return deadline.Outcome{}, nil
			}
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx))
			return deadline.Outcome{}, ctx.Err()
		})
		w.arm("a", time.Minute)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.arm("a", time.Hour) // while it is looked at
		time.Sleep(2 * time.Hour)
		w.expect("a at 1m0s", "a at 1h0m0s")
		if len(causes) != 1 || !errors.Is(causes[0], deadline.ErrLost) {
			t.Errorf("the causes are %v", causes)
		}
	})
}

func TestNoMoreLooksRunAtOnceThanConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		w := newWatch(t, deadline.NewMemory(), deadline.Options{Concurrency: 8}, func(context.Context, deadline.Claim) (deadline.Outcome, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second - 1) // a longer one gives up its place
			mu.Lock()
			defer mu.Unlock()
			running--
			return deadline.Outcome{}, nil
		})
		for i := range 80 {
			w.arm(fmt.Sprint(i), time.Minute)
		}
		time.Sleep(time.Minute + 15*time.Second)
		synctest.Wait()
		if left := w.entries(); most != 8 || len(left) > 0 {
			t.Errorf("%d ran at once, and %d are left", most, len(left))
		}
	})
}

func TestCloseWaitsForLooksUntilItGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(t, deadline.NewMemory(), deadline.Options{}, func(ctx context.Context, c deadline.Claim) (deadline.Outcome, error) {
			if c.Key == "ends" {
				time.Sleep(time.Second)
				return deadline.Outcome{}, ctx.Err()
			}
			<-ctx.Done()
			time.Sleep(time.Second)
			return deadline.Outcome{Parked: "no"}, ctx.Err()
		})
		w.arm("ends", time.Minute)
		w.arm("hangs", time.Minute)
		w.arm("later", time.Minute+time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.runner.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		for range 2 {
			if err := w.runner.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(w.begin); d != 2*time.Minute+time.Second {
			t.Errorf("it is closed after %v", d)
		}
		var left []string
		for _, e := range w.entries() {
			left = append(left, fmt.Sprintf("%s due at %v, attempts %d, parked %q", e.Key, e.Due.Sub(w.begin), e.Attempts, e.Parked))
		}
		slices.Sort(left)
		if want := []string{`hangs due at 1m0s, attempts 0, parked ""`, `later due at 1m1s, attempts 0, parked ""`}; !slices.Equal(left, want) {
			t.Errorf("left are %q, want %q", left, want)
		}
		w.arm("a", time.Minute) // which somebody else will look at
	})
}

// TestAStoreThatFailsIsComeBackTo.
func TestAStoreThatFailsIsComeBackTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failingStore{Store: deadline.NewMemory()}
		w := newWatch(t, store, deadline.Options{}, remove)
		w.arm("a", time.Minute)
		store.away.Store(true)
		time.Sleep(10 * time.Minute)
		w.expect()
		store.away.Store(false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if len(w.looks) != 1 || !strings.Contains(w.logs(), "deadlines cannot be claimed") {
			t.Errorf("looked at were %v, logged was\n%s", w.looks, w.logs())
		}
	})
}

// A failingStore can be away.
type failingStore struct {
	deadline.Store
	away atomic.Bool
}

func (s *failingStore) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]deadline.Claim, time.Time, error) {
	if s.away.Load() {
		return nil, time.Time{}, errors.New("away")
	}
	return s.Store.Claim(ctx, now, lease, limit)
}

func TestRunWithoutAStoreOrALookPanics(t *testing.T) {
	for name, run := range map[string]func() *deadline.Runner{
		"no store": func() *deadline.Runner { return deadline.Run(nil, remove, nil) },
		"no look":  func() *deadline.Runner { return deadline.Run(deadline.NewMemory(), nil, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			run()
		}()
	}
}
