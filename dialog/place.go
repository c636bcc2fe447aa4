package dialog

import (
	"context"
	"slices"
	"strconv"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/policy"
)

// Place returns where the conversation stands. Its Path is the ids of the dialogs
// on the stack, then of those in the component on top, and so on. The last is that of
// the prompt that waits, or of the dialog. If that is a waterfall, one more is that
// of the step that waits: the waterfall's id, #, and the Index of the step, such as
// "order#0". Patience is that of the prompt. Channel is left to the caller.
//
// It is read from the stored stack, and changes nothing. A stored stack that cannot
// be used is as none, an empty Path.
func (s *Set) Place(ctx context.Context) (policy.Place, error) {
	stack, err := s.stand(ctx, nil)
	if err != nil || stack == nil {
		return policy.Place{}, err
	}
	var place policy.Place
	switch d := stack.top().dialog.(type) {
	case *Waterfall:
		index, _ := d.index(stack.top()) // which was checked
		place.Path = append(place.Path, d.id+"#"+strconv.Itoa(index))
	case prompter:
		options, _ := d.options(stack.top()) // which were checked
		place.Patience = options.patience
	}
	for ; stack != nil; stack = stack.parent {
		for _, f := range slices.Backward(stack.frames) {
			place.Path = append(place.Path, f.dialog.ID())
		}
	}
	slices.Reverse(place.Path)
	return place, nil
}

// stand returns the stack on top of which the conversation stands. It is nil if no
// dialog is under way, or if what is stored cannot be used, which is for the next
// turn to report.
func (s *Set) stand(ctx context.Context, turn *bot.Turn) (*Stack, error) {
	stack, err := s.read(ctx, turn)
	if err == nil {
		stack, err = stack.innermost()
	}
	if err == nil {
		err = stack.usable()
	}
	if isCorrupt(err) {
		return nil, nil
	}
	if err != nil || len(stack.frames) == 0 {
		return nil, err
	}
	return stack, nil
}

// usable returns what is wrong with the waterfalls and prompts on the stack and on
// those around it.
func (s *Stack) usable() error {
	for ; s != nil; s = s.parent {
		for _, f := range s.frames {
			var err error
			switch d := f.dialog.(type) {
			case *Waterfall:
				_, err = d.index(f)
			case prompter:
				_, err = d.options(f)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Ask has the prompt that waits ask again, because the user was silent: for the first
// time if n is 1. It sends the n-th of [PromptOptions.OnSilence], and changes nothing
// that is stored. If no prompt waits, it does nothing.
func (s *Set) Ask(ctx context.Context, turn *bot.Turn, n int) error {
	stack, err := s.stand(ctx, turn)
	if err != nil || stack == nil {
		return err
	}
	err = stack.reprompt(ctx, n)
	if isCorrupt(err) {
		return nil // as without a dialog
	}
	if err == nil {
		s.note(stack)
	}
	return err
}

// Question says at the end of a turn what the turn did about the question that
// waits: whether a prompt waits, whether the turn put it or put it again, and whether
// the turn sent something. Speaks and Spoken are left to the caller.
func (s *Set) Question(ctx context.Context, turn *bot.Turn) (policy.Question, error) {
	stack, err := s.stand(ctx, turn)
	if err != nil {
		return policy.Question{}, err
	}
	q := policy.Question{Sent: turn.Responded()}
	if stack != nil {
		_, q.Waits = stack.top().dialog.(prompter)
	}
	q.Put = q.Waits && turn.Value(putKey{s}) != nil
	return q, nil
}

// putKey is the key of a turn's value that tells that a prompt of the set asked in
// it. Whichever prompt waits at the end of such a turn asked last: one that was
// below another asks again when it is on top again.
type putKey struct{ set *Set }

// note keeps in the turn whether a prompt asked.
func (s *Set) note(stack *Stack) {
	if stack.counts.put {
		stack.Turn.SetValue(putKey{s}, true)
	}
}
