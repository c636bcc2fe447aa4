package deadline

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxChannels bounds how many channels a pace remembers.
	maxChannels = 1000

	// maxPause is how long a turn waits for its place.
	maxPause = 10 * time.Second

	// backlog is how late a conversation must be to stand back behind others.
	backlog = time.Minute
)

// A pace says when which channel may be sent to.
type pace struct {
	limit rate.Limit // negative for none

	mu       sync.Mutex
	channels map[string]*lane
}

// A lane is that of a channel. Those that are late take what the others leave.
type lane struct {
	limiter *rate.Limiter

	mu   sync.Mutex
	late time.Time // when the next one of the backlog is to ask again
}

func newPace(perSecond float64) *pace {
	return &pace{limit: rate.Limit(perSecond), channels: make(map[string]*lane)}
}

// bound bounds how many may want a place at once, such that the last one does
// not wait too long.
func (p *pace) bound(n int) int {
	if p.limit < 0 {
		return n
	}
	return min(n, max(1, int(float64(p.limit)*maxPause.Seconds()*.9)))
}

func (p *pace) lane(channel string) *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.channels[channel]
	if l == nil {
		if len(p.channels) >= maxChannels {
			clear(p.channels)
		}
		l = &lane{limiter: rate.NewLimiter(p.limit, max(1, int(p.limit/10)))}
		p.channels[channel] = l
	}
	return l
}

// A place is the right to send to a channel once.
type place struct {
	at          time.Time         // from when on
	reservation *rate.Reservation // nil if it is to be asked for again then
}

// ask asks for a place in a channel.
func (p *pace) ask(channel string, late bool) *place {
	now := time.Now()
	if p.limit < 0 {
		return &place{at: now}
	}
	l := p.lane(channel)
	switch {
	case !late:
		r := l.limiter.ReserveN(now, 1)
		return &place{now.Add(r.DelayFrom(now)), r}
	case l.limiter.AllowN(now, 1):
		return &place{at: now}
	}
	return &place{at: l.queue(now)}
}

// queue returns when one that is late is to ask again: not before there is a place
// that nobody has reserved, and one behind the other, at the pace of the channel.
func (l *lane) queue(now time.Time) time.Time {
	r := l.limiter.ReserveN(now, 1)
	free := now.Add(r.DelayFrom(now))
	r.CancelAt(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = l.late.Add(time.Duration(float64(time.Second) / float64(l.limiter.Limit())))
	if l.late.Before(free) {
		l.late = free
	}
	return l.late
}

// isFree reports whether the place can be used.
func (p *place) isFree() bool { return !p.at.After(time.Now()) }

// A pausedError reports a channel that may not be sent to for a long time.
type pausedError struct{ until time.Time }

func (e *pausedError) Error() string {
	return "the channel's pace is exceeded until " + e.until.String()
}

// wait waits until the place can be used. If that is too far away, or there is
// none, its error is a *pausedError: nobody is kept waiting behind the backlog.
func (p *place) wait(ctx context.Context) error {
	if p.reservation == nil {
		return &pausedError{p.at}
	}
	if time.Until(p.at) > maxPause {
		p.reservation.Cancel()
		return &pausedError{p.at}
	}
	if err := sleep(ctx, time.Until(p.at)); err != nil {
		p.reservation.Cancel()
		return err
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
