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
)

// A pace says when which channel may be sent to.
type pace struct {
	limit rate.Limit // negative for none

	mu       sync.Mutex
	channels map[string]lanes
}

// lanes are those of a channel: what is late needs the leave of both.
type lanes struct{ all, late *rate.Limiter }

func newPace(perSecond float64) *pace {
	return &pace{limit: rate.Limit(perSecond), channels: make(map[string]lanes)}
}

// A pausedError reports a channel that may not be sent to for a long time.
type pausedError struct{ until time.Time }

func (e *pausedError) Error() string {
	return "the channel's pace is exceeded until " + e.until.String()
}

// wait waits until channel may be sent to. If that is too long for a turn to
// wait, its error is a *pausedError.
func (p *pace) wait(ctx context.Context, channel string, late bool) error {
	if p.limit < 0 {
		return nil
	}
	l, now := p.lanes(channel), time.Now()
	places := []*rate.Reservation{l.all.ReserveN(now, 1)}
	if late {
		places = append(places, l.late.ReserveN(now, 1))
	}
	var delay time.Duration
	for _, r := range places {
		delay = max(delay, r.DelayFrom(now))
	}
	if delay <= maxPause {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
		}
	}
	for _, r := range places {
		r.Cancel()
	}
	if delay > maxPause {
		return &pausedError{now.Add(delay)}
	}
	return ctx.Err()
}

func (p *pace) lanes(channel string) lanes {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.channels[channel]
	if !ok {
		if len(p.channels) >= maxChannels {
			clear(p.channels)
		}
		burst := max(1, int(p.limit/10))
		l = lanes{all: rate.NewLimiter(p.limit, burst), late: rate.NewLimiter(p.limit/2, burst)}
		p.channels[channel] = l
	}
	return l
}
