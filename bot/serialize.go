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

// ErrCircle reports a turn that was not begun because it would have waited for a turn
// that waits for it. Of two turns, in conversations A and B, that each call
// [Adapter.Continue] for the conversation of the other, the second call fails. Who
// waits for whom is known by the contexts that the calls are given, among the turns
// of one Adapter.
var ErrCircle = errors.New("turns wait for each other in a circle")

// serialize runs the turns of one conversation one after the other, in the
// order in which they arrive, and those of different conversations in
// parallel. A turn that waits obeys its context. Turns without a conversation
// do not wait. It covers one process; what several do to one conversation is
// settled by the state's eTags.
func (a *Adapter) serialize(next Handler) Handler {
	return func(ctx context.Context, turn *Turn) error {
		waited := false
		if key := conversationOf(turn); key.conversation != "" && !turn.beside {
			var err error
			if waited, err = a.lanes.enter(ctx, turn, key, cmp.Or(a.MaxWaiting, defaultMaxWaiting)); err != nil {
				return err
			}
			defer a.lanes.leave(key)
		}
		turn.begin(ctx, waited)
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
	running *Turn
	waiting []waiter
}

type waiter struct {
	turn *Turn
	free chan struct{} // closed when it may run
}

// enter waits until no other turn of the conversation is running, and reports
// whether it had to. It fails with ErrBusy if max turns are waiting already, and
// with ErrCircle.
func (s *lanes) enter(ctx context.Context, turn *Turn, key conversationKey, max int) (waited bool, err error) {
	s.mu.Lock()
	l := s.m[key]
	if l == nil {
		if s.m == nil {
			s.m = make(map[conversationKey]*lane)
		}
		s.m[key] = &lane{running: turn}
		s.mu.Unlock()
		return false, nil
	}
	switch {
	case turn.outer != nil && s.waitsFor(l, turn):
		err = ErrCircle
	case len(l.waiting) >= max:
		err = ErrBusy
	}
	if err != nil {
		s.mu.Unlock()
		return false, fmt.Errorf("bot: %w", err)
	}
	free := make(chan struct{})
	l.waiting = append(l.waiting, waiter{turn, free})
	s.mu.Unlock()

	select {
	case <-free:
		return true, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.IndexFunc(l.waiting, func(w waiter) bool { return w.free == free })
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // it was let in at the same moment
		s.leave(key)
	}
	return true, ctx.Err()
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
	l.running = l.waiting[0].turn
	close(l.waiting[0].free)
	l.waiting = slices.Delete(l.waiting, 0, 1)
}

// waitsFor reports whether the running turn of a lane waits, by way of others or
// not, for a turn that is to run within it or within one of those others. The caller
// holds s.mu.
func (s *lanes) waitsFor(l *lane, turn *Turn) bool {
	seen := map[*lane]bool{l: true}
	for next := []*lane{l}; len(next) > 0; next = next[1:] {
		running := next[0].running
		if turn.isWithin(running) {
			return true
		}
		for _, other := range s.m {
			if !seen[other] && slices.ContainsFunc(other.waiting, func(w waiter) bool { return w.turn.isWithin(running) }) {
				seen[other] = true
				next = append(next, other)
			}
		}
	}
	return false
}
