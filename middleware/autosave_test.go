package middleware_test

import (
	"context"
	"errors"
	"strings"
	"testing"

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

func TestOneScopeThatCannotBeSavedDoesNotKeepTheOtherFromIt(t *testing.T) {
	down := errors.New("storage is down")
	faults := &statetest.Faults{Storage: state.NewMemory(), Before: func(ctx context.Context, call statetest.Call) error {
		if call.Op == statetest.Write && strings.Contains(call.Keys[0], "conversations") {
			return down
		}
		return nil
	}}
	c := newCounter(faults, 0, nil)
	for range 2 {
		if err := c.adapter.Process(t.Context(), message("a"), c.handle); !errors.Is(err, down) {
			t.Errorf("error is %v, want the storage's", err)
		}
	}
	wantTexts(t, c.base.texts(), "a: 1 here, 1 in all", "a: 1 here, 2 in all")
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
