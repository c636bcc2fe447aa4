package middleware

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/deadline"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// in returns the visit of the turn that ctx belongs to.
func (s *Sessions) in(ctx context.Context) (*visit, error) {
	if v, ok := ctx.Value(visitKey{s}).(*visit); ok {
		return v, nil
	}
	return nil, fmt.Errorf("middleware: session: %w", state.ErrNoTurn)
}

// ID returns the id of the session that is under way, "" if none is. A Sessions whose
// policy does not count from the beginning of sessions, and that has no
// deadlines, records ids only from the first call on, in a turn of user input.
//
// ID, and all methods that take the context of a turn, fail with [state.ErrNoTurn]
// if ctx does not come from a turn that has passed through the Middleware.
func (s *Sessions) ID(ctx context.Context) (string, error) {
	v, err := s.in(ctx)
	if err != nil {
		return "", err
	}
	if v.input && v.current().Session == "" {
		id := rand.Text()
		v.change(func(r policy.Record) policy.Record { return r.Arrive(v.now, id) })
	}
	if r := v.current(); r.Ended.IsZero() {
		return r.Session, nil
	}
	return "", nil
}

// By returns who answers: "bot", "nobody" while a person is waited for, or who has
// taken over.
func (s *Sessions) By(ctx context.Context) (string, error) {
	v, err := s.in(ctx)
	if err != nil {
		return "", err
	}
	return cmp.Or(v.current().By, "bot"), nil
}

// Begin begins a session if none is under way: for a bot that writes first and
// wants an answer. It is stored with the turn.
func (s *Sessions) Begin(ctx context.Context) error {
	id := rand.Text()
	return s.do(ctx, func(r policy.Record, now time.Time) policy.Record { return r.Begin(now, id) })
}

// Resolve says that the matter is settled: rules since [policy.Resolved] begin to
// count. It does nothing if it is resolved already, or no session is under way. User
// input takes it back. It is stored with the turn.
func (s *Sessions) Resolve(ctx context.Context) error {
	return s.doShared(ctx, func(r policy.Record, now time.Time) policy.Record { return r.Resolve(now) })
}

// HandOff says who answers from now on: "bot", "nobody" while a person is waited
// for, or who has taken over, such as "agent". It is stored with the turn.
func (s *Sessions) HandOff(ctx context.Context, to string) error {
	return s.doShared(ctx, func(r policy.Record, now time.Time) policy.Record { return r.HandOff(now, to) })
}

// Postpone sees to it that nothing is due before d from now, because work goes on
// that outlasts the turn. User input ends it. It is stored with the turn.
func (s *Sessions) Postpone(ctx context.Context, d time.Duration) error {
	return s.do(ctx, func(r policy.Record, now time.Time) policy.Record { return r.Postpone(now, d) })
}

// End ends the session and clears the conversation state but for what
// [SessionsOptions].Keep names. The next user input begins a new session. It is
// stored with the turn.
func (s *Sessions) End(ctx context.Context) error {
	if err := s.do(ctx, func(r policy.Record, now time.Time) policy.Record { return r.End(now) }); err != nil {
		return err
	}
	return s.conversation.Clear(ctx, s.options.Keep...)
}

// errPrivate reports what is not known of private conversations.
var errPrivate = errors.New("middleware: session: private conversations are neither resolved nor handed off")

// doShared is do for what is not known of private conversations.
func (s *Sessions) doShared(ctx context.Context, c func(policy.Record, time.Time) policy.Record) error {
	if s.private {
		return errPrivate
	}
	return s.do(ctx, c)
}

// do makes a change in a turn.
func (s *Sessions) do(ctx context.Context, c func(policy.Record, time.Time) policy.Record) error {
	v, err := s.in(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	v.change(func(r policy.Record) policy.Record { return silent(c(r, now)) })
	return nil
}

// silent returns r without the events that nobody listens to.
func silent(r policy.Record) policy.Record {
	if r.Open != nil {
		return r.Delivered(r.Open.Events)
	}
	return r
}

// SetPolicy has another policy carried out from the next turn on, also for users who
// are silent already: with Deadlines, all armed conversations are looked at anew,
// 100 a second. It returns what is wrong with rules that cannot work, and changes
// nothing then. If ctx ends first, SetPolicy returns its error; the conversations
// that it has not come to are looked at when their old deadlines are due.
func (s *Sessions) SetPolicy(ctx context.Context, rules policy.Policy) error {
	if err := s.check(rules); err != nil {
		return fmt.Errorf("middleware: set policy: %w", err)
	}
	s.rules.Store(&rules)
	if s.options.Deadlines == nil {
		return nil
	}
	arm := s.options.Deadlines.Arm
	if s.runner != nil {
		arm = s.runner.Arm
	}
	due := time.Now()
	for e, err := range s.options.Deadlines.All(ctx) {
		if err != nil {
			return fmt.Errorf("middleware: set policy: %w", err)
		}
		due = due.Add(10 * time.Millisecond)
		if e.Parked != "" || !e.Due.After(due) {
			continue
		}
		if err := arm(ctx, deadline.Deadline{Key: e.Key, Due: due, Data: e.Data}); err != nil {
			return fmt.Errorf("middleware: set policy: %w", err)
		}
	}
	return nil
}

// Continue runs a proactive turn in the conversation whose state is under the
// storage key, such as "webchat/conversations/1": in it, h can Resolve, HandOff,
// Postpone or End the session from outside, or say something. It needs Deadlines and
// Start: only so is it recorded how to write to a conversation. It fails with
// [ErrUnknown] if the record does not say.
func (s *Sessions) Continue(ctx context.Context, key string, h bot.Handler) error {
	if !s.isStarted() {
		return fmt.Errorf("middleware: continue: %w: not started", ErrUnknown)
	}
	ids, ok := idsOf(key)
	if !ok {
		return fmt.Errorf("middleware: continue: %w: it is the key of no conversation", ErrUnknown)
	}
	values, err := s.books.Values(state.NewContext(ctx, ids))
	if err != nil {
		return err
	}
	var d data
	r, _ := decodeRecord(values)
	if json.Unmarshal(r.Reference, &d) != nil {
		return fmt.Errorf("middleware: continue: %w", ErrUnknown)
	}
	if app := s.adapter.AppID(); app != "" && d.App != app {
		return fmt.Errorf("middleware: continue: %w", errForeign)
	}
	return s.adapter.Continue(ctx, d.Reference, h)
}

// ErrUnknown reports a conversation that cannot be written to, because nothing is
// recorded of it.
var ErrUnknown = errors.New("unknown conversation")

// idsOf takes a storage key apart.
func idsOf(key string) (ids state.IDs, ok bool) {
	key = strings.TrimSuffix(key, "/")
	ids.Channel, ids.Conversation, ok = strings.Cut(key, "/conversations/")
	if i := strings.LastIndex(ids.Conversation, "/users/"); i >= 0 {
		ids.Conversation, ids.User = ids.Conversation[:i], ids.Conversation[i+len("/users/"):]
	}
	return ids, ok
}
