package dialog

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// A Component makes one dialog of several. They have a stack of their own:
// their ids mean nothing outside, while they can begin dialogs from outside
// too. The component ends when the last of them ends, with its value.
type Component struct {
	// OnTimeout, if not empty, is the id of the dialog, one of the component's own
	// or of those around it, that [policy.Target] stands for while the component is
	// under way, unless something in it names another one. It must be set before
	// the component is handed to [NewSet].
	OnTimeout string

	id      string
	initial string
	dialogs registry
	version json.RawMessage
}

// NewComponent returns a component called id that begins with the dialog
// called initial, one of dialogs, to which it hands its options. It panics if
// there is no such dialog, if one is nil, or if two have the same id.
//
// The order of the dialogs makes a difference only to the version that is
// stored with the component: bots that are to agree on it, whatever their
// language, must list them in the same order.
func NewComponent(id, initial string, dialogs ...Dialog) *Component {
	c := &Component{id: id, initial: initial, dialogs: newRegistry(dialogs)}
	if c.dialogs.find(initial) == nil {
		panic("dialog: component " + strconv.Quote(id) + " has no dialog " + strconv.Quote(initial))
	}
	c.version = quote(c.dialogs.version())
	return c
}

// ID returns the component's id.
func (c *Component) ID() string { return c.id }

// Begin implements [Dialog]. The options go to the initial dialog.
func (c *Component) Begin(ctx context.Context, stack *Stack, options any) (Result, error) {
	if stack.depth == maxDepth {
		return Result{}, fmt.Errorf("dialog: %w: %d components within each other", ErrLoop, maxDepth)
	}
	path := []string{c.initial}
	if o, ok := options.(elsewhere); ok {
		path, options = o.path, o.options
	}
	f, inner := stack.top(), stack.child(c.dialogs)
	r, err := inner.beginPath(ctx, path, options)
	return c.finish(ctx, stack, f, inner, r, err)
}

// Continue implements [Dialog].
func (c *Component) Continue(ctx context.Context, stack *Stack) (Result, error) {
	inner, err := c.load(stack)
	if err != nil {
		return Result{}, err
	}
	f := stack.top()
	r, err := inner.resume(ctx)
	return c.finish(ctx, stack, f, inner, r, err)
}

// Resume implements [Dialog]: it asks again what was asked last.
func (c *Component) Resume(ctx context.Context, stack *Stack, _ any) (Result, error) {
	return Result{Status: Waiting}, stack.reprompt(ctx, 0)
}

// load returns the component's own stack, with at least one dialog on it.
func (c *Component) load(stack *Stack) (*Stack, error) {
	if stack.depth == maxDepth {
		return nil, &corruptError{"the stored stack has too many components within each other"}
	}
	inner := stack.child(c.dialogs)
	if err := inner.decode(stack.top().state.Get("dialogs")); err != nil {
		return nil, err
	}
	if len(inner.frames) == 0 {
		return nil, &corruptError{fmt.Sprintf("component %q is stored without a dialog", c.id)}
	}
	return inner, nil
}

// finish keeps the component's own stack in its frame, or ends the component.
func (c *Component) finish(ctx context.Context, stack *Stack, f *frame, inner *Stack, r Result, err error) (Result, error) {
	switch {
	case err != nil:
		return Result{}, err
	case r.Status == Complete:
		return stack.End(ctx, r.Value)
	case r.Status == Waiting && len(inner.frames) > 0:
		f.state.Set("dialogs", inner.encode())
		f.instance.Set("version", c.version)
	}
	return r, nil
}
