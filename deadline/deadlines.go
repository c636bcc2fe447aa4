package deadline

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// The properties of the conversation state: for when a deadline is armed, and
// the note that the user is still to be told.
const (
	armedProperty  = "botlapse.deadline"
	outboxProperty = "botlapse.outbox"
)

// armTimeout is how long a turn waits for its deadline. A user who is answered
// is worth more than one who is told of an expiry.
const armTimeout = 5 * time.Second

// Deadlines are those of a bot's conversations.
type Deadlines struct {
	store        Store
	conversation *state.Scope
	armed        *state.Property[time.Time]
	outbox       *state.Property[*note]

	planned atomic.Int64  // when the Runner looks at the store next, in Unix nanoseconds
	wake    chan struct{} // tells it to do so now
}

// New returns the deadlines that are kept in store, for conversations whose
// state is in the scope. It panics if one of them is nil.
func New(store Store, conversation *state.Scope) *Deadlines {
	if store == nil || conversation == nil {
		panic("deadline: nil Store or Scope")
	}
	armed := state.NewProperty[time.Time](conversation, armedProperty)
	// Of two turns that have both armed, the later one's is in the store, or
	// will be looked at all the same.
	armed.Merge = func(mine, theirs time.Time) (time.Time, error) {
		if theirs.Before(mine) {
			return theirs, nil
		}
		return mine, nil
	}
	outbox := state.NewProperty[*note](conversation, outboxProperty)
	outbox.Merge = func(mine, theirs *note) (*note, error) {
		if theirs == nil {
			return nil, nil
		}
		return mine, nil
	}
	return &Deadlines{store: store, conversation: conversation, armed: armed, outbox: outbox, wake: make(chan struct{}, 1)}
}

// Arm is for the Arm of middleware.ExpireOptions. It sees to it that the
// conversation is looked at when due, or earlier. If the store fails, or takes
// longer than 5 s, it tries again with the next user input: until then, the
// conversation has no deadline, or an older one.
func (d *Deadlines) Arm(ctx context.Context, turn *middleware.Turn, due time.Time) error {
	if _, noted, err := d.outbox.Get(ctx); noted || err != nil {
		if err := d.outbox.Set(ctx, nil); err != nil { // who writes need not be told
			return err
		}
	}
	at, ok, err := d.armed.Get(ctx)
	if err != nil {
		ok = false // what is no time is armed anew
	}
	// One that has come due may have been moved, parked or finished since.
	if ok && !at.After(due) && at.After(time.Now()) {
		return nil
	}
	key, err := d.conversation.Key(ctx)
	if err != nil {
		return err
	}
	ref := turn.Reference()
	ref.ActivityID = ""
	arming, cancel := context.WithTimeout(ctx, armTimeout)
	defer cancel()
	if err := d.store.Arm(arming, Deadline{Key: key, Due: due, Reference: ref}); err != nil {
		return err
	}
	armed.Add(ctx, 1)
	d.wakeRunner(due)
	return d.armed.Set(ctx, due)
}

// wakeRunner has the runner look at the store if something comes due earlier
// than it would.
func (d *Deadlines) wakeRunner(due time.Time) {
	if !due.IsZero() && nanoseconds(due) >= d.planned.Load() {
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// nanoseconds returns t as Unix nanoseconds, or what is closest to it: they end
// in 2262.
func nanoseconds(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanoseconds(ns int64) time.Time { return time.Unix(0, ns) }

func lost(c Claim) error { return fmt.Errorf("%w: %q", ErrLost, c.Key) }
