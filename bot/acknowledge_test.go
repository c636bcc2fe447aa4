package bot_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// slow returns a storage whose calls of op for keys of a kind take so long.
func slow(op statetest.Op, kind string, takes time.Duration) *statetest.Faults {
	return &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
		if call.Op == op && strings.Contains(call.Keys[0], kind) {
			return sleep(ctx, takes)
		}
		return nil
	}}
}

// sleep waits for d, or until ctx is done, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

const aText = `{"type":"message","text":"a","id":"m1","channelId":"test","conversation":{"id":"c1"},"from":{"id":"u1"},"recipient":{"id":"bot"}}`

func TestT1WhenATurnIsAcknowledgedAndWhenItIsGivenUp(t *testing.T) {
	const forEver = time.Hour
	invoke := strings.Replace(aText, "message", "invoke", 1)
	replies := strings.Replace(aText, "{", `{"deliveryMode":"expectReplies",`, 1)
	type step func(ctx context.Context, turn *bot.Turn, c *counter) error
	count := func(ctx context.Context, turn *bot.Turn, c *counter) error {
		return errors.Join(c.inConversation.Set(ctx, 1), c.ofUser.Set(ctx, 1)) // which reads user state
	}
	say := func(ctx context.Context, turn *bot.Turn, c *counter) error {
		turn.SetInvokeResponse(200, "re")
		_, err := turn.SendText(ctx, "re")
		return err
	}
	typing := func(ctx context.Context, turn *bot.Turn, c *counter) error {
		_, err := turn.Send(ctx, schema.Activity{Type: schema.Trace}, schema.Activity{Type: schema.Typing})
		return err
	}
	store := func(ctx context.Context, turn *bot.Turn, c *counter) error { return c.conversation.Save(ctx) }
	work := func(ctx context.Context, turn *bot.Turn, c *counter) error { return sleep(ctx, time.Minute) }
	elsewhere := func(ctx context.Context, turn *bot.Turn, c *counter) error {
		ref := turn.Reference()
		ref.Conversation.ID = "c2"
		return c.adapter.Continue(ctx, ref, silent)
	}
	for _, test := range []struct {
		name    string
		body    string
		storage *statetest.Faults
		sends   time.Duration // how long they take
		steps   []step
		status  int
		after   time.Duration
		stored  bool
	}{
		{"a read of 13 s less 1 ns is waited for", aText, slow("Read", "c1", 13*time.Second-1), 0, []step{count}, 200, 13*time.Second - 1, true},
		{"a longer one is not", aText, slow("Read", "c1", 13*time.Second+1), 0, []step{count}, 500, 13 * time.Second, false},
		{"a write of 13 s less 1 ns is waited for", aText, slow("Write", "c1", 13*time.Second-1), 0, []step{count}, 200, 13*time.Second - 1, true},
		{"a longer one is not", aText, slow("Write", "c1", 13*time.Second+1), 0, []step{count}, 500, 13 * time.Second, false},
		{"an invoke is given up too", invoke, slow("Write", "c1", forEver), 0, []step{count}, 500, 13 * time.Second, false},
		{"so is one whose replies are in the response", replies, slow("Write", "c1", forEver), 0, []step{count, say}, 500, 13 * time.Second, false},
		{"traces and typing do not count", aText, slow("Read", "u1", forEver), 0, []step{typing, count}, 500, 13 * time.Second, false},
		{"what was sent makes it go on with a write", aText, slow("Write", "u1", time.Minute), 0, []step{count, say}, 200, time.Minute, true},
		{"or a read", aText, slow("Read", "u1", time.Minute), 0, []step{say, count}, 200, time.Minute, true},
		{"so does what was stored", aText, slow("Read", "u1", time.Minute), 0, []step{store, count}, 200, time.Minute, true},
		{"it is acknowledged when the storage has answered", aText, slow("Read", "u1", 10500*time.Millisecond), 0, []step{count, work}, 200, 11 * time.Second, true},
		{"or the channel", aText, slow("", "", 0), 10500 * time.Millisecond, []step{count, say, work}, 200, 11 * time.Second, true},
		{"but not before", aText, slow("", "", 0), time.Minute, []step{count, say}, 200, time.Minute, true},
		{"nor if it waits for a turn within it", aText, slow("Read", "c2", forEver), 0, []step{count, elsewhere}, 500, 13 * time.Second, false},
		{"an invoke is never acknowledged before its end", invoke, slow("", "", 0), 0, []step{count, say, work}, 200, time.Minute, true},
	} {
		bubble(t, test.name, func(t *testing.T) {
			c := newCounter(test.storage, timeout, nil)
			c.base.Delays(test.sends)
			cause := make(chan error, 1) // why the context of the turn was done
			begin := time.Now()
			w := post(t.Context(), c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
				defer func() { cause <- context.Cause(ctx) }()
				for _, do := range test.steps {
					if err := do(ctx, turn, c); err != nil {
						return err
					}
				}
				return nil
			}), test.body)
			if after := time.Since(begin); w.Code != test.status || after != test.after {
				t.Errorf("answered with %d after %v, want %d after %v", w.Code, after, test.status, test.after)
			}
			time.Sleep(5 * time.Minute)
			if len(cause) > 0 {
				if err := <-cause; err != nil && err != bot.ErrGivenUp {
					t.Errorf("the context was done because of %v", err)
				}
			}
			items, err := test.storage.Storage.Read(t.Context(), []string{"test/users/u1"})
			if stored := len(items) > 0; stored != test.stored || err != nil {
				t.Errorf("stored is %v (%v), want %v", stored, err, test.stored)
			}
		})
	}
}

