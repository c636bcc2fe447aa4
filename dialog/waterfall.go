package dialog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/internal/object"
)

// A StepFunc is one step of a waterfall. It ends by returning what one of the
// methods of step has returned, which it calls at most once; or a Result that
// is Waiting, for the user's next text to be the next step's result.
type StepFunc func(ctx context.Context, step *Step) (Result, error)

// A Waterfall runs steps one after the other. A step that begins a prompt or
// another dialog is followed by the next step when that has ended. After the
// last step the waterfall ends with the last result.
type Waterfall struct {
	id    string
	steps []StepFunc
}

// NewWaterfall returns a waterfall called id. It panics if a step is nil.
func NewWaterfall(id string, steps ...StepFunc) *Waterfall {
	if slices.ContainsFunc(steps, func(f StepFunc) bool { return f == nil }) {
		panic("dialog: waterfall " + strconv.Quote(id) + " with a nil step")
	}
	return &Waterfall{id: id, steps: slices.Clone(steps)}
}

// ID returns the waterfall's id.
func (w *Waterfall) ID() string { return w.id }

// Begin implements [Dialog]. The options are for the steps: any value that has
// a JSON form.
func (w *Waterfall) Begin(ctx context.Context, stack *Stack, options any) (Result, error) {
	if options == nil {
		options = struct{}{}
	}
	encoded, err := object.Marshal(options)
	if err != nil {
		return Result{}, fmt.Errorf("dialog: begin waterfall %q: %w", w.id, err)
	}
	f := stack.top()
	f.state.Set("options", encoded)
	var values object.Object
	values.Set("instanceId", newInstanceID())
	f.state.Set("values", values.Encode())
	return w.run(ctx, stack, f, 0, nil)
}

// Continue implements [Dialog]. The text of a message is the next step's
// result.
func (w *Waterfall) Continue(ctx context.Context, stack *Stack) (Result, error) {
	if stack.Turn.Activity.Type != schema.Message {
		return Result{Status: Waiting}, nil
	}
	return w.Resume(ctx, stack, stack.Turn.Activity.Text)
}

// Resume implements [Dialog]. The value is the next step's result.
func (w *Waterfall) Resume(ctx context.Context, stack *Stack, value any) (Result, error) {
	f := stack.top()
	index, err := strconv.Atoi(string(f.state.Get("stepIndex")))
	if err != nil || index < 0 || index >= len(w.steps) {
		return Result{}, &corruptError{fmt.Sprintf("waterfall %q is stored at a step that it does not have", w.id)}
	}
	return w.run(ctx, stack, f, index+1, value)
}

// run runs the step of the given index.
func (w *Waterfall) run(ctx context.Context, stack *Stack, f *frame, index int, value any) (Result, error) {
	if index == len(w.steps) {
		return stack.End(ctx, value)
	}
	if _, ok := object.ParseValid(f.state.Get("values")); !ok {
		return Result{}, &corruptError{fmt.Sprintf("waterfall %q is stored without its values", w.id)}
	}
	f.state.Set("stepIndex", json.RawMessage(strconv.Itoa(index)))
	return w.steps[index](ctx, &Step{
		Turn:      stack.Turn,
		Index:     index,
		Result:    value,
		waterfall: w,
		stack:     stack,
		frame:     f,
	})
}

