package dialog

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/state"
)

// propertyName is the property of the conversation state that holds the stack.
// It is the name that the samples of the official SDKs use.
const propertyName = "DialogState"

// A Set is the dialogs of a bot, of which each conversation has a stack in its
// state.
//
// The field must be set before the first turn. The methods are safe for
// concurrent use, but no two of them for one conversation at a time.
type Set struct {
	// Report, if not nil, is told of a stored stack that could not be used and
	// was dropped. The error wraps [state.ErrCorrupt] and holds nothing that
	// users have said. By default it becomes a warning of slog.Default().
	Report func(ctx context.Context, err error)

	dialogs registry
	stored  *state.Property[json.RawMessage]
}

// NewSet returns a set of dialogs that keeps its stacks in the conversation
// state. It panics if conversation or a dialog is nil, if two dialogs have the
// same id, or if an OnTimeout names a dialog that there is not.
func NewSet(conversation *state.Scope, dialogs ...Dialog) *Set {
	s := &Set{
		dialogs: newRegistry(dialogs),
		stored:  state.NewProperty[json.RawMessage](conversation, propertyName),
	}
	newStack(nil, s.dialogs).mustFindTargets()
	return s
}

// Handler returns a handler that runs the dialogs, as [Set.Run] does, with each
// message. It takes no notice of other activities.
func (s *Set) Handler(id string) bot.Handler {
	return func(ctx context.Context, turn *bot.Turn) error {
		if turn.Activity.Type != schema.Message {
			return nil
		}
		_, err := s.Run(ctx, turn, id)
		return err
	}
}

// Run continues the conversation's dialogs. If there are none, or none that
// could be continued, and the turn is a message, it begins the dialog called
// id.
func (s *Set) Run(ctx context.Context, turn *bot.Turn, id string) (Result, error) {
	r, err := s.Continue(ctx, turn)
	if err != nil || r.Status != Empty || turn.Activity.Type != schema.Message {
		return r, err
	}
	return s.Begin(ctx, turn, id, nil)
}

// Continue continues the dialog on top of the stack. If the stack is empty, or
// cannot be used, the result is Empty.
//
// The dialogs of this package wait for messages; they take no notice of other
// activities.
func (s *Set) Continue(ctx context.Context, turn *bot.Turn) (Result, error) {
	stack, err := s.load(ctx, turn)
	if err != nil || len(stack.frames) == 0 {
		return Result{}, err
	}
	r, err := stack.resume(ctx)
	return s.save(ctx, stack, r, err)
}

// Begin puts the dialog called id on top of the stack and begins it, whatever
// the activity. What the options must be is up to the dialog; nil means none.
// Dialogs that are under way go on when it ends; a prompt among them asks
// again. If they then turn out to be of no use, all are dropped, and the result
// is Empty.
func (s *Set) Begin(ctx context.Context, turn *bot.Turn, id string, options any) (Result, error) {
	stack, err := s.load(ctx, turn)
	if err != nil {
		return Result{}, err
	}
	fresh := len(stack.frames) == 0
	r, err := stack.Begin(ctx, id, options)
	if err != nil && fresh {
		return Result{}, err
	}
	return s.save(ctx, stack, r, err)
}

// Cancel takes all dialogs off the stack.
func (s *Set) Cancel(ctx context.Context) error {
	stack, err := s.load(ctx, nil)
	if err != nil || len(stack.frames) == 0 {
		return err
	}
	stack.frames = nil
	_, err = s.save(ctx, stack, Result{}, nil)
	return err
}

// load returns the conversation's stack. If what is stored cannot be used, it
// drops that, and returns an empty one.
func (s *Set) load(ctx context.Context, turn *bot.Turn) (*Stack, error) {
	stack, err := s.read(ctx, turn)
	if !isCorrupt(err) {
		return stack, err
	}
	stack = newStack(turn, s.dialogs)
	_, err = s.save(ctx, stack, Result{}, err)
	return stack, err
}

// read returns the stored stack, or an error if that cannot be used.
func (s *Set) read(ctx context.Context, turn *bot.Turn) (*Stack, error) {
	stack := newStack(turn, s.dialogs)
	data, ok, err := s.stored.Get(ctx)
	if err == nil && ok {
		err = stack.decode(data)
	}
	return stack, err
}

// save stores the stack that a dialog has left with r and err. If err is that
// the stack cannot be used, the stack is dropped and the result is Empty.
func (s *Set) save(ctx context.Context, stack *Stack, r Result, err error) (Result, error) {
	if isCorrupt(err) {
		s.report(ctx, err)
		stack, r, err = newStack(stack.Turn, s.dialogs), Result{}, nil
	}
	if err != nil {
		return Result{}, err
	}
	if r.Status == Complete || r.Status == Cancelled {
		stack.frames = nil // also if a dialog only says so
	}
	s.note(stack)
	return r, s.stored.Set(ctx, stack.encode())
}

func (s *Set) report(ctx context.Context, err error) {
	if s.Report != nil {
		s.Report(ctx, err)
		return
	}
	slog.WarnContext(ctx, "dialog begins anew", "err", err)
}
