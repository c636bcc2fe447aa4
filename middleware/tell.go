package middleware

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/internal/wire"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// welcome tells the user what is to be told with their input.
func (v *visit) welcome(ctx context.Context) {
	found := v.current()
	text := found.OnReturn
	if text == "" || v.elsewhere {
		return
	}
	told := func(r policy.Record) policy.Record {
		if r.OnReturn == text {
			r.OnReturn = ""
		}
		if found.Open != nil && found.Open.Action == (policy.Action{}) {
			r = r.Done(*found.Open, false)
		}
		return r
	}
	err := v.say(ctx, text)
	if err != nil {
		v.warn(ctx, "what is told on return could not be sent", err)
		if kind := failure(err); kind == refused || kind == unknown && !v.options.AtMostOnce {
			return // the turn goes on, and the next input is told
		}
	}
	v.changeSent(told)
}

// attend does what is open in a turn of the user's: it tells them what they are to
// be told, and goes to a dialog, which takes their message.
func (v *visit) attend(ctx context.Context) error {
	v.welcome(ctx)
	open := v.current().Open
	if open == nil || open.Action == (policy.Action{}) {
		return nil
	}
	if open.Action.Say != "" { // of a line that is not about silence
		if err := v.say(ctx, open.Action.Say); err != nil {
			v.warn(ctx, "a user could not be told", err)
		} else {
			v.changeOpen(open, func(_ *policy.Record, o *policy.Open) { o.Action.Say = "" })
		}
	}
	v.taken = open.Action.Take
	if open.Action.Goto != "" {
		found, err := v.options.Dialogs.Goto(ctx, v.turn, *open, nil)
		if err != nil {
			return err
		}
		v.taken = v.taken || found
	}
	v.change(func(r policy.Record) policy.Record { return r.Done(*open, false) })
	return nil
}

// say sends what the program makes of a text.
func (v *visit) say(ctx context.Context, text string) error {
	message := v.options.Render(ctx, v.turn, text)
	if wire.IsZero(&message) {
		return nil
	}
	_, err := v.turn.Send(ctx, message)
	return err
}

// announce stores, with what is open, that this turn begins to tell it, where that
// must not happen twice.
func (v *visit) announce() {
	open := v.current().Open
	if !v.options.AtMostOnce || v.input || open == nil || open.Action.Say == "" || open.Tried || v.mayNotTell() {
		return
	}
	v.change(func(r policy.Record) policy.Record {
		if r.Open != nil {
			o := *r.Open
			o.Tried = true
			r.Open = &o
		}
		return r
	})
	v.announced = true
}

// mayNotTell reports whether the channel has no place for this turn. It notes when
// it will.
func (v *visit) mayNotTell() bool {
	if v.pace == nil || v.placed {
		return false
	}
	due := v.current().Open.Due
	v.retry = v.pace.place(v.key, v.turn.Activity.ChannelID, time.Since(due) > backlog)
	v.placed = v.retry.IsZero()
	return !v.placed
}

// do does what is open.
func (v *visit) do(ctx context.Context) error {
	open := v.current().Open
	if open == nil || open.Action == (policy.Action{}) {
		return nil
	}
	if open.Action.Say != "" {
		if over, err := v.tell(ctx, open); err != nil || !over {
			return err
		}
		if len(v.fired) == 0 { // or else it is logged with what has fired
			v.logStep(ctx, "told later", open.Rule, open.Due, v.answer)
		}
		v.changeOpen(open, func(r *policy.Record, o *policy.Open) {
			if v.told && o.Covers {
				r.OnReturn = ""
			}
			o.Action.Say = ""
		})
		if v.look == nil { // the handler may take long, and a look would tell it again
			if err := v.books.Commit(ctx); err == nil {
				v.forget()
			} else if !errors.Is(err, state.ErrConflict) {
				v.warn(ctx, "what was told could not be stored yet", err)
			}
		}
	}
	if open.Action.Ask {
		if over := v.askAgain(ctx, open); !over {
			return nil
		}
		v.changeOpen(open, func(_ *policy.Record, o *policy.Open) { o.Action.Ask = false })
	}
	if open.Action.Close {
		if over := v.close(ctx); !over {
			return nil
		}
		v.changeOpen(open, func(_ *policy.Record, o *policy.Open) { o.Action.Close = false })
	}
	if open.Action.Goto != "" && v.options.Dialogs != nil {
		if _, err := v.options.Dialogs.Goto(ctx, v.turn, *open, nil); err != nil {
			return err
		}
	}
	v.change(func(r policy.Record) policy.Record { return r.Done(*open, false) })
	return nil
}

