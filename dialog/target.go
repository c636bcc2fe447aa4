package dialog

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/policy"
)

// timeoutID is the id of the dialog that [policy.Target] stands for where no
// other one is named.
const timeoutID = "timeout"

// A Timeout is what [Set.Goto] begins a dialog with. A step of it reads it with
// [Step.Options].
type Timeout struct {
	// Rule is the line of the policy that fired, such as "idle".
	Rule string `json:"rule"`

	// Path is where the conversation stood then, as [Set.Place] says it. Its last id
	// is that of the prompt or the step that waited.
	Path []string `json:"path,omitempty"`

	// Idle is how long the user had been silent, in nanoseconds.
	Idle time.Duration `json:"idle"`

	// Data is what a hook handed over, as JSON; nil if it handed over nothing.
	Data json.RawMessage `json:"data,omitempty"`
}

// Goto cancels all dialogs and begins the one that open.Action.Goto names: one of the
// set by its id, one in a component by the component's id, a slash and its own, or
// what [Set.Target] returns, also as [policy.Target]. The options of the dialog are a
// [Timeout] that is made of open and data, which is JSON or nil. Goto reports whether
// there is such a dialog; if not, it changes nothing. If the dialog cannot begin, the
// turn is to fail.
//
// An action that ends the session clears the state, and with it what Target looks at.
// So [policy.Target] must be replaced by what Target returns before open is stored.
func (s *Set) Goto(ctx context.Context, turn *bot.Turn, open policy.Open, data json.RawMessage) (bool, error) {
	target := open.Action.Goto
	if target == policy.Target {
		var err error
		if target, err = s.Target(ctx); err != nil {
			return false, err
		}
	}
	path := newStack(turn, s.dialogs).path(target)
	if path == nil {
		return false, nil
	}
	stack, err := s.load(ctx, turn)
	if err != nil {
		return false, err
	}
	stack.frames = nil
	timeout := Timeout{Rule: open.Rule, Path: open.Place.Path, Data: data}
	if !open.Input.IsZero() {
		timeout.Idle = open.At.Sub(open.Input)
	}
	r, err := stack.beginPath(ctx, path, timeout)
	if err != nil {
		return false, err
	}
	_, err = s.save(ctx, stack, r, nil)
	return err == nil, err
}

// elsewhere are the options of a component that is to begin not with its initial
// dialog, but with another one. They go to that.
type elsewhere struct {
	path    []string
	options any
}

// beginPath begins the last dialog of a path within the components before it.
func (s *Stack) beginPath(ctx context.Context, path []string, options any) (Result, error) {
	if len(path) > 1 {
		options = elsewhere{path[1:], options}
	}
	return s.Begin(ctx, path[0], options)
}

// Target returns the dialog that [policy.Target] stands for where the conversation
// stands, in a form that [Set.Goto] understands when the state is cleared too; "" if
// there is none. It is the first of these that is set, and that there is:
//
//   - OnTimeout of the prompt that waits,
//   - OnTimeout of the step that asked, or waits, then of its waterfall, then of
//     those below it on the same stack,
//   - OnTimeout of the component that they are in, then its dialog called "timeout",
//   - the same for the waterfalls and components around it, from the inside out,
//   - the dialog of the set called "timeout", also if no dialog is under way.
func (s *Set) Target(ctx context.Context) (string, error) {
	stack, err := s.stand(ctx, nil)
	if err != nil {
		return "", err
	}
	if stack == nil {
		stack = newStack(nil, s.dialogs)
	}
	for ; stack != nil; stack = stack.parent {
		var ids []string
		for i, f := range slices.Backward(stack.frames) {
			switch d := f.dialog.(type) {
			case prompter:
				if i == len(stack.frames)-1 { // those below do not wait
					options, _ := d.options(f) // which were checked
					ids = append(ids, options.onTimeout)
				}
			case *Waterfall:
				ids = append(ids, d.stepTarget(f), d.OnTimeout)
			}
		}
		if stack.parent != nil {
			ids = append(ids, stack.parent.top().dialog.(*Component).OnTimeout)
		}
		if stack.dialogs.find(timeoutID) != nil {
			ids = append(ids, timeoutID)
		}
		for _, id := range ids {
			if target := stack.target(id); target != "" {
				return target, nil
			}
		}
	}
	return "", nil
}

// target returns the path of the dialog called id that the stack finds, as
// [Stack.path] reads it; "" if there is none.
func (s *Stack) target(id string) string {
	for ; s != nil; s = s.parent {
		if s.dialogs.find(id) == nil {
			continue
		}
		for outer := s.parent; outer != nil; outer = outer.parent {
			id = outer.top().dialog.ID() + "/" + id
		}
		return id
	}
	return ""
}

// path splits the id of a dialog, behind the ids of the components that it is in and
// slashes, such as "order/timeout". It is nil if there is no such dialog.
func (s *Stack) path(target string) []string {
	if s.find(target) != nil {
		return []string{target}
	}
	if s.depth == maxDepth {
		return nil
	}
	for outer := s; outer != nil; outer = outer.parent {
		for _, d := range outer.dialogs {
			c, ok := d.(*Component)
			if !ok || !strings.HasPrefix(target, c.id+"/") {
				continue
			}
			if path := s.child(c.dialogs).path(target[len(c.id)+1:]); path != nil {
				return append([]string{c.id}, path...)
			}
		}
	}
	return nil
}

// mustFindTargets panics if an OnTimeout of the dialogs, or of those in the
// components among them, names a dialog that there is not.
func (s *Stack) mustFindTargets() {
	for _, d := range s.dialogs {
		stack, target := s, ""
		switch d := d.(type) {
		case *Waterfall:
			target = d.OnTimeout
		case *Component:
			stack, target = s.child(d.dialogs), d.OnTimeout
			stack.mustFindTargets()
		}
		if target != "" && stack.find(target) == nil {
			panic("dialog: " + strconv.Quote(d.ID()) + " has the OnTimeout " + strconv.Quote(target) + ", and there is no such dialog")
		}
	}
}
