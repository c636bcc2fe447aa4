package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

var (
	// ErrNoTurn reports a context that did not come from [NewContext]: state
	// was used outside of a turn.
	ErrNoTurn = errors.New("context belongs to no turn")

	// ErrMissingID reports an activity that does not say whose state it is.
	// The error text names the missing field.
	ErrMissingID = errors.New("missing id")
)

// IDs name the channel, conversation and user that a turn belongs to, as the
// activity has them: channelId, conversation.id and from.id.
type IDs struct {
	Channel, Conversation, User string
}

// NewContext returns a context for one turn. Scopes find their ids in it and
// keep in it what they have loaded, so that each document is read at most once
// a turn.
func NewContext(ctx context.Context, ids IDs) context.Context {
	outer, _ := ctx.Value(turnKey{}).(*turn)
	return context.WithValue(ctx, turnKey{}, &turn{ids: ids, outer: outer})
}

// Unanswered reports whether a storage owes an answer to the turn that ctx
// belongs to: a call is under way, or the last one for some scope has failed. An
// error that wraps [ErrConflict], [ErrInvalid] or [ErrCorrupt] is an answer. Turns
// within the turn, whose contexts come from its own, count too. Without a turn,
// Unanswered is false.
func Unanswered(ctx context.Context) bool {
	t, err := fromContext(ctx)
	if err != nil {
		return false
	}
	return t.calls.Load() > 0 || t.failures.Load() > 0
}

// Stored reports whether a [Scope.Save] or [Scope.Delete] has changed what is stored
// in the turn that ctx belongs to, or in turns within it. Bookkeeping that was
// committed does not count: to compute it twice changes nothing.
func Stored(ctx context.Context) bool {
	t, err := fromContext(ctx)
	if err != nil {
		return false
	}
	return t.stored.Load()
}

type turnKey struct{}

// A turn holds what the scopes have loaded in it.
type turn struct {
	ids   IDs
	outer *turn // in which it runs, nil for none

	mu      sync.Mutex
	entries map[*Scope]*entry
	failed  map[*Scope]bool // the scopes whose last call got no answer

	calls    atomic.Int32 // to storages, that are under way
	failures atomic.Int32 // how many scopes are in failed
	stored   atomic.Bool  // something
}

// stores takes note that something was stored.
func (t *turn) stores() {
	for ; t != nil; t = t.outer {
		t.stored.Store(true)
	}
}

// asks counts a call to a storage in.
func (t *turn) asks() {
	for ; t != nil; t = t.outer {
		t.calls.Add(1)
	}
}

// answered counts a call for a scope out, which has returned err.
func (t *turn) answered(s *Scope, err error) {
	failed := err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrCorrupt)
	for ; t != nil; t = t.outer {
		if failed || t.failures.Load() > 0 {
			t.note(s, failed)
		}
		t.calls.Add(-1)
	}
}

// note takes note of whether the last call for a scope got no answer.
func (t *turn) note(s *Scope, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		t.failed = make(map[*Scope]bool)
	}
	if delete(t.failed, s); failed {
		t.failed[s] = true
	}
	t.failures.Store(int32(len(t.failed)))
}

func fromContext(ctx context.Context) (*turn, error) {
	if t, ok := ctx.Value(turnKey{}).(*turn); ok {
		return t, nil
	}
	return nil, fmt.Errorf("state: %w", ErrNoTurn)
}
