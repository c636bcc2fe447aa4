package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	return context.WithValue(ctx, turnKey{}, &turn{ids: ids})
}

type turnKey struct{}

// A turn holds what the scopes have loaded in it.
type turn struct {
	ids     IDs
	mu      sync.Mutex
	entries map[*Scope]*entry
}

func fromContext(ctx context.Context) (*turn, error) {
	if t, ok := ctx.Value(turnKey{}).(*turn); ok {
		return t, nil
	}
	return nil, fmt.Errorf("state: %w", ErrNoTurn)
}
