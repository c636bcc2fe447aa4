package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrBusy reports a turn that was not begun because too many turns of its
// conversation were waiting. Over HTTP it is answered with 503.
var ErrBusy = errors.New("too many turns are waiting")

// serialize runs the turns of one conversation one after the other, in the
// order in which they arrive, and those of different conversations in
// parallel. A turn that waits obeys its context. Turns without a conversation
// do not wait. It covers one process; what several do to one conversation is
// settled by the state's eTags.
func (a *Adapter) serialize(next Handler) Handler {
	return func(ctx context.Context, turn *Turn) error {
		key := conversationOf(turn)
		if key.conversation == "" || turn.beside {
			return next(ctx, turn)
		}
		if err := a.lanes.enter(ctx, key, cmp.Or(a.MaxWaiting, defaultMaxWaiting)); err != nil {
			return err
		}
		defer a.lanes.leave(key)
		return next(ctx, turn)
	}
}

type conversationKey struct{ channel, conversation string }

func conversationOf(turn *Turn) conversationKey {
	return conversationKey{turn.Activity.ChannelID, turn.Activity.Conversation.ID}
}

// lanes holds a lane for each conversation in which a turn is running.
type lanes struct {
	mu sync.Mutex
	m  map[conversationKey]*lane
}

// A lane holds the turns that wait for the running one, first come first.
type lane struct {
	waiting []chan struct{} // each is closed when its turn may run
}

// enter waits until no other turn of the conversation is running. It fails with
// ErrBusy if max turns are waiting already.
func (s *lanes) enter(ctx context.Context, key conversationKey, max int) error {
	s.mu.Lock()
	l := s.m[key]
	if l == nil {
		if s.m == nil {
			s.m = make(map[conversationKey]*lane)
		}
		s.m[key] = &lane{}
		s.mu.Unlock()
		return nil
	}
	if len(l.waiting) >= max {
		s.mu.Unlock()
		return fmt.Errorf("bot: %w", ErrBusy)
	}
	free := make(chan struct{})
	l.waiting = append(l.waiting, free)
	s.mu.Unlock()

	select {
	case <-free:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(l.waiting, free)
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
func (s *lanes) leave(key conversationKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.m[key]
	if len(l.waiting) == 0 {
		delete(s.m, key)
		return
	}
	close(l.waiting[0])
	l.waiting = slices.Delete(l.waiting, 0, 1)
}
