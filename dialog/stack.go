package dialog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/internal/object"
)

// Bounds beyond which a bot is in a loop, or what is stored was never a stack.
const (
	maxDialogs = 1000 // dialogs that are begun in a turn, or are on a stored stack
	maxDepth   = 30   // components within each other; Cosmos DB can store no more
)

// A registry holds dialogs by their ids, in the order in which they were given.
type registry []Dialog

// newRegistry panics if a dialog is nil or an id is empty or used twice.
func newRegistry(dialogs []Dialog) registry {
	r := make(registry, 0, len(dialogs))
	for _, d := range dialogs {
		switch {
		case d == nil:
			panic("dialog: nil Dialog")
		case d.ID() == "":
			panic("dialog: dialog without id")
		case r.find(d.ID()) != nil:
			panic("dialog: two dialogs have the id " + strconv.Quote(d.ID()))
		}
		r = append(r, d)
	}
	return r
}

// find returns nil if there is no dialog called id.
func (r registry) find(id string) Dialog {
	for _, d := range r {
		if d.ID() == id {
			return d
		}
	}
	return nil
}

// version is the JavaScript SDK's: a hash of the names of the dialogs, and of
// the number of steps of those that have steps.
func (r registry) version() string {
	var text string
	for _, d := range r {
		text += "|" + d.ID()
		if w, ok := d.(*Waterfall); ok {
			text += ":" + strconv.Itoa(len(w.steps))
		}
	}
	var hash int32
	for _, c := range utf16.Encode([]rune(text)) {
		hash = hash*31 + int32(c)
	}
	return strconv.Itoa(int(hash))
}

// A Stack holds the dialogs of a [Set] or of a [Component] that are under way
// in one conversation, for one turn. Its methods are for the dialog on top,
// and for one goroutine.
type Stack struct {
	// Turn is the turn that is being handled.
	Turn *bot.Turn

	dialogs registry
	parent  *Stack // the stack that the component is on; nil for that of a Set
	depth   int
	counts  *counts
	frames  []*frame
	root    object.Object // what is stored besides the frames
}

// counts are what a turn does on a stack and on those of its components.
type counts struct {
	begun int  // dialogs
	put   bool // a prompt asked, or asked again
}

// A frame is one dialog on a stack.
type frame struct {
	dialog   Dialog
	instance object.Object // as stored: id, state and what else there is
	state    object.Object
}

// newStack returns an empty stack for one turn.
func newStack(turn *bot.Turn, dialogs registry) *Stack {
	return &Stack{Turn: turn, dialogs: dialogs, counts: &counts{}}
}

// child returns an empty stack for the component on top of s.
func (s *Stack) child(dialogs registry) *Stack {
	return &Stack{Turn: s.Turn, dialogs: dialogs, parent: s, depth: s.depth + 1, counts: s.counts}
}

// decode fills an empty stack from its stored form.
func (s *Stack) decode(data json.RawMessage) error {
	root, ok := object.ParseValid(data)
	if !ok {
		return &corruptError{"the stored stack is no object"}
	}
	if root.Len() == 0 {
		return nil
	}
	instances, ok := object.Elements(root.Get("dialogStack"))
	if !ok {
		return &corruptError{"the stored stack has no array dialogStack"}
	}
	if len(instances) > maxDialogs {
		return &corruptError{"the stored stack has too many dialogs"}
	}
	for _, data := range instances {
		f, err := s.decodeFrame(data)
		if err != nil {
			return err
		}
		s.frames = append(s.frames, f)
	}
	s.root = root
	return nil
}

func (s *Stack) decodeFrame(data json.RawMessage) (*frame, error) {
	instance, ok := object.ParseValid(data)
	if !ok {
		return nil, &corruptError{"an entry of the stored stack is no object"}
	}
	id, ok := object.String(instance.Get("id"))
	if !ok {
		return nil, &corruptError{"an entry of the stored stack has no id"}
	}
	d := s.find(id)
	if d == nil {
		return nil, &corruptError{fmt.Sprintf("the stored stack has a dialog %.64q, which this bot has not", id)}
	}
	state, ok := object.ParseValid(instance.Get("state"))
	if !ok {
		return nil, &corruptError{fmt.Sprintf("dialog %q is stored without its state", id)}
	}
	return &frame{dialog: d, instance: instance, state: state}, nil
}

// encode returns the form in which the stack is stored.
func (s *Stack) encode() json.RawMessage {
	out := json.RawMessage{'['}
	for i, f := range s.frames {
		if i > 0 {
			out = append(out, ',')
		}
		f.instance.Set("state", f.state.Encode())
		out = append(out, f.instance.Encode()...)
	}
	s.root.Set("dialogStack", append(out, ']'))
	return s.root.Encode()
}

// find returns the dialog called id: one of the stack's own, or else of the
// stacks around it.
func (s *Stack) find(id string) Dialog {
	for ; s != nil; s = s.parent {
		if d := s.dialogs.find(id); d != nil {
			return d
		}
	}
	return nil
}

