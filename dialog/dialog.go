/*
Package dialog leads a conversation through several turns: it asks, waits for
the answer, understands it, asks again where it does not, and goes on.

	dialogs := dialog.NewSet(conversation,
		dialog.NewWaterfall("greet",
			func(ctx context.Context, step *dialog.Step) error {
				return step.Prompt(ctx, "name", dialog.PromptOptions{Prompt: dialog.Text("What is your name?")})
			},
			dialog.Then(func(ctx context.Context, step *dialog.Step, name string) error {
				step.Say(ctx, "Hello "+name+".")
				return step.End(ctx, name)
			}),
		),
		dialog.NewTextPrompt("name", nil),
	)
	http.Handle("/api/messages", adapter.HTTPHandler(dialogs.Handler("greet")))

A [Waterfall] is a sequence of steps, a prompt asks one question, a
[Component] makes one dialog of several. Dialogs that begin each other form a
stack: the one on top gets the user's next message, and when it ends, the one
below goes on with its result.

# Where the conversation stands

The stack is kept in the conversation state, in the property "DialogState", in
the form of the JavaScript SDK: a JavaScript bot with the same dialogs can take
over a conversation in the middle, and the other way round. What another bot
has put there besides stays there. A turn that changes nothing, such as a
question asked again, writes nothing.

Like all state, it is saved by the scope: with [middleware.AutoSave], after a
turn that did not fail.

# When nobody answers

A prompt may say how long it waits, and what is said then: see [PromptOptions].
This package knows no clock. A policy says when, and middleware that carries it out
asks a [Set] for the rest: where the conversation stands ([Set.Place]), to ask again
([Set.Ask]), which dialog to go to ([Set.Target]), to begin it ([Set.Goto]), and
whether a turn put the question that waits ([Set.Question]).

# Unusable state

A stored stack may be of no use: it was written by a bot in another language,
or by an older version of this bot whose dialogs had other names or more
steps. This does not fail the turn: it is reported, see [Set], and the dialog
begins anew with the message that brought it to light. Errors of the storage
are not taken for this; they are returned.
*/
package dialog

import (
	"context"
	"errors"

	"github.com/botlapse/botlapse/state"
)

var (
	// ErrNotFound reports an id for which there is no dialog.
	ErrNotFound = errors.New("no such dialog")

	// ErrLoop reports dialogs that would not come to an end within a turn:
	// they begin, replace or follow each other without waiting for the user.
	ErrLoop = errors.New("dialogs run in a loop")
)

// A Status says how a turn left a dialog.
type Status int

const (
	Empty     Status = iota // there was no dialog
	Waiting                 // it waits for the user's next message
	Complete                // it came to its end
	Cancelled               // it was cancelled, with all others
)

func (s Status) String() string {
	switch s {
	case Empty:
		return "empty"
	case Waiting:
		return "waiting"
	case Complete:
		return "complete"
	case Cancelled:
		return "cancelled"
	}
	return "unknown status"
}

// A Result is what became of a dialog in a turn.
type Result struct {
	Status Status

	// Value is what a dialog that is Complete ended with.
	Value any
}

// A Dialog is a part of a conversation that may take several turns. Most bots
// do with those of this package.
//
// The methods are called with the dialog on top of the stack. To remember something
// until the next turn, they call [Stack.Store]. To go on, they call exactly one of
// Begin, End, Replace and CancelAll of the stack, and return its result. To wait for
// the user, they return Result{Status: Waiting}. They must be safe for concurrent
// use, by different stacks.
type Dialog interface {
	// ID returns the name by which the dialog is begun and stored.
	ID() string

	// Begin starts the dialog.
	Begin(ctx context.Context, stack *Stack, options any) (Result, error)

	// Continue handles a turn, which may be any activity.
	Continue(ctx context.Context, stack *Stack) (Result, error)

	// Resume goes on after a dialog that was begun on top of this one has
	// ended with value.
	Resume(ctx context.Context, stack *Stack, value any) (Result, error)
}

// A corruptError reports a stored stack that cannot be used. Its text holds
// nothing of what users have said.
type corruptError struct{ text string }

func (e *corruptError) Error() string { return "dialog: " + e.text }
func (e *corruptError) Unwrap() error { return state.ErrCorrupt }

func isCorrupt(err error) bool {
	var c *corruptError
	return errors.As(err, &c)
}
