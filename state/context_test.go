package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/statetest"
)

func TestT1AStorageOwesAnAnswerUntilItHasGivenOne(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error // what the storage says
		owes   bool  // still, after that
		stored bool
	}{
		{"an answer", nil, false, true},
		{"a conflict", state.ErrConflict, false, false},
		{"a request that it will never carry out", fmt.Errorf("x: %w", state.ErrInvalid), false, false},
		{"an item that is no document", fmt.Errorf("x: %w", state.ErrCorrupt), false, false},
		{"any other error", errors.New("away"), true, false},
		{"no answer in time", context.DeadlineExceeded, true, false},
	} {
		for _, op := range []statetest.Op{statetest.Read, statetest.Write, statetest.Delete} {
			t.Run(fmt.Sprintf("%s to %s", test.name, op), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					answer := make(chan error)
					storage := &statetest.Faults{Storage: state.NewMemory(), Before: func(_ context.Context, call statetest.Call) error {
						if call.Op != op || call.N > 1 {
							return nil
						}
						return <-answer
					}}
					scope, other := state.NewConversation(storage), state.NewUser(state.NewMemory())
					count := state.NewProperty[int](scope, "count")
					ctx := newTurn(t)
					done := make(chan struct{})
					go func() {
						defer close(done)
						if op == statetest.Delete {
							scope.Delete(ctx)
							return
						}
						count.Set(ctx, 1)
						scope.Save(ctx)
					}()
					synctest.Wait()
					if !state.Unanswered(ctx) || state.Stored(ctx) {
						t.Errorf("before the answer, unanswered is %v, stored %v", state.Unanswered(ctx), state.Stored(ctx))
					}
					answer <- test.err
					<-done
					other.Load(ctx)                                                                          // whose storage is well
					stored := test.stored || op == statetest.Write && errors.Is(test.err, state.ErrConflict) // at the second attempt
					if state.Unanswered(ctx) != test.owes || state.Stored(ctx) != stored {
						t.Errorf("after it, unanswered is %v, want %v; stored %v, want %v", state.Unanswered(ctx), test.owes, state.Stored(ctx), stored)
					}
					if err := scope.Load(ctx); err != nil || state.Unanswered(ctx) {
						t.Errorf("after the next one (%v), unanswered is %v", err, state.Unanswered(ctx))
					}
				})
			})
		}
	}
}

func TestT1WhatATurnWithinATurnAsksForCounts(t *testing.T) {
	storage := &statetest.Faults{Storage: state.NewMemory()}
	scope := state.NewConversation(storage)
	outer := newTurn(t)
	inner := state.NewContext(outer, state.IDs{Channel: "test", Conversation: "c2"})
	storage.Before = func(context.Context, statetest.Call) error { return errors.New("away") }
	scope.Load(inner)
	if !state.Unanswered(inner) || !state.Unanswered(outer) {
		t.Error("an inner turn has no answer, and the outer one has")
	}
	storage.Before = nil
	scope.Delete(inner)
	if state.Unanswered(outer) || !state.Stored(outer) {
		t.Error("an inner turn has an answer, and the outer one has not")
	}
	if state.Unanswered(t.Context()) || state.Stored(t.Context()) {
		t.Error("a context without turn has one that waits")
	}
}

// TestT1BookkeepingThatWasCommittedCanBeCommittedAgain, so it does not count as
// stored. That the storage owes an answer does.
func TestT1BookkeepingThatWasCommittedCanBeCommittedAgain(t *testing.T) {
	faults := &statetest.Faults{Storage: state.NewMemory()}
	scope := state.NewConversation(faults)
	books := state.NewBookkeeping(scope, "seen")
	ctx := newTurn(t)
	if err := books.Update(ctx, func(values []json.RawMessage) (time.Time, error) {
		values[0] = json.RawMessage(`1`)
		return time.Time{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	faults.Before = func(context.Context, statetest.Call) error { return errors.New("away") }
	if err := books.Commit(ctx); err == nil || !state.Unanswered(ctx) {
		t.Errorf("with the storage away (%v), unanswered is %v", err, state.Unanswered(ctx))
	}
	faults.Before = nil
	if err := books.Commit(ctx); err != nil || state.Unanswered(ctx) || state.Stored(ctx) {
		t.Errorf("then (%v) unanswered is %v, stored %v", err, state.Unanswered(ctx), state.Stored(ctx))
	}
	if err := scope.Delete(ctx); err != nil || !state.Stored(ctx) {
		t.Errorf("after Delete (%v), stored is %v", err, state.Stored(ctx))
	}
}
