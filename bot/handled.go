package bot

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

const (
	// What is remembered of an activity and its answer, in bytes at most.
	maxDelivery = 2 << 10
	maxAnswer   = 16 << 10
)

// once does not handle an activity again that was handled, if the channel
// delivers it a second time: the second delivery gets the answer of the first.
// An activity whose turn failed is handled again.
//
// It must be inside of serialize, so that the second delivery waits for the end
// of the first.
func (a *Adapter) once(next Handler) Handler {
	return func(ctx context.Context, turn *Turn) error {
		d, invoke := deliveryOf(turn), turn.Activity.Type == schema.Invoke // before anybody changes it
		if d.id == "" || a.Remember < 0 {
			return next(ctx, turn)
		}
		if answer, ok := a.handled.get(d); ok {
			turn.setAnswer(answer)
			return nil
		}
		if err := next(ctx, turn); err != nil {
			return err
		}
		answer := turn.answer()
		if answer.size() > maxAnswer {
			answer.replies, answer.invoke = nil, nil
			if invoke {
				answer.invoke = &invokeResponse{Status: 200}
			}
		}
		a.handled.put(d, answer, cmp.Or(a.Remember, defaultRemember))
		return nil
	}
}

// A delivery identifies an activity that a channel delivers, however often.
type delivery struct {
	conversationKey
	sender       string
	activityType schema.ActivityTypes
	id           string
	// at tells apart activities that are not new messages and bear the id of
	// the message they are about, such as two edits of it.
	at time.Time
}

// deliveryOf returns the delivery of a turn. Its id is empty if it cannot be
// told, or has ids so long that they come from no channel.
func deliveryOf(turn *Turn) delivery {
	a := &turn.Activity
	if a.Conversation.ID == "" || turn.beside ||
		len(a.ChannelID)+len(a.Conversation.ID)+len(a.From.ID)+len(a.Type)+len(a.ID) > maxDelivery {
		return delivery{}
	}
	d := delivery{conversationOf(turn), a.From.ID, a.Type, a.ID, time.Time{}}
	if a.Type != schema.Message && a.Type != schema.Invoke {
		d.at = a.Timestamp.UTC()
	}
	return d
}

// size returns how many bytes the answer has.
func (a *answer) size() int {
	n := 0
	for _, r := range a.replies {
		n += len(r)
	}
	if a.invoke != nil {
		n += len(a.invoke.Body)
	}
	return n
}

// handled remembers the newest deliveries that were handled, and their answers.
type handled struct {
	mu      sync.Mutex
	answers map[delivery]answer
	ring    []delivery
	next    int // where in ring the next one goes
}

func (h *handled) get(d delivery) (answer, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, ok := h.answers[d]
	return found, ok
}

// put remembers d, and forgets the oldest one if there are max others.
func (h *handled) put(d delivery, ans answer, max int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answers == nil {
		h.answers = make(map[delivery]answer)
	}
	if len(h.ring) < max {
		h.ring = append(h.ring, d)
	} else {
		delete(h.answers, h.ring[h.next])
		h.ring[h.next] = d
		h.next = (h.next + 1) % max
	}
	h.answers[d] = ans
}