// TestT1ATurnThatWasGivenUpDoesNothingMore has a storage and a handler that heed
// no context. The second delivery comes while the first turn is still running.
func TestT1ATurnThatWasGivenUpDoesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		storage := &statetest.Faults{Storage: state.NewMemory(), After: func(_ context.Context, call statetest.Call) error {
			if call.Op == statetest.Read && strings.Contains(call.Keys[0], "users") {
				if reads++; reads == 1 {
					time.Sleep(time.Minute)
				}
			}
			return nil
		}}
		c := newCounter(storage, timeout, nil)
		begin := time.Now()
		var mu sync.Mutex
		var trail []string
		log := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			trail = append(trail, fmt.Sprintf("%v: ", time.Since(begin))+fmt.Sprintf(format, args...))
		}
		h := c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			log("begins")
			if err := c.handle(ctx, turn); err != nil {
				log("sending fails, given up %v, context %v", errors.Is(err, bot.ErrGivenUp), ctx.Err())
				ref := turn.Reference()
				ref.Conversation.ID = "c2"
				err := c.adapter.Continue(context.WithoutCancel(ctx), ref, func(ctx context.Context, turn *bot.Turn) error {
					_, err := turn.SendText(ctx, "elsewhere")
					return err
				})
				log("so it does elsewhere, given up %v", errors.Is(err, bot.ErrGivenUp))
			}
			return nil // as if nothing had been
		})
		for range 2 {
			var w *httptest.ResponseRecorder
			answered := make(chan struct{})
			go func() { w = post(t.Context(), h, aText); close(answered) }()
			<-answered
			log("answered with %d", w.Code)
		}
		want := []string{
			"0s: begins",
			"14s: answered with 500",
			"1m0s: sending fails, given up true, context context canceled",
			"1m0s: so it does elsewhere, given up true",
			"1m0s: begins",
			"1m0s: answered with 200",
		}
		if fmt.Sprintf("%q", trail) != fmt.Sprintf("%q", want) {
			t.Errorf("it went\n%q, want\n%q", trail, want)
		}
		wantTexts(t, c.base.texts(), "a: 1 here, 1 in all")
		c.say(t, "b", "b: 2 here, 2 in all")
	})
}

// TestT1AWriteThatSucceedsAllTheSameIsNoFailure has a storage see its write
// through although the turn is given up meanwhile.
func TestT1AWriteThatSucceedsAllTheSameIsNoFailure(t *testing.T) {
	for _, takes := range []time.Duration{13500 * time.Millisecond, 20 * time.Second} {
		bubble(t, takes.String(), func(t *testing.T) {
			storage := &statetest.Faults{Storage: state.NewMemory()}
			storage.After = func(_ context.Context, call statetest.Call) error {
				if call.Op == statetest.Write && call.N == 1 {
					time.Sleep(takes)
				}
				return nil
			}
			runs := 0
			c := newCounter(storage, timeout, nil)
			h := c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
				runs++
				return c.inConversation.Set(ctx, runs)
			})
			first := post(t.Context(), h, aText)
			second := post(t.Context(), h, aText)
			if want := map[bool]int{true: 200, false: 500}[takes < 14*time.Second]; first.Code != want || second.Code != 200 || runs != 1 {
				t.Errorf("answered with %d, want %d, and %d; it ran %d times", first.Code, want, second.Code, runs)
			}
		})
	}
}

