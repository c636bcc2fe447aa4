package middleware_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

// As in the official SDKs' test of the same: the user's count survives a new
// conversation, the conversation's does not.
func TestAutoSaveSavesAllScopes(t *testing.T) {
	c := newCounter(state.NewMemory(), 0, nil)
	c.say(t, "a", "a: 1 here, 1 in all")
	c.say(t, "b", "b: 2 here, 2 in all")
	wantTexts(t, c.process(t, in("c2", message("c"))), "c: 1 here, 3 in all")
}

func TestOneScopeThatCannotBeSaved(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error // of the write of conversation state
		want []string
	}{
		{"does not keep the other from it", state.ErrConflict, []string{"a: 1 here, 1 in all", "a: 1 here, 2 in all"}},
		{"because the storage is down leaves the other as it was", errors.New("down"), []string{"a: 1 here, 1 in all", "a: 1 here, 1 in all"}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
				if call.Op == statetest.Write && strings.Contains(call.Keys[0], "conversations") {
					return test.err
				}
				return nil
			}}
			c := newCounter(faults, 0, nil)
			for range 2 {
				if err := c.adapter.Process(t.Context(), message("a"), c.handle); !errors.Is(err, test.err) {
					t.Errorf("error is %v, want the storage's", err)
				}
			}
			wantTexts(t, c.base.texts(), test.want...)
		})
	}
}

// TestT1WhatWasStoredInPartIsStoredInFull: another delivery would count twice in
// the scope that was.
func TestT1WhatWasStoredInPartIsStoredInFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
			if call.Op == statetest.Write && strings.Contains(call.Keys[0], "users") && time.Since(begin) < time.Minute {
				return errors.New("down")
			}
			return nil
		}}
		c := newCounter(faults, 0, nil)
		err := c.adapter.Process(t.Context(), message("a"), func(ctx context.Context, turn *bot.Turn) error {
			return errors.Join(c.inConversation.Set(ctx, 1), c.ofUser.Set(ctx, 1))
		})
		if took := time.Since(begin); err != nil || took < time.Minute || took > time.Minute+2*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		c.say(t, "b", "b: 2 here, 2 in all")
	})
}

// TestT1AutoSaveTriesAgainForAsLongAsATurnMayTake, and 10 s beyond.
func TestT1AutoSaveTriesAgainForAsLongAsATurnMayTake(t *testing.T) {
	for _, test := range []struct {
		name   string
		handle func(c *counter) bot.Handler
		took   time.Duration
	}{
		{"with nothing sent it does not", countsSilently, 0},
		{"with something sent it does", func(c *counter) bot.Handler { return c.handle }, 2*time.Minute + 10*time.Second},
	} {
		bubble(t, test.name, func(t *testing.T) {
			down := errors.New("down")
			faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
				if call.Op == statetest.Write {
					return down
				}
				return nil
			}}
			c := newCounter(faults, 0, nil)
			begin := time.Now()
			if err := c.adapter.Process(t.Context(), message("a"), test.handle(c)); !errors.Is(err, down) || time.Since(begin) != test.took {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		})
	}
}

// countsSilently counts a message without an answer.
func countsSilently(c *counter) bot.Handler {
	return func(ctx context.Context, turn *bot.Turn) error { return c.inConversation.Set(ctx, 1) }
}

func TestAutoSaveOutsideOfAnAdapterIsAnError(t *testing.T) {
	h := middleware.AutoSave(state.NewUser(state.NewMemory()))(silent)
	if err := h(t.Context(), &bot.Turn{}); !errors.Is(err, state.ErrNoTurn) {
		t.Errorf("error is %v, want ErrNoTurn", err)
	}
}

func TestAutoSaveOfANilScopePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	middleware.AutoSave(nil)
}
