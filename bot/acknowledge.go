package bot

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/botlapse/botlapse/state"
)

// ErrGivenUp reports a turn that was given up: the storage did not answer, and
// nothing had been sent or stored. From then on it is the cause of the turn's
// context, as context.Cause returns it, and the error of every send. The request
// is answered with 500, so that the channel delivers the activity again.
var ErrGivenUp = errors.New("turn given up, as the storage does not answer")

const (
	// lookEvery is how often a turn is looked at that could not be acknowledged
	// at once.
	lookEvery = time.Second

	// patience is how much longer than AckAfter a turn may wait for the storage
	// before it is given up.
	patience = 3 * time.Second

	// endTimeout is how long the end of a turn is waited for that was given up:
	// the channel must have its answer before it gives up in its turn.
	endTimeout = time.Second
)

// await waits until a turn has ended, and returns its error, which done gets, or
// until it can be acknowledged. If the response needs what the turn answers, it
// cannot. Await may give the turn up.
func (a *Adapter) await(turn *Turn, needsAnswer bool, done <-chan error, giveUp context.CancelCauseFunc) (acknowledged bool, err error) {
	after := cmp.Or(a.AckAfter, defaultAckAfter)
	if after < 0 {
		return false, <-done
	}
	timer := time.NewTimer(time.Until(turn.arrived.Add(after)))
	defer timer.Stop()
	for {
		select {
		case err := <-done:
			return false, err
		case <-timer.C:
		}
		switch {
		case !needsAnswer && turn.acknowledge(min(after, lookEvery)/2):
			return true, nil
		case turn.giveUp(after+patience, giveUp):
			timer.Reset(endTimeout)
			select {
			case err := <-done:
				return false, err
			case <-timer.C:
				return false, ErrGivenUp
			}
		}
		timer.Reset(lookEvery)
	}
}

// acknowledge reports whether the turn may be acknowledged before its end, and
// takes note of it. It may not while it waits: for the turns before it, for a
// storage, or for the end of a send; nor if its last send has failed. Then an end
// of the process, or an outage that lasts, would lose what the channel takes for
// handled. Nor may it as long as it has run for less than settled, as it may be
// about to ask the storage.
func (t *Turn) acknowledge(settled time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.began.IsZero() || time.Since(t.began) < settled || t.sending > 0 || t.unsent || state.Unanswered(t.ctx) {
		return false
	}
	t.acknowledged = true
	return true
}

// giveUp gives the turn up, by cancel among others, if it waits for a storage, has
// sent and stored nothing, and has arrived so long ago. Then it has done nothing
// that another delivery would do twice.
func (t *Turn) giveUp(after time.Duration, cancel context.CancelCauseFunc) bool {
	t.mu.Lock()
	t.givenUp = !t.began.IsZero() && time.Since(t.began) >= patience && time.Since(t.arrived) >= after &&
		t.sending == 0 && !t.sent && !state.Stored(t.ctx) && state.Unanswered(t.ctx)
	givenUp, outlasting := t.givenUp, t.outlasting
	t.mu.Unlock()
	if givenUp {
		cancel(ErrGivenUp)
		if outlasting != nil {
			outlasting()
		}
	}
	return givenUp
}

// begin takes note that the turn runs now, in ctx, and whether it had to wait.
func (t *Turn) begin(ctx context.Context, waited bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ctx, t.began = ctx, t.arrived
	if waited {
		t.began = time.Now()
	}
}
