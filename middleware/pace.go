package middleware

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// backlog is how late a conversation must be to stand back behind others.
	backlog = time.Minute

	// maxChannels bounds how many channels a pace remembers.
	maxChannels = 1000
)

// A pace says when which channel may be told something.
type pace struct {
	perSecond float64 // negative for any number

	mu       sync.Mutex
	channels map[string]*places
}

// places are those of a channel.
type places struct {
	all, late *rate.Limiter
	promised  map[string]time.Time // to conversations, from when on
	pruned    time.Time
}

func newPace(perSecond float64) *pace {
	return &pace{perSecond: perSecond, channels: make(map[string]*places)}
}

// place gives a conversation a place in its channel: now, for the zero time, or
// else at the instant that it returns, at which it is to be called again. Those
// that are late get half of the places at most.
func (p *pace) place(key, channel string, late bool) (again time.Time) {
	if p.perSecond < 0 {
		return time.Time{}
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.channels[channel]
	if c == nil {
		if len(p.channels) >= maxChannels {
			clear(p.channels)
		}
		burst := max(1, int(p.perSecond/10))
		c = &places{
			all:      rate.NewLimiter(rate.Limit(p.perSecond), burst),
			late:     rate.NewLimiter(rate.Limit(p.perSecond/2), max(1, burst/2)),
			promised: make(map[string]time.Time),
		}
		p.channels[channel] = c
	}
	from, promised := c.promised[key]
	if promised && from.After(now) {
		return from
	}
	delete(c.promised, key)
	var wait time.Duration
	switch {
	case late && !promised:
		wait = c.late.ReserveN(now, 1).DelayFrom(now)
		promised = wait <= 0
		fallthrough
	case late:
		if promised && !c.all.AllowN(now, 1) { // those that are not late have more to say
			wait = time.Duration(float64(time.Second) / p.perSecond)
		}
	case !promised:
		wait = c.all.ReserveN(now, 1).DelayFrom(now)
	}
	if wait <= 0 {
		return time.Time{}
	}
	if now.Sub(c.pruned) > backlog {
		c.pruned = now
		for other, from := range c.promised { // some are looked at by other processes
			if now.Sub(from) > backlog {
				delete(c.promised, other)
			}
		}
	}
	c.promised[key] = now.Add(wait)
	return c.promised[key]
}
