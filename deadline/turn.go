package deadline

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// A note says, beside the cleared state and stored with it, that the user is
// still to be told. It is null when that is over: without it, the document would
// look to others as if it had been cleared once more.
type note struct {
	Expiry middleware.Expiry `json:"expiry"`
	Told   bool              `json:"told,omitempty"` // all but the Handler is done
}

// A look is a proactive turn in which a conversation is judged.
type look struct {
	*Runner
	claim   Claim
	late    bool
	paced   bool
	again   time.Time // when to look again, zero for never
	expired bool      // and the cleared state is stored
	left    bool      // as it was
	failed  error     // why the user was not told
}

// look runs the proactive turn in which the conversation of a claim is judged.
// It returns when the conversation is to be looked at again, the zero time for
// never.
func (r *Runner) look(ctx context.Context, c Claim, late bool) (again time.Time, err error) {
	l := &look{Runner: r, claim: c, late: late}
	defer func() {
		if v := recover(); v != nil { // where the adapter was told not to
			again, err = time.Time{}, l.over(&middleware.PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	err = r.bot.Continue(middleware.Deciding(ctx, l.decide), c.Reference, l.handle)
	return l.again, l.over(err)
}

// over returns why the turn is to be run again, for what it has failed with.
func (l *look) over(err error) error {
	if !l.expired {
		return err
	}
	again := error(nil)
	if l.options.Redeliver {
		err, again = nil, err
	}
	// The cleared state is stored: whatever else has failed is reported and over.
	if err = errors.Join(l.failed, err); err != nil {
		l.warn(l.claim, "an expiry was not told, or its handler failed", err)
	}
	return again
}

// tooLate reports whether the user is not to be told any more.
func (l *look) tooLate(expiry middleware.Expiry) bool {
	return l.options.MaxLateness > 0 && time.Since(expiry.At) > l.options.MaxLateness
}

// decide is asked when the conversation is stale, before that is stored.
func (l *look) decide(ctx context.Context, turn *middleware.Turn, expiry middleware.Expiry) (middleware.Decision, error) {
	late := l.tooLate(expiry)
	if late && l.options.TooLate == middleware.Leave {
		l.left = true
		observe(ctx, expiry.At, "left")
		return middleware.Leave, nil
	}
	tell := l.options.Message != nil && !late
	if !tell && l.options.Handler == nil {
		return middleware.ExpireSilently, nil
	}
	// Whoever waits does so before anything is stored, so that a message never
	// has to wait behind its note.
	if !l.paced {
		if err := l.wait(ctx); err != nil {
			return middleware.Leave, err
		}
		l.paced = true
	}
	return middleware.ExpireAndTell, l.deadlines.outbox.Set(ctx, &note{Expiry: expiry, Told: !tell})
}

// wait waits until the channel may be sent to.
func (l *look) wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	err := l.pace.wait(ctx, l.claim.Reference.ChannelID, l.late)
	if err != nil && l.ctx.Err() != nil {
		return errStopped
	}
	return err
}

// handle is the handler of the turn.
func (l *look) handle(ctx context.Context, turn *middleware.Turn) error {
	expiry, expired := middleware.Expired(ctx)
	l.expired = expired
	n, noted, err := l.deadlines.outbox.Get(ctx)
	if err != nil && !errors.Is(err, state.ErrCorrupt) {
		return err
	}
	switch {
	case l.left:
	case expired && !noted:
		observe(ctx, expiry.At, "silent")
	case noted && (expired || l.options.Redeliver):
		l.expired = true
		return l.deliver(ctx, turn, n)
	case noted:
		// An earlier turn has stored the note, and it cannot be known whether it
		// came to send the message.
		unconfirmed.Add(ctx, 1)
		l.options.Logger.Warn("a process ended while it told a user of an expiry", "conversation", hash(l.claim.Key))
		return l.deadlines.outbox.Set(ctx, nil)
	default:
		if at, ok := middleware.StaleAt(ctx); ok {
			l.again = at
		}
	}
	return nil
}

// deliver does what follows the clearing, and removes the note.
func (l *look) deliver(ctx context.Context, turn *middleware.Turn, n *note) error {
	expiry, outcome := n.Expiry, "handled"
	if !n.Told && l.options.Message != nil && !l.tooLate(expiry) {
		outcome = "told"
		if err := l.tell(ctx, turn, expiry); err != nil {
			outcome = "failed"
			if l.options.Redeliver && !isPermanent(err) {
				observe(ctx, expiry.At, outcome)
				return err
			}
			l.failed = err
		}
	}
	observe(ctx, expiry.At, outcome)
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
	return l.deadlines.outbox.Set(ctx, nil)
}

func (l *look) tell(ctx context.Context, turn *middleware.Turn, expiry middleware.Expiry) error {
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
	var e interface{ Permanent() bool }
	return errors.As(err, &e) && e.Permanent()
}
