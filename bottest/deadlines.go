package bottest

import (
	"context"
	"time"

	"github.com/botlapse/botlapse/deadline"
)

// deadlines is a store as a process uses it.
type deadlines struct {
	deadline.Store
	process *Process
}

func (d *deadlines) Arm(ctx context.Context, armed deadline.Deadline) error {
	return d.process.do(func() error { return d.Store.Arm(ctx, armed) })
}

// Claim looks first whether there is something to claim: a process looks each
// few seconds, and to look in vain is no step.
func (d *deadlines) Claim(ctx context.Context, now time.Time, lease time.Duration, limit int) (claims []deadline.Claim, next time.Time, err error) {
	if !d.process.alive() {
		return nil, time.Time{}, errEnded
	}
	if _, next, err := d.Store.Claim(ctx, now, lease, 0); err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = d.process.do(func() (err error) {
		claims, next, err = d.Store.Claim(ctx, now, lease, limit)
		return err
	})
	return claims, next, err
}

func (d *deadlines) Settle(ctx context.Context, c deadline.Claim, o deadline.Outcome) error {
	return d.process.do(func() error { return d.Store.Settle(ctx, c, o) })
}
