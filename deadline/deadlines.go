package deadline

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
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
const (
	armTimeout = 2 * time.Second
	armPause   = 5 * time.Second // after it has waited in vain, in which it is not tried
)

var errAway = errors.New("deadline: not armed: the store was away a moment ago")

// An address is what is stored with a deadline: where the conversation is written
// to, and what vouches for that.
type address struct {
	schema.ConversationReference
	App string `json:"app,omitempty"` // for which the reference was authenticated, "" for none
}

// Deadlines are those of a bot's conversations. They are safe for concurrent use.
type Deadlines struct {
	store        Store
	conversation *state.Scope
	armed        *state.Property[time.Time]
	outbox       *state.Property[*note]

	away    atomic.Int64  // until when the store is not asked to arm, in Unix nanoseconds
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
		if theirs == nil || theirs.Expiry == nil {
			return theirs, nil
		}
		return mine, nil
	}
	return &Deadlines{store: meteredStore{store}, conversation: conversation, armed: armed, outbox: outbox, wake: make(chan struct{}, 1)}
}

// Arm is for the Arm of middleware.ExpireOptions. It sees to it that the
// conversation is looked at when due, or earlier. If the store fails, it tries
// again with the next user input; until then, the conversation has no deadline,
// or an older one. If the store takes longer than 2 s, nothing is armed for 5 s.
func (d *Deadlines) Arm(ctx context.Context, turn *bot.Turn, due time.Time) error {
	if n, ok, err := d.outbox.Get(ctx); ok && n.Expiry != nil || err != nil {
		if err := d.outbox.Set(ctx, &note{}); err != nil { // who writes need not be told
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
	a := address{turn.Reference(), turn.Adapter().AppID()}
	a.ActivityID = ""
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if time.Now().UnixNano() < d.away.Load() {
		return errAway
	}
	arming, cancel := context.WithTimeout(ctx, armTimeout)
	defer cancel()
	if err := d.store.Arm(arming, Deadline{Key: key, Due: due, Data: data}); err != nil {
		// What fails at once, perhaps for this conversation alone, holds nobody up.
		if arming.Err() != nil && ctx.Err() == nil {
			d.away.Store(time.Now().Add(armPause).UnixNano())
		}
		return err
	}
	armed.Add(ctx, 1)
	d.wakeRunner(due)
	return d.armed.Set(ctx, due)
}

// wakeRunner has the runner look at the store if something comes due earlier
// than it would.
func (d *Deadlines) wakeRunner(due time.Time) {
	if nanoseconds(due) >= d.planned.Load() {
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