// newInstanceID returns a random UUID, version 4, as JSON.
func newInstanceID() json.RawMessage {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Appendf(nil, `"%x-%x-%x-%x-%x"`, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// A Step is one step of a waterfall in a conversation. Its methods say how the
// waterfall goes on; only one of them may be called, once, and what it returns
// is the step's to return.
type Step struct {
	// Turn is the turn that is being handled.
	Turn *bot.Turn

	// Index is the step's place in the waterfall, from 0.
	Index int

	// Result is what the previous step's prompt or dialog ended with, or what
	// the previous step passed to Next. It is nil in the first step. [Answer]
	// returns it with its type.
	Result any

	waterfall *Waterfall
	stack     *Stack
	frame     *frame
	left      bool // one of the methods was called
}

// Options decodes into v what the waterfall was begun with.
func (s *Step) Options(v any) error {
	if err := json.Unmarshal(s.frame.state.Get("options"), v); err != nil {
		return s.corrupt(fmt.Sprintf("the options are stored as no %T", v))
	}
	return nil
}

// Prompt begins the prompt called id. The next step gets the answer.
func (s *Step) Prompt(ctx context.Context, id string, options PromptOptions) (Result, error) {
	return s.Begin(ctx, id, &options) // by reference: they are large
}

// Begin begins the dialog called id. The next step gets what it ends with.
// What the options must be is up to the dialog; nil means none.
func (s *Step) Begin(ctx context.Context, id string, options any) (Result, error) {
	if err := s.leave(); err != nil {
		return Result{}, err
	}
	return s.stack.Begin(ctx, id, options)
}

// Next runs the next step at once, with value as its result.
func (s *Step) Next(ctx context.Context, value any) (Result, error) {
	if err := s.leave(); err != nil {
		return Result{}, err
	}
	return s.waterfall.run(ctx, s.stack, s.frame, s.Index+1, value)
}

// End ends the waterfall with value.
func (s *Step) End(ctx context.Context, value any) (Result, error) {
	if err := s.leave(); err != nil {
		return Result{}, err
	}
	return s.stack.End(ctx, value)
}

// Replace ends the waterfall and begins the dialog called id in its place,
// which may be the same one anew.
func (s *Step) Replace(ctx context.Context, id string, options any) (Result, error) {
	if err := s.leave(); err != nil {
		return Result{}, err
	}
	return s.stack.Replace(ctx, id, options)
}

// CancelAll ends all dialogs of the conversation.
func (s *Step) CancelAll(ctx context.Context) (Result, error) {
	if err := s.leave(); err != nil {
		return Result{}, err
	}
	return s.stack.CancelAll(ctx)
}

func (s *Step) leave() error {
	if s.left {
		return fmt.Errorf("dialog: step %d of waterfall %q goes on twice", s.Index, s.waterfall.id)
	}
	s.left = true
	return nil
}

func (s *Step) corrupt(text string) error {
	return &corruptError{fmt.Sprintf("step %d of waterfall %q: %s", s.Index, s.waterfall.id, text)}
}

// Answer returns the result of the step as a T, or the zero T if it is nil.
// Any other result is an error that wraps [state.ErrCorrupt]: in a
// conversation that stands where it should, the step would have got a T. A
// step that returns the error makes the conversation begin anew.
func Answer[T any](step *Step) (T, error) {
	v, ok := step.Result.(T)
	if !ok && step.Result != nil {
		return v, step.corrupt(fmt.Sprintf("the result is of type %T, not %T", step.Result, v))
	}
	return v, nil
}

// A Value is the name of a value of type T that the steps of a waterfall share
// and that is kept from turn to turn. It is stored as JSON, and is a T again
// when it is read.
//
//	const age = dialog.Value[int]("age")
//
//	err := age.Set(step, 42)
//	n, err := age.Get(step)
type Value[T any] string

// Get returns the value, or the zero T if it was not set. A stored value that
// is no T is an error that wraps [state.ErrCorrupt]; a step that returns it
// makes the conversation begin anew.
func (v Value[T]) Get(step *Step) (T, error) {
	var value T
	values := step.values()
	stored := values.Get(string(v))
	if stored == nil {
		return value, nil
	}
	if err := json.Unmarshal(stored, &value); err != nil {
		var zero T
		return zero, step.corrupt(fmt.Sprintf("the value %q is stored as no %T", string(v), zero))
	}
	return value, nil
}

// Set keeps value. What is changed in it later is not kept.
func (v Value[T]) Set(step *Step, value T) error {
	encoded, err := object.Marshal(value)
	if err != nil {
		return fmt.Errorf("dialog: set value %q: %w", string(v), err)
	}
	values := step.values()
	values.Set(string(v), encoded)
	step.frame.state.Set("values", values.Encode())
	return nil
}

// values returns the values as they are now: steps share them, also with those
// that Next has run.
func (s *Step) values() object.Object {
	values, _ := object.ParseValid(s.frame.state.Get("values")) // which was checked
	return values
}
