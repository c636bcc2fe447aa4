package bot

import (
	"encoding/json"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// repeat gives turn the answer of an earlier delivery of its activity.
func (s *serializer) repeat(turn *Turn, d delivery) bool {
	s.mu.Lock()
	answer, ok := s.answers.get(d)
	s.mu.Unlock()
	if ok {
		turn.mu.Lock()
		turn.replies, turn.invoke = answer.replies, answer.invoke
		turn.mu.Unlock()
	}
	return ok
}

func (s *serializer) remember(turn *Turn, d delivery, invoke bool) {
	if d.id == "" {
		return
	}
	turn.mu.Lock()
	answer := answer{turn.replies, turn.invoke}
	turn.mu.Unlock()
	if answer.size() > maxAnswer {
		answer.replies, answer.invoke = nil, nil
		if invoke {
			answer.invoke = &invokeResponse{Status: 200}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers.put(d, answer)
}

// A delivery identifies an activity that a channel delivers, however often.
type delivery struct {
	conversationKey
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
	if len(a.ChannelID)+len(a.Conversation.ID)+len(a.Type)+len(a.ID) > maxDelivery {
		return delivery{}
	}
	d := delivery{conversationOf(turn), a.Type, a.ID, time.Time{}}
	if a.Type != schema.Message && a.Type != schema.Invoke {
		d.at = a.Timestamp.UTC()
	}
	return d
}

// An answer is what the HTTP response to a delivery holds.
type answer struct {
	replies []json.RawMessage
	invoke  *invokeResponse
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

// answers remembers the newest max answers.
type answers struct {
	max  int
	m    map[delivery]answer
	ring []delivery
	next int // where in ring the next one goes
}

func (a *answers) get(d delivery) (answer, bool) {
	if d.id == "" {
		return answer{}, false
	}
	found, ok := a.m[d]
	return found, ok
}

func (a *answers) put(d delivery, ans answer) {
	if a.max == 0 {
		return
	}
	if a.m == nil {
		a.m = make(map[delivery]answer)
	}
	if len(a.ring) < a.max {
		a.ring = append(a.ring, d)
	} else {
		delete(a.m, a.ring[a.next])
		a.ring[a.next] = d
		a.next = (a.next + 1) % a.max
	}
	a.m[d] = ans
}
