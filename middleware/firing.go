package middleware

import (
	"context"
	"fmt"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/policy"
)

// A hook has hookTime to object.
const hookTime = 5 * time.Second

// A Firing is what a policy is about to do. [SessionsOptions].Before may change it.
type Firing struct {
	// Steps are those that are due, with their lines and when they were due.
	Steps []policy.Event

	// Action is what they do together. It does nothing to change it.
	Action policy.Action

	// Say and OnReturn are what the user is told, now and with their next input. They
	// may be changed; "" is nothing.
	Say, OnReturn string

	verdict policy.Verdict
	wait    time.Duration
	veto    bool
}

// Postpone has the policy do nothing before d from now. All else that comes due counts
// from there. 24 h after the first of the steps was due, they are done all the same.
// User input ends it.
func (f *Firing) Postpone(d time.Duration) { f.wait, f.veto = d, false }

// Veto has the lines of the steps do nothing until the next user input, or for 24 h
// from when the first of them was due.
func (f *Firing) Veto() { f.wait, f.veto = 0, true }

// hold returns r with what the hook has decided, and whether that keeps the steps
// from being done.
func (f *Firing) hold(r policy.Record, now time.Time) (policy.Record, bool) {
	if f.veto {
		return r.Veto(now, f.verdict)
	}
	return r.Hold(now, f.verdict, f.wait)
}

// ask asks the hook about a verdict.
func (v *visit) ask(ctx context.Context, verdict policy.Verdict) *Firing {
	firing := func() *Firing {
		return &Firing{Steps: verdict.Fired, Action: verdict.Action, Say: verdict.Action.Say, OnReturn: verdict.Action.OnReturn, verdict: verdict}
	}
	f := firing()
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	over := make(chan error, 1)
	go func() {
		err := fmt.Errorf("the hook has ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = &bot.PanicError{Value: p}
			}
			over <- err
		}()
		v.options.Before(ctx, v.turn, f)
		err = nil
	}()
	var err error
	select {
	case err = <-over:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		v.warn(ctx, "the hook before a firing has failed, and is taken for no objection", err)
		return firing() // which the hook does not have
	}
	return f
}
