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
