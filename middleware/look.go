package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
)

var (
	// errAstray reports a proactive turn that did not come to its Sessions.
	errAstray = errors.New("the proactive turn did not come through its Sessions: its middleware is in another adapter, or another middleware has stopped or changed the turn")

	// errOther reports a proactive turn with another storage key than its deadline.
	errOther = errors.New("the proactive turn did not come through its Sessions as it was: it has the state of another conversation, because the form of the keys or another middleware has changed that")

	// errForeign reports a deadline that no turn was run for.
	errForeign = errors.New("the conversation reference did not come with a token of this app: nothing is sent to it")
)

// A look is a proactive turn because a deadline has come due.
type look struct {
	claim deadline.Claim
	armed time.Time // the instant for which the deadline was armed
	visit *visit    // nil as long as the turn has not come through
	other bool      // the turn had another storage key
	next  time.Time // when to look again, by the record
}

// lookKey is the key under which the context of a look's turn holds it.
type lookKey struct{ *Sessions }

// lookAt looks at the conversation of a claim.
func (s *Sessions) lookAt(ctx context.Context, c deadline.Claim) (deadline.Outcome, error) {
	var d data
	if err := json.Unmarshal(c.Data, &d); err != nil {
		return deadline.Outcome{Parked: fmt.Sprintf("not a deadline of Sessions: %v", err)}, nil
	}
	if app := s.adapter.AppID(); app != "" && d.App != app {
		return deadline.Outcome{Parked: errForeign.Error(), Attempts: c.Attempts}, nil
	}
	l := &look{claim: c, armed: d.Armed}
	err := s.adapter.Continue(context.WithValue(ctx, lookKey{s}, l), d.Reference, func(context.Context, *bot.Turn) error { return nil })
	switch {
	case errors.Is(err, bot.ErrClosed): // which is nobody's fault
		return deadline.Outcome{Due: time.Now().Add(time.Second), Attempts: c.Attempts}, nil
	case err != nil:
		return deadline.Outcome{}, err
	case l.other: // which another version of the program may mend
		return deadline.Outcome{}, errOther
	case l.visit == nil: // likewise
		return deadline.Outcome{}, errAstray
	}
	v := l.visit
	switch {
	case !v.retry.IsZero(): // what is open could not be done
		attempts := c.Attempts + 1
		if v.answer == "waits" {
			attempts = max(c.Attempts, 1) // it is not left to somebody else
		}
		return deadline.Outcome{Due: l.next, Attempts: attempts}, nil
	case len(v.fired) == 0 && !v.current().Armed.Equal(l.armed):
		// The record does not know this deadline. The turn that has armed it, which was
		// then at the latest, may run still, and knows better when to look.
		over := l.armed.Add(v.turnTimeout() + saveTimeout)
		if over.After(time.Now()) && (l.next.IsZero() || l.next.After(over)) {
			l.next = over
		}
	}
	// What the record says is armed stays so, because turns rely on it: a turn that has
	// failed may have armed this deadline in its place.
	if armed := v.current().Armed; armed.After(time.Now()) && (l.next.IsZero() || l.next.After(armed)) {
		l.next = armed
	}
	return deadline.Outcome{Due: l.next}, nil
}

// Foreign returns how many deadlines there are whose conversation reference did not
// come with a token of the adapter's app, because it was stored without
// credentials or with those of another app. Nothing is sent to them: when they come
// due, they are parked. Foreign reads all deadlines. Before Start, and without
// Deadlines, there are none.
func (s *Sessions) Foreign(ctx context.Context) (n int, err error) {
	if s.options.Deadlines == nil || !s.isStarted() {
		return 0, nil
	}
	app := s.adapter.AppID()
	if app == "" {
		return 0, nil
	}
	for e, err := range s.options.Deadlines.All(ctx) {
		if err != nil {
			return n, err
		}
		var d data
		if json.Unmarshal(e.Data, &d) == nil && d.App != app {
			n++
		}
	}
	return n, nil
}