// checkTarget returns an error if there is no dialog called id for an OnTimeout.
func (s *Stack) checkTarget(id string) error {
	if s.find(id) == nil {
		return fmt.Errorf("dialog: OnTimeout %q: %w", id, ErrNotFound)
	}
	return nil
}

// top returns the frame of the dialog on top.
func (s *Stack) top() *frame { return s.frames[len(s.frames)-1] }

// Begin puts the dialog called id on top of the stack and begins it. What the
// options must be is up to the dialog; nil means none.
func (s *Stack) Begin(ctx context.Context, id string, options any) (Result, error) {
	d := s.find(id)
	if d == nil {
		return Result{}, fmt.Errorf("dialog: begin %q: %w", id, ErrNotFound)
	}
	if s.counts.begun++; s.counts.begun > maxDialogs {
		return Result{}, fmt.Errorf("dialog: begin %q: %w: %d begun in one turn", id, ErrLoop, maxDialogs)
	}
	f := &frame{dialog: d}
	f.instance.Set("id", quote(id))
	f.instance.Set("state", nil) // its place; see encode
	below := len(s.frames)
	s.frames = append(s.frames, f)
	r, err := d.Begin(ctx, s, options)
	if err != nil && len(s.frames) > below {
		s.frames = s.frames[:below] // whoever goes on all the same goes on without it
	}
	return checked(d, r, err)
}

// resume continues the dialog on top, which there must be.
func (s *Stack) resume(ctx context.Context) (Result, error) {
	d := s.top().dialog
	r, err := d.Continue(ctx, s)
	return checked(d, r, err)
}

// End takes the dialog on top off the stack and resumes the one below with
// value. If there is none, the stack is Complete with value.
func (s *Stack) End(ctx context.Context, value any) (Result, error) {
	s.pop()
	if len(s.frames) == 0 {
		return Result{Complete, value}, nil
	}
	d := s.top().dialog
	r, err := d.Resume(ctx, s, value)
	return checked(d, r, err)
}

// Replace takes the dialog on top off the stack and begins the one called id
// in its place.
func (s *Stack) Replace(ctx context.Context, id string, options any) (Result, error) {
	s.pop()
	return s.Begin(ctx, id, options)
}

// CancelAll takes all dialogs off the stack, and off the stacks that it is in.
func (s *Stack) CancelAll(context.Context) (Result, error) {
	for ; s != nil; s = s.parent {
		s.frames = nil
	}
	return Result{Status: Cancelled}, nil
}

func (s *Stack) pop() {
	if len(s.frames) > 0 {
		s.frames = s.frames[:len(s.frames)-1]
	}
}

// innermost returns the stack of the innermost component, or s if the dialog on
// top is none.
func (s *Stack) innermost() (*Stack, error) {
	for len(s.frames) > 0 {
		c, ok := s.top().dialog.(*Component)
		if !ok {
			break
		}
		inner, err := c.load(s)
		if err != nil {
			return nil, err
		}
		s = inner
	}
	return s, nil
}

// reprompt has the prompt that waits, if there is one, ask again: after so many
// silences, or for another reason if silence is 0.
func (s *Stack) reprompt(ctx context.Context, silence int) error {
	s, err := s.innermost()
	if err != nil || len(s.frames) == 0 {
		return err
	}
	if p, ok := s.top().dialog.(prompter); ok {
		return p.reprompt(ctx, s, silence)
	}
	return nil
}

// Load decodes into v what the dialog on top has stored. A stored value that
// does not fit is an error that wraps [state.ErrCorrupt]; returned from a
// dialog, it makes the conversation begin anew.
func (s *Stack) Load(v any) error {
	if len(s.frames) == 0 {
		return errEmptyStack
	}
	if err := json.Unmarshal(s.top().state.Encode(), v); err != nil {
		return &corruptError{fmt.Sprintf("the stored state of dialog %q is no %T", s.top().dialog.ID(), v)}
	}
	return nil
}

// Store keeps v, which must encode as a JSON object, for the dialog on top.
func (s *Stack) Store(v any) error {
	if len(s.frames) == 0 {
		return errEmptyStack
	}
	data, err := object.Marshal(v)
	if err != nil {
		return fmt.Errorf("dialog: store state of %q: %w", s.top().dialog.ID(), err)
	}
	o, ok := object.ParseValid(data)
	if !ok {
		return fmt.Errorf("dialog: store state of %q: %T is no JSON object", s.top().dialog.ID(), v)
	}
	s.top().state = o
	return nil
}

var errEmptyStack = errors.New("dialog: no dialog is on the stack")

// checked makes an error of a result that says nothing.
func checked(d Dialog, r Result, err error) (Result, error) {
	if err == nil && r.Status == Empty {
		err = fmt.Errorf("dialog: %q returned no result", d.ID())
	}
	return r, err
}

// quote encodes a string, which always can be.
func quote(s string) json.RawMessage {
	data, _ := object.Marshal(s)
	return data
}
