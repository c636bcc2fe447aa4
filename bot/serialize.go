package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// ErrBusy reports a turn that was not begun because too many turns of its
// conversation were waiting. Over HTTP it is answered with 503.
var ErrBusy = errors.New("too many turns are waiting")

// SerializeOptions are options of [Serialize].
type SerializeOptions struct {
	// MaxWaiting is how many turns of one conversation may wait. The
	// default, for 0, is 64.
	MaxWaiting int

	// Remember is how many activities, of all conversations together, are
	// remembered so that they are not handled again: each takes some 200
	// bytes, and at most 18 KiB. The default, for 0, is 4096; negative means
	// none.
	Remember int
}

const (
	defaultMaxWaiting = 64
	defaultRemember   = 4096

	// What is remembered of an activity and its answer, in bytes at most.
	maxDelivery = 2 << 10
	maxAnswer   = 16 << 10
)

// Serialize runs the turns of one conversation one after the other, in the
// order in which they arrive, and those of different conversations in
// parallel. A turn that waits obeys its context; one that finds too many
// waiting fails with [ErrBusy]. Turns without a conversation do not wait.
//
// An activity that was handled is not handled again if the channel delivers
// it a second time; the second delivery gets the answer of the first. An
// answer of more than 16 KiB, which only invokes and activities that expect
// replies have, is not kept: such a delivery is answered without content. An
// activity whose turn failed is handled again.
//
// The adapter puts Serialize right inside of Recover. It covers one process;
// what several do to one conversation is settled by the state's eTags.
func Serialize(opts *SerializeOptions) Middleware {
	var o SerializeOptions
	if opts != nil {
		o = *opts
	}
	return func(next Handler) Handler {
		s := &serializer{
			maxWaiting: cmp.Or(o.MaxWaiting, defaultMaxWaiting),
			lanes:      make(map[conversationKey]*lane),
			answers:    answers{max: max(cmp.Or(o.Remember, defaultRemember), 0)},
		}
		return func(ctx context.Context, turn *Turn) error {
			key := conversationOf(turn)
			if key.conversation == "" || turn.beside {
				return next(ctx, turn)
			}
			if err := s.enter(ctx, key); err != nil {
				return err
			}
			defer s.leave(key)
			d, invoke := deliveryOf(turn), turn.Activity.Type == schema.Invoke // before anybody changes it
			if s.repeat(turn, d) {
				return nil
			}
			if err := next(ctx, turn); err != nil {
				return err
			}
			s.remember(turn, d, invoke)
			return nil
		}
	}
}

type conversationKey struct{ channel, conversation string }

func conversationOf(turn *Turn) conversationKey {
	return conversationKey{turn.Activity.ChannelID, turn.Activity.Conversation.ID}
}

// A serializer holds a lane for each conversation in which a turn is running.
type serializer struct {
	maxWaiting int

	mu      sync.Mutex
	lanes   map[conversationKey]*lane
	answers answers
}

// A lane holds the turns that wait for the running one, first come first.
type lane struct {
	waiting []chan struct{} // each is closed when its turn may run
}

// enter waits until no other turn of the conversation is running.
func (s *serializer) enter(ctx context.Context, key conversationKey) error {
	s.mu.Lock()
	l := s.lanes[key]
	if l == nil {
		s.lanes[key] = &lane{}
		s.mu.Unlock()
		return nil
	}
	if len(l.waiting) >= s.maxWaiting {
		s.mu.Unlock()
		return fmt.Errorf("bot: %w", ErrBusy)
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	s.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(l.waiting, turn)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // it was let in at the same moment
		s.leave(key)
	}
	return ctx.Err()
}

// leave lets the next turn of the conversation run.
func (s *serializer) leave(key conversationKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[key]
	if len(l.waiting) == 0 {
		delete(s.lanes, key)
		return
	}
	close(l.waiting[0])
	l.waiting = slices.Delete(l.waiting, 0, 1)
}
