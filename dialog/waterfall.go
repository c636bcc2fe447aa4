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

// A StepFunc is one step of a waterfall. It ends with one of the methods of step
// that say how the waterfall goes on: Prompt, Begin, Next, End, Replace or
// CancelAll. It calls one of them, once, and returns its error. A step that calls
// none waits: the user's next text is the result that the next step gets. [Then]
// makes a step of a function that takes the answer to the question before.
type StepFunc func(ctx context.Context, step *Step) error

// Then returns a step that takes the result of the step before as a T, for
// example what its prompt accepted. No result, nil, is the zero T. If the result is of
// another type, the conversation does not stand where the step is: f is not called,
// and the error wraps [state.ErrCorrupt], so that the conversation begins anew.
func Then[T any](f func(ctx context.Context, step *Step, result T) error) StepFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, step *Step) error {
		result, ok := step.Result.(T)
		if !ok && step.Result != nil {
			return step.corrupt(fmt.Sprintf("the result is of type %T, not %T", step.Result, result))
		}
		return f(ctx, step, result)
	}
}

// A Waterfall runs steps one after the other. A step that begins a prompt or
// another dialog is followed by the next step when that has ended. After the
// last step the waterfall ends with the last result.
type Waterfall struct {
	// OnTimeout, if not empty, is the id of the dialog that [policy.Target]
	// stands for while the waterfall is under way, unless the step or the prompt
	// that waits names another one. It must be set before the waterfall is handed
	// to [NewSet].
	OnTimeout string

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
	index, err := w.index(f)
	if err != nil {
		return Result{}, err
	}
	return w.run(ctx, stack, f, index+1, value)
}

// index returns the step at which the waterfall is stored.
func (w *Waterfall) index(f *frame) (int, error) {
	index, err := strconv.Atoi(string(f.state.Get("stepIndex")))
	if err != nil || index < 0 || index >= len(w.steps) {
		return 0, &corruptError{fmt.Sprintf("waterfall %q is stored at a step that it does not have", w.id)}
	}
	if _, ok := object.ParseValid(f.state.Get("values")); !ok {
		return 0, &corruptError{fmt.Sprintf("waterfall %q is stored without its values", w.id)}
	}
	return index, nil
}

// run runs the step of the given index.
func (w *Waterfall) run(ctx context.Context, stack *Stack, f *frame, index int, value any) (Result, error) {
	if index == len(w.steps) {
		return stack.End(ctx, value)
	}
	f.state.Set("stepIndex", json.RawMessage(strconv.Itoa(index)))
	f.state.Delete("onTimeout")
	step := &Step{
		Turn:      stack.Turn,
		Index:     index,
		Result:    value,
		waterfall: w,
		stack:     stack,
		frame:     f,
		result:    Result{Status: Waiting},
	}
	err := w.steps[index](ctx, step)
	if err == nil {
		err = step.err
	}
	return step.result, err
}

// stepTarget returns what [Step.OnTimeout] has set for the step at which the waterfall
// is stored, "" if nothing.
func (w *Waterfall) stepTarget(f *frame) string {
	var id string
	if targets, ok := object.ParseValid(f.state.Get("onTimeout")); ok {
		id, _ = object.String(targets.Get(string(f.state.Get("stepIndex"))))
	}
	return id
}