// askAgain asks the open question again. It reports whether that need not be tried
// again.
func (v *visit) askAgain(ctx context.Context, open *policy.Open) (over bool) {
	if v.options.Dialogs == nil || time.Since(open.At) > v.options.MaxLateness {
		return true
	}
	n := max(v.current().Fired[open.Rule].Times, 1)
	switch err := v.options.Dialogs.Ask(ctx, v.turn, n); {
	case err == nil:
		v.answer = "asked"
		return true
	case failure(err) == permanent, failure(err) == unknown && v.options.AtMostOnce:
		v.answer = "failed"
		v.warn(ctx, "a question could not be asked again", err)
		return true
	default:
		v.answer = "refused"
		v.retry = time.Now().Add(v.backoff())
		v.warn(ctx, "a question could not be asked again yet", err)
		return false
	}
}

// changeOpen makes a change in what is open, unless that is something else by then.
func (v *visit) changeOpen(open *policy.Open, change func(r *policy.Record, o *policy.Open)) {
	v.changeSent(func(r policy.Record) policy.Record {
		if r.Open != nil && r.Open.At.Equal(open.At) {
			o := *r.Open
			r.Open = &o
			if change(&r, &o); o.Action == (policy.Action{}) {
				r = r.Done(o, false)
			}
		}
		return r
	})
}

// tell tells the user what is open. It reports whether that is over, told or not.
func (v *visit) tell(ctx context.Context, open *policy.Open) (over bool, err error) {
	switch {
	case v.options.AtMostOnce && open.Tried && !v.announced:
		v.answer = "unknown" // an earlier turn has begun to tell, and did not come to its end
		return true, nil
	case time.Since(open.Due) > v.options.MaxLateness:
		v.answer = "too late"
		return true, nil
	case v.mayNotTell():
		v.answer = "waits"
		return false, nil
	}
	if v.options.AtMostOnce && !v.announced {
		v.announce()
		if err := v.books.Commit(ctx); err != nil {
			return false, err
		}
	}
	err = v.say(ctx, open.Action.Say)
	switch kind := failure(err); {
	case err == nil:
		v.told, v.answer = true, "told"
		return true, nil
	case kind == permanent, kind == unknown && v.options.AtMostOnce:
		v.answer = "failed"
		v.warn(ctx, "a user could not be told", err)
		return true, nil
	default:
		v.answer = "refused"
		v.retry = time.Now().Add(v.backoff())
		v.warn(ctx, "a user could not be told yet", err)
		if v.options.AtMostOnce { // it is certain that it was not told
			v.changeOpen(open, func(_ *policy.Record, o *policy.Open) { o.Tried = false })
		}
		return false, nil
	}
}

// close tells the channel that the conversation is over. It reports whether that
// need not be tried again.
func (v *visit) close(ctx context.Context) (over bool) {
	_, err := v.turn.Send(ctx, schema.Activity{Type: schema.EndOfConversation})
	if err == nil || failure(err) == permanent {
		return true
	}
	v.retry = time.Now().Add(v.backoff())
	v.warn(ctx, "a conversation could not be closed yet", err)
	return false
}

// The ways in which a send fails.
const (
	unknown   = iota // it may have arrived
	refused          // it has not arrived
	permanent        // and never will
)

// failure says how a send has failed.
func failure(err error) int {
	var e bot.SendError
	switch {
	case !errors.As(err, &e):
		return unknown
	case e.Permanent():
		return permanent
	case e.Refused():
		return refused
	}
	return unknown
}

// backoff returns how long to wait before what is open is tried again.
func (v *visit) backoff() time.Duration {
	attempts := 0
	if v.look != nil {
		attempts = v.look.claim.Attempts
	}
	return jitter(min(time.Second<<min(attempts, 9), 5*time.Minute))
}

// jitter returns a random time from half of d to d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
