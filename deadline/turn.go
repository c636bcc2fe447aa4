package deadline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/internal/redact"
	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// A note says, beside the cleared state and stored with it, that the user is
// still to be told. When that is over, it stays without Expiry: so whoever looks
// next knows, and the document does not look as if it had been cleared once more.
type note struct {
	Expiry *middleware.Expiry `json:"expiry,omitempty"`
	Told   bool               `json:"told,omitempty"` // all but the Handler is done
}

// turnTimeout is how long a turn may take in an adapter that does not say so.
const turnTimeout = 2 * time.Minute

// A look is a proactive turn in which a conversation is judged.
type look struct {
	*Runner
	claim      Claim
	address    address
	inspection middleware.Inspection
	place      *place    // nil as long as none was needed
	waits      bool      // for its place, and has done nothing
	again      time.Time // when to look again, zero for never
	attempts   int       // how often it was looked, as far as that counts
	committed  bool      // the cleared state is stored
	left       bool      // as it was
	failed     error     // why the user was not told
}

// look runs the proactive turn in which the conversation of a claim is judged.
// It returns when the conversation is to be looked at again, the zero time for
// never, and as which attempt.
func (r *Runner) look(ctx context.Context, c Claim) (again time.Time, attempts int, err error) {
	l := &look{Runner: r, claim: c}
	if err := json.Unmarshal(c.Data, &l.address); err != nil {
		return time.Time{}, 0, fmt.Errorf("the deadline is corrupt: %w", err)
	}
	if r.isForeign(l.address) {
		return time.Time{}, 0, errForeign
	}
	if err := l.run(ctx); err != nil || !l.waits {
		return l.again, l.attempts, l.over(err)
	}
	// The place is waited for outside of the turn, so that what the user writes
	// meanwhile does not have to.
	if err := l.wait(ctx); err != nil {
		return time.Time{}, 0, err
	}
	err = l.run(ctx)
	return l.again, l.attempts, l.over(err)
}

// run runs the turn.
func (l *look) run(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil { // where the adapter was told not to
			err = &bot.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	l.waits = false
	l.inspection = middleware.Inspection{Conversation: l.deadlines.conversation, Decide: l.decide, Keep: []string{outboxProperty}}
	return l.adapter.Continue(middleware.Inspect(ctx, &l.inspection), l.address.ConversationReference, l.handle)
}

// over returns why the turn is to be run again, for what it has failed with.
func (l *look) over(err error) error {
	if !l.committed {
		return err
	}
	again := error(nil)
	if l.options.Redeliver {
		err, again = nil, err
	}
	// The cleared state is stored: whatever else has failed is reported and over.
	if err = errors.Join(l.failed, err); err != nil {
		l.warn(l.claim, "what follows an expiry has failed", err)
	}
	return again
}

// tooLate reports whether the user is not to be told any more.
func (l *look) tooLate(expiry middleware.Expiry) bool {
	return l.options.MaxLateness > 0 && time.Since(expiry.At) > l.options.MaxLateness
}

// decide is asked when the conversation is stale, before it is cleared.
func (l *look) decide(ctx context.Context, turn *bot.Turn, expiry middleware.Expiry) (middleware.Decision, error) {
	late := l.tooLate(expiry)
	l.left = late && l.options.LeaveLate
	tell := l.options.Message != nil && !late
	switch {
	case l.left:
		return middleware.Leave, nil
	case !tell && l.options.Handler == nil:
		return middleware.ExpireSilently, l.deadlines.outbox.Set(ctx, &note{})
	case !l.mayTell(expiry):
		return middleware.Leave, nil
	}
	return middleware.ExpireAndTell, l.deadlines.outbox.Set(ctx, &note{Expiry: &expiry, Told: !tell})
}

// mayTell reports whether this turn has its place in the channel. If not, it is
// waited for.
func (l *look) mayTell(expiry middleware.Expiry) bool {
	if l.place == nil {
		l.place = l.pace.ask(l.address.ChannelID, time.Since(expiry.At) > backlog)
	}
	l.waits = !l.place.isFree()
	return !l.waits
}

// wait waits for the place.
func (l *look) wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	err := l.place.wait(ctx)
	if err != nil && l.ctx.Err() != nil {
		return errStopped
	}
	return err
}

// handle is the handler of the turn.
func (l *look) handle(ctx context.Context, turn *bot.Turn) error {
	expiry := l.inspection.Expiry
	l.committed = expiry != nil
	n, ok, err := l.deadlines.outbox.Get(ctx)
	if err != nil && !errors.Is(err, state.ErrCorrupt) {
		return err
	}
	noted := ok && n.Expiry != nil
	switch {
	case l.left:
		observe(ctx, l.inspection.StaleAt, "left")
	case l.waits:
	case expiry != nil && !noted:
		observe(ctx, expiry.At, "silent")
	case expiry != nil:
		return l.deliver(ctx, turn, n)
	case noted && l.options.Redeliver:
		if !l.mayTell(*n.Expiry) {
			return nil
		}
		l.committed = true
		if l.tooLate(*n.Expiry) {
			n.Told = true
		}
		return l.deliver(ctx, turn, n)
	case noted:
		// An earlier turn has stored the note, and it cannot be known whether it
		// came to send the message.
		unconfirmed.Add(ctx, 1)
		l.options.Logger.Warn("a process ended while it told a user of an expiry", "conversation", redact.Hash(l.claim.Key))
		return l.deadlines.outbox.Set(ctx, &note{})
	case !l.inspection.StaleAt.IsZero():
		l.again = l.inspection.StaleAt
	case !ok && l.claim.Attempts == 0:
		// The turn that has armed the deadline may be running still.
		l.again, l.attempts = time.Now().Add(cmp.Or(max(l.adapter.TurnTimeout, 0), turnTimeout)), 1
	}
	return nil
}

// deliver does what follows the clearing, and removes the note.
func (l *look) deliver(ctx context.Context, turn *bot.Turn, n *note) error {
	expiry, outcome := *n.Expiry, "handled"
	if !n.Told && l.options.Message != nil {
		outcome = "told"
		if err := l.tell(ctx, turn, expiry); err != nil {
			if l.options.Redeliver && !isPermanent(err) {
				return err
			}
			outcome, l.failed = "failed", err
		}
	}
	if l.inspection.Expiry != nil || !n.Told {
		observe(ctx, expiry.At, outcome)
	}
	if l.options.Handler != nil {
		if l.options.Redeliver && !n.Told {
			n.Told = true
			err := errors.Join(l.deadlines.outbox.Set(ctx, n), l.deadlines.conversation.Save(ctx))
			if err != nil {
				return err
			}
		}
		if err := l.options.Handler(ctx, turn, expiry); err != nil {
			return err
		}
	}
	return l.deadlines.outbox.Set(ctx, &note{})
}

func (l *look) tell(ctx context.Context, turn *bot.Turn, expiry middleware.Expiry) error {
	message := l.options.Message(ctx, turn, expiry)
	if wire.IsZero(&message) {
		return nil
	}
	_, err := turn.Send(ctx, message)
	return err
}

// isPermanent reports whether sending again is of no use: the conversation is
// gone, or the bot was removed from it.
func isPermanent(err error) bool {
	var e bot.PermanentError
	return errors.As(err, &e) && e.Permanent()
}