// newInstanceID returns a random UUID, version 4, as JSON.
func newInstanceID() json.RawMessage {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Appendf(nil, `"%x-%x-%x-%x-%x"`, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// A Step is one step of a waterfall in a conversation, for one goroutine.
//
// The first error of the methods Say, Set, OnTimeout, Prompt, Begin, Next, End, Replace and
// CancelAll fails the step, whether the step returns it or not. After it, these
// methods do nothing. So only what has an error of its own needs an if.
type Step struct {
	// Turn is the turn that is being handled.
	Turn *bot.Turn

	// Index is the step's place in the waterfall, from 0.
	Index int

	// Result is what the previous step's prompt or dialog ended with, or what
	// the previous step passed to Next. It is nil in the first step. A step
	// that is made by [Then] gets it with its type.
	Result any

	waterfall *Waterfall
	stack     *Stack
	frame     *frame
	left      bool   // one of the methods that go on was called,
	result    Result // and this is what it returned
	err       error  // the first error of the methods
}

// Say sends a text to the user.
func (s *Step) Say(ctx context.Context, text string) {
	if s.err == nil {
		_, s.err = s.Turn.SendText(ctx, text)
	}
}

// Options decodes into v what the waterfall was begun with.
func (s *Step) Options(v any) error {
	if err := json.Unmarshal(s.frame.state.Get("options"), v); err != nil {
		return s.corrupt(fmt.Sprintf("the options are stored as no %T", v))
	}
	return nil
}

// Values decodes into v, which points to a struct or a map, what the steps have
// set. Stored values that do not fit are an error that wraps [state.ErrCorrupt]; a
// step that returns it makes the conversation begin anew.
func (s *Step) Values(v any) error {
	if err := json.Unmarshal(s.frame.state.Get("values"), v); err != nil {
		return s.corrupt(fmt.Sprintf("the values are stored as no %T", v))
	}
	return nil
}

// Set keeps a value for later steps and turns, under a name that [Step.Values]
// finds it by. It is stored as JSON: what is changed in it later is not kept.
func (s *Step) Set(name string, value any) {
	if s.err != nil {
		return
	}
	encoded, err := object.Marshal(value)
	if err != nil {
		s.err = fmt.Errorf("dialog: set value %q: %w", name, err)
		return
	}
	values, _ := object.ParseValid(s.frame.state.Get("values")) // which was checked
	values.Set(name, encoded)
	s.frame.state.Set("values", values.Encode())
}

// OnTimeout sets the id of the dialog that [policy.Target] stands for until the
// next step, unless what this step begins names another one. The dialog must be
// one that the step can begin.
func (s *Step) OnTimeout(id string) {
	if s.err == nil {
		s.err = s.stack.checkTarget(id)
	}
	if s.err == nil {
		// Of that step only: another SDK goes on to the next one, and leaves this.
		s.frame.state.Set("onTimeout", fmt.Appendf(nil, `{"%d":%s}`, s.Index, quote(id)))
	}
}

// Prompt begins the prompt called id. The next step gets the answer.
func (s *Step) Prompt(ctx context.Context, id string, options PromptOptions) error {
	return s.Begin(ctx, id, &options) // by reference: they are large
}

// Begin begins the dialog called id. The next step gets what it ends with.
// What the options must be is up to the dialog; nil means none.
func (s *Step) Begin(ctx context.Context, id string, options any) error {
	return s.leave(func() (Result, error) { return s.stack.Begin(ctx, id, options) })
}

// Next runs the next step at once, with value as its result.
func (s *Step) Next(ctx context.Context, value any) error {
	return s.leave(func() (Result, error) { return s.waterfall.run(ctx, s.stack, s.frame, s.Index+1, value) })
}

// End ends the waterfall with value.
func (s *Step) End(ctx context.Context, value any) error {
	return s.leave(func() (Result, error) { return s.stack.End(ctx, value) })
}

// Replace ends the waterfall and begins the dialog called id in its place,
// which may be the same one anew.
func (s *Step) Replace(ctx context.Context, id string, options any) error {
	return s.leave(func() (Result, error) { return s.stack.Replace(ctx, id, options) })
}

// CancelAll ends all dialogs of the conversation.
func (s *Step) CancelAll(ctx context.Context) error {
	return s.leave(func() (Result, error) { return s.stack.CancelAll(ctx) })
}

func (s *Step) leave(on func() (Result, error)) error {
	switch {
	case s.err != nil:
	case s.left:
		s.err = fmt.Errorf("dialog: step %d of waterfall %q goes on twice", s.Index, s.waterfall.id)
	default:
		s.left = true
		s.result, s.err = on()
	}
	return s.err
}

func (s *Step) corrupt(text string) error {
	return &corruptError{fmt.Sprintf("step %d of waterfall %q: %s", s.Index, s.waterfall.id, text)}
}
