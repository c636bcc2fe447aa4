package connector

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A pace keeps the requests for each conversation within a limit for an hour.
// It lets a sixth of them go at once and spreads the others, so that no hour,
// whenever it begins, has more than the limit.
type pace struct {
	limit rate.Limit
	burst int

	mu            sync.Mutex
	conversations map[string]*rate.Limiter
	sweep         int // the number of conversations at which the idle ones are dropped
}

const minSweep = 1024

func newPace(perHour int) *pace {
	burst := max(perHour/6, 1)
	return &pace{
		limit:         rate.Limit(max(float64(perHour-burst), 0.5) / time.Hour.Seconds()),
		burst:         burst,
		conversations: make(map[string]*rate.Limiter),
		sweep:         minSweep,
	}
}

// wait waits until a request may be made for a conversation. Its error says
// that ctx ends before that.
func (p *pace) wait(ctx context.Context, conversation string) error {
	return p.limiter(conversation).Wait(ctx)
}

func (p *pace) limiter(conversation string) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.conversations[conversation]
	if l == nil {
		if len(p.conversations) >= p.sweep {
			p.drop()
		}
		l = rate.NewLimiter(p.limit, p.burst)
		p.conversations[conversation] = l
	}
	return l
}

// drop drops the conversations that have been silent for so long that a new
// limiter is the same. The caller holds p.mu.
func (p *pace) drop() {
	for conversation, l := range p.conversations {
		if l.Tokens() >= float64(p.burst) {
			delete(p.conversations, conversation)
		}
	}
	p.sweep = max(2*len(p.conversations), minSweep)
}
