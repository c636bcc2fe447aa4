package deadline

import (
	"context"
	"fmt"
	"time"

	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// propertyName is the property of the conversation state that says for when a
// deadline is armed.
const propertyName = "botlapse.deadline"

// overdue is how long after a deadline it is taken for lost, and armed anew by
// the next user input.
const overdue = 10 * time.Minute

// Deadlines are those of a bot's conversations.
type Deadlines struct {
	store        Store
	conversation *state.Scope
	armed        *state.Property[time.Time]
	wake         chan struct{} // tells a Runner of this process that one was armed or moved
}

// New returns the deadlines that are kept in store, for conversations whose
// state is in the scope. It panics if one of them is nil.
func New(store Store, conversation *state.Scope) *Deadlines {
	if store == nil || conversation == nil {
		panic("deadline: nil Store or Scope")
	}
	armed := state.NewProperty[time.Time](conversation, propertyName)
	// Of two turns that have both armed, the later one's is in the store, or
	// will be looked at all the same.
	armed.Merge = func(mine, theirs time.Time) (time.Time, error) {
		if theirs.Before(mine) {
			return theirs, nil
		}
		return mine, nil
	}
	return &Deadlines{store: store, conversation: conversation, armed: armed, wake: make(chan struct{}, 1)}
}

// Arm is for the Arm of middleware.ExpireOptions. It sees to it that the
// conversation is looked at when due, or earlier.
func (d *Deadlines) Arm(ctx context.Context, turn *middleware.Turn, due time.Time) error {
	armed, ok, err := d.armed.Get(ctx)
	if err != nil {
		ok = false // what is no time is armed anew
	}
	if ok && !armed.After(due) && time.Since(armed) < overdue {
		return nil
	}
	key, err := d.conversation.Key(ctx)
	if err != nil {
		return err
	}
	ref := turn.Reference()
	ref.ActivityID = ""
	if err := d.store.Arm(ctx, Deadline{Key: key, Due: due, Reference: ref}); err != nil {
		return err
	}
	d.wakeRunner()
	return d.armed.Set(ctx, due)
}

// wakeRunner has the runner look when there is something to do next.
func (d *Deadlines) wakeRunner() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func lost(c Claim) error { return fmt.Errorf("%w: %q", ErrLost, c.Key) }
