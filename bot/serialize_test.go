package bot_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
)

func TestTurnsOfOneConversationRunInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		var order []int
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				adapter.Process(t.Context(), message(""), func(context.Context, *bot.Turn) error {
					order = append(order, i) // a race, were they not one after the other
					time.Sleep(time.Second)
					return nil
				})
			})
			synctest.Wait()
		}
		wg.Wait()
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Errorf("order is %v", order)
		}
	})
}

func TestTurnsOfDifferentConversationsRunInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			other := in(fmt.Sprint(i), message(""))
			if i == 0 { // the same id on another channel is another conversation
				other = in("1", message(""))
				other.ChannelID = "other"
			}
			wg.Go(func() {
				adapter.Process(t.Context(), other, func(context.Context, *bot.Turn) error {
					time.Sleep(time.Second)
					return nil
				})
			})
		}
		wg.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("they took %v, want 1s", took)
		}
	})
}

func TestAWaitingTurnObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		var order []string
		say := func(text string, wait time.Duration) (result chan error) {
			result = make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				result <- adapter.Process(ctx, message(text), func(context.Context, *bot.Turn) error {
					order = append(order, text)
					time.Sleep(30 * time.Second)
					return nil
				})
			}()
			synctest.Wait()
			return result
		}
		first := say("first", time.Hour)
		impatient := say("impatient", time.Second)
		atTheSameTime := say("at the same time", 30*time.Second)
		last := say("last", time.Hour)
		if err := <-impatient; err != context.DeadlineExceeded {
			t.Errorf("the impatient one: %v", err)
		}
		for _, r := range []chan error{first, atTheSameTime, last} {
			<-r
		}
		if slices.Contains(order, "impatient") || !slices.Contains(order, "last") {
			t.Errorf("order is %q", order)
		}
	})
}

func TestTheQueueOfAConversationIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		var mu sync.Mutex
		busy := 0
		var wg sync.WaitGroup
		for range 70 { // 1 runs, 64 wait
			wg.Go(func() {
				err := adapter.Process(t.Context(), message(""), func(context.Context, *bot.Turn) error {
					time.Sleep(time.Second)
					return nil
				})
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, bot.ErrBusy) {
					busy++
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := adapter.Process(t.Context(), in("other", message("")), silent); err != nil {
			t.Errorf("another conversation: %v", err)
		}
		wg.Wait()
		if busy != 5 {
			t.Errorf("%d turns were refused, want 5", busy)
		}
	})
}

func TestAPanicOrAnErrorLetsTheNextTurnRun(t *testing.T) {
	adapter := bot.NewAdapter(&base{})
	for _, h := range []bot.Handler{
		func(context.Context, *bot.Turn) error { panic("oops") },
		func(context.Context, *bot.Turn) error { return errBad },
		silent,
	} {
		adapter.Process(t.Context(), message(""), h)
	}
	if err := adapter.Process(t.Context(), message(""), silent); err != nil {
		t.Error(err)
	}
}

// reference returns the reference of u1 in a conversation.
func reference(conversation string) schema.ConversationReference {
	return schema.ConversationReference{ChannelID: "test", Conversation: schema.ConversationAccount{ID: conversation}, User: schema.ChannelAccount{ID: "u1"}}
}

// TestPB7TurnsThatWaitInACircleGetAnErrorAtOnce: each of a number of conversations
// continues the next one in its turn, the last one the first.
func TestPB7TurnsThatWaitInACircleGetAnErrorAtOnce(t *testing.T) {
	for _, n := range []int{2, 3, 10} {
		bubble(t, fmt.Sprint("at the same time, ", n), func(t *testing.T) {
			adapter := bot.NewAdapter(&base{})
			begin := time.Now()
			errs := make([]error, n)
			var turns sync.WaitGroup
			for i := range n {
				turns.Go(func() {
					if err := adapter.Process(t.Context(), in(fmt.Sprint(i), message("")), func(ctx context.Context, _ *bot.Turn) error {
						time.Sleep(time.Second) // till all of them run
						time.Sleep(time.Duration(i))
						errs[i] = adapter.Continue(ctx, reference(fmt.Sprint((i+1)%n)), silent)
						return nil
					}); err != nil {
						t.Error(err)
					}
				})
			}
			turns.Wait()
			for i, err := range errs {
				if want := map[bool]error{true: bot.ErrCircle}[i == n-1]; !errors.Is(err, want) {
					t.Errorf("%d got %v, want %v", i, err, want)
				}
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
		bubble(t, fmt.Sprint("one within the other, ", n), func(t *testing.T) {
			adapter := bot.NewAdapter(&base{})
			var within func(i int) bot.Handler
			within = func(i int) bot.Handler {
				return func(ctx context.Context, _ *bot.Turn) error {
					return adapter.Continue(ctx, reference(fmt.Sprint((i+1)%n)), within(i+1))
				}
			}
			begin := time.Now()
			if err := adapter.Process(t.Context(), in("0", message("")), within(0)); !errors.Is(err, bot.ErrCircle) || time.Since(begin) > 0 {
				t.Errorf("after %v, error is %v", time.Since(begin), err)
			}
		})
	}
	bubble(t, "a message of the same conversation within its turn", func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		if err := adapter.Process(t.Context(), message(""), func(ctx context.Context, _ *bot.Turn) error {
			return adapter.Process(ctx, message(""), silent)
		}); !errors.Is(err, bot.ErrCircle) {
			t.Errorf("error is %v", err)
		}
	})
	bubble(t, "behind one that waits for nobody, they wait", func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		var turns sync.WaitGroup
		slow := func(ctx context.Context, _ *bot.Turn) error { time.Sleep(time.Minute); return nil }
		turns.Go(func() { adapter.Process(t.Context(), in("b", message("")), slow) })
		for _, id := range []string{"a", "c"} { // both wait for b, and somebody for each of them
			turns.Go(func() {
				if err := adapter.Process(t.Context(), in(id, message("")), func(ctx context.Context, _ *bot.Turn) error {
					time.Sleep(time.Second)
					return adapter.Continue(ctx, reference("b"), silent)
				}); err != nil {
					t.Error(err)
				}
			})
			turns.Go(func() {
				time.Sleep(2 * time.Second)
				if err := adapter.Process(t.Context(), in(id+"2", message("")), func(ctx context.Context, _ *bot.Turn) error {
					return adapter.Continue(ctx, reference(id), silent)
				}); err != nil {
					t.Error(err)
				}
			})
		}
		turns.Wait()
	})
	bubble(t, "a turn that has ended is no part of a circle", func(t *testing.T) {
		adapter := bot.NewAdapter(&base{})
		var turns sync.WaitGroup
		if err := adapter.Process(t.Context(), in("a", message("")), func(ctx context.Context, _ *bot.Turn) error {
			turns.Go(func() {
				time.Sleep(time.Second)
				if err := adapter.Continue(context.WithoutCancel(ctx), reference("b"), func(ctx context.Context, _ *bot.Turn) error {
					return adapter.Continue(ctx, reference("a"), silent)
				}); err != nil {
					t.Error(err)
				}
			})
			return nil
		}); err != nil {
			t.Error(err)
		}
		turns.Go(func() {
			adapter.Process(t.Context(), in("a", message("")), func(context.Context, *bot.Turn) error { time.Sleep(time.Minute); return nil })
		})
		turns.Wait()
	})
}
