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
func (d *deadlines) Claim(ctx context.Context, after, now time.Time, lease time.Duration, limit int) (claims []deadline.Claim, next time.Time, err error) {
	if !d.process.alive() {
		return nil, time.Time{}, errEnded
	}
	if _, next, err := d.Store.Claim(ctx, after, now, lease, 0); err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = d.process.do(func() (err error) {
		claims, next, err = d.Store.Claim(ctx, after, now, lease, limit)
		return err
	})
	return claims, next, err
}

func (d *deadlines) Renew(ctx context.Context, c deadline.Claim, now time.Time, lease time.Duration) error {
	return d.process.do(func() error { return d.Store.Renew(ctx, c, now, lease) })
}

func (d *deadlines) Finish(ctx context.Context, c deadline.Claim) error {
	return d.process.do(func() error { return d.Store.Finish(ctx, c) })
}

func (d *deadlines) Move(ctx context.Context, c deadline.Claim, due time.Time, attempts int) error {
	return d.process.do(func() error { return d.Store.Move(ctx, c, due, attempts) })
}

func (d *deadlines) Park(ctx context.Context, c deadline.Claim, reason string) error {
	return d.process.do(func() error { return d.Store.Park(ctx, c, reason) })
}