// TestT1ATurnThatWaitsForAnotherIsNotAcknowledged, but one that is slow is.
func TestT1ATurnThatWaitsForAnotherIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapter := newHTTP(&base{}, t.Output())
		h := adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error { return sleep(ctx, 30*time.Second) })
		begin := time.Now()
		answers := make(chan string, 3)
		for i := range 3 {
			go func() {
				w := post(t.Context(), h, strings.Replace(aText, "m1", fmt.Sprint(i), 1))
				answers <- fmt.Sprintf("%d: %d after %v", i, w.Code, time.Since(begin))
			}()
			synctest.Wait()
		}
		for _, want := range []string{"0: 200 after 10s", "1: 200 after 31s", "2: 200 after 1m1s"} {
			if got := <-answers; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		adapter.Close(t.Context())
	})
}

// TestT1ATurnThatHasJustBegunIsNotGivenUp although it had to wait for long.
func TestT1ATurnThatHasJustBegunIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		c := newCounter(&statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
			if time.Since(begin) < 13*time.Second {
				return sleep(ctx, time.Hour)
			}
			return sleep(ctx, 700*time.Millisecond)
		}}, timeout, nil)
		h := c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error { return nil })
		answers := make(chan string, 2)
		for i := range 2 {
			go func() {
				w := post(t.Context(), h, strings.Replace(aText, "m1", fmt.Sprint(i), 1))
				answers <- fmt.Sprintf("%d: %d after %v", i, w.Code, time.Since(begin))
			}()
			synctest.Wait()
		}
		for _, want := range []string{"0: 500 after 13s", "1: 200 after 14.4s"} {
			if got := <-answers; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	})
}

// TestT1WhatWasAcknowledgedIsSavedInTheEnd has the storage go away after that,
// in a turn that says nothing.
func TestT1WhatWasAcknowledgedIsSavedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		storage := &statetest.Faults{Storage: state.NewMemory(), Before: func(_ context.Context, call statetest.Call) error {
			if since := time.Since(begin); since > 11*time.Second && since < time.Minute {
				return errors.New("away")
			}
			return nil
		}}
		c := newCounter(storage, timeout, nil)
		w := post(t.Context(), c.adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
			if err := c.inConversation.Set(ctx, 1); err != nil {
				return err
			}
			return sleep(ctx, 12*time.Second)
		}), aText)
		if w.Code != 200 || time.Since(begin) != 10*time.Second {
			t.Errorf("answered with %d after %v", w.Code, time.Since(begin))
		}
		time.Sleep(2 * time.Minute)
		c.say(t, "b", "b: 2 here, 1 in all")
	})
}

func TestT1WhatOutlastsATurn(t *testing.T) {
	const grace = 10 * time.Second
	for _, test := range []struct {
		name    string
		timeout time.Duration // of the turn
		leave   bool          // the client goes away
		slow    time.Duration // how long the handler takes
		lasts   time.Duration // the context that outlasts the turn, from then on
	}{
		{"a turn that is in time", 2 * time.Minute, false, time.Minute, time.Minute + grace},
		{"a turn whose client has gone", 2 * time.Minute, true, time.Minute, grace},
		{"a turn whose time is over", 2 * time.Minute, false, 5 * time.Minute, grace},
		{"a turn that may take any time", -1, false, 5 * time.Minute, grace},
	} {
		bubble(t, test.name, func(t *testing.T) {
			adapter := bot.NewAdapter(&base{})
			adapter.TurnTimeout = test.timeout
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			err := adapter.Process(ctx, message("a"), func(ctx context.Context, turn *bot.Turn) error {
				time.Sleep(test.slow)
				if test.leave {
					leave()
				}
				begin := time.Now()
				ctx, cancel := turn.Outlast(ctx, grace)
				defer cancel()
				<-ctx.Done()
				if lasts := time.Since(begin); lasts != test.lasts {
					t.Errorf("it lasts %v, want %v", lasts, test.lasts)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
