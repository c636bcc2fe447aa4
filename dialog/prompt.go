package dialog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog/english"
	"github.com/botlapse/botlapse/internal/object"
	"github.com/botlapse/botlapse/internal/wire"
)

// PromptOptions say what a prompt asks.
type PromptOptions struct {
	// Prompt is the question: [Text], or any other activity. It is sent with
	// the inputHint expectingInput unless it has one. If it is nil, nothing is
	// sent but the choices: the bot has asked by other means.
	Prompt *schema.Activity

	// RetryPrompt is sent after an answer that was not accepted. The default,
	// for nil, is Prompt.
	RetryPrompt *schema.Activity

	// OnSilence is what [Set.Ask] sends after a silence of the user's: the first
	// message after the first silence, the second after the second, the last after
	// all later ones. The default, for none and for nil, is Prompt.
	OnSilence []*schema.Activity

	// Patience is how long the user may be silent: after the question, then after
	// each time that it was asked again. The last value is that of all later times. 0
	// or less is for ever. It takes the place of the After of the rule since
	// [policy.Asked]; see [policy.Place]. The default, for none, is what the rule says.
	Patience []time.Duration

	// OnTimeout, if not empty, is the id of the dialog that [policy.Target] stands
	// for while the prompt waits. It must be one that whoever asks could begin.
	OnTimeout string

	// Choices are what a choice prompt lets the user choose from, and shows in
	// the way that suits the channel. Prompts of [NewPrompt] show them too, and
	// hand them to their recognizer. Other prompts do not look at them.
	Choices []Choice
}

// Text returns a message for [PromptOptions].
func Text(text string) *schema.Activity { return &schema.Activity{Text: text} }

// A Validator decides whether an answer is accepted. It may change the answer,
// accept one that was not understood, and send messages: after one that has
// been sent in the turn, the prompt does not ask again by itself.
type Validator[T any] func(ctx context.Context, attempt *Attempt[T]) (accept bool, err error)

// An Attempt is one answer of the user's to a prompt.
type Attempt[T any] struct {
	// Turn is the turn that brought the answer.
	Turn *bot.Turn

	// Number counts the answers to this prompt, from 1.
	Number int

	// OK is whether the answer was understood as a T.
	OK bool

	// Value is the answer, the zero T if it was not understood. As the
	// validator leaves it, it becomes the result of the prompt.
	Value T
}

// A Recognizer finds an answer in a message: a T, or none. The choices are those
// of the prompt's options. It leaves both as they are, and must be safe for
// concurrent use.
type Recognizer[T any] func(message *schema.Activity, choices []Choice) (answer T, ok bool)

// A Prompt asks a question and ends with the answer. An answer that is not
// understood, or not accepted by its validator, makes it ask again, without
// limit; activities that are no messages are no answers.
type Prompt[T any] struct {
	id           string
	recognize    Recognizer[T]
	validate     Validator[T]
	shown        func(given []Choice) []Choice // the choices that are shown; nil: none
	or           string                        // stands before the last of them in a text; "": a comma does
	needsChoices bool
}

// NewPrompt returns a prompt that accepts what recognize finds: an answer of a
// type of one's own, or one in another language than English. It shows the Choices
// in its options, if there are any. The validator may be nil, here and in the
// other prompts. It panics if recognize is nil.
func NewPrompt[T any](id string, recognize Recognizer[T], validate Validator[T]) *Prompt[T] {
	if recognize == nil {
		panic("dialog: prompt " + strconv.Quote(id) + " without a recognizer")
	}
	return &Prompt[T]{id: id, recognize: recognize, validate: validate, shown: func(given []Choice) []Choice { return given }}
}

// NewTextPrompt returns a prompt that accepts any text but the empty one.
func NewTextPrompt(id string, validate Validator[string]) *Prompt[string] {
	return &Prompt[string]{id: id, validate: validate, recognize: func(a *schema.Activity, _ []Choice) (string, bool) {
		return a.Text, a.Text != ""
	}}
}

// NewNumberPrompt returns a prompt that accepts a text with a number in it, in
// digits or in English words; see [english.Number].
func NewNumberPrompt(id string, validate Validator[float64]) *Prompt[float64] {
	return &Prompt[float64]{id: id, validate: validate, recognize: func(a *schema.Activity, _ []Choice) (float64, bool) {
		return english.Number(a.Text)
	}}
}

// NewConfirmPrompt returns a prompt that accepts yes and no, in English and in
// many forms; see [english.Boolean]. It shows both as choices, whatever the
// Choices in its options.
func NewConfirmPrompt(id string, validate Validator[bool]) *Prompt[bool] {
	yesNo := Choices("Yes", "No")
	p := NewPrompt(id, func(a *schema.Activity, _ []Choice) (bool, bool) {
		if yes, ok := english.Boolean(a.Text); ok {
			return yes, true
		}
		found, ok := recognizeChoice(a.Text, yesNo)
		return ok && found.Index == 0, ok
	}, validate)
	p.shown, p.or = func([]Choice) []Choice { return yesNo }, "or"
	return p
}

// NewChoicePrompt returns a prompt that accepts one of the Choices in its
// options, which must have some: by its text, a part of it, or its number; see
// [english.Choice].
func NewChoicePrompt(id string, validate Validator[FoundChoice]) *Prompt[FoundChoice] {
	p := NewPrompt(id, func(a *schema.Activity, choices []Choice) (FoundChoice, bool) {
		return recognizeChoice(a.Text, choices)
	}, validate)
	p.or, p.needsChoices = "or", true
	return p
}

// NewAttachmentPrompt returns a prompt that accepts a message with at least
// one attachment, with or without text.
func NewAttachmentPrompt(id string, validate Validator[[]schema.Attachment]) *Prompt[[]schema.Attachment] {
	return &Prompt[[]schema.Attachment]{id: id, validate: validate, recognize: func(a *schema.Activity, _ []Choice) ([]schema.Attachment, bool) {
		return slices.Clone(a.Attachments), len(a.Attachments) > 0
	}}
}

// ID returns the prompt's id.
func (p *Prompt[T]) ID() string { return p.id }

// Begin implements [Dialog]. The options must be [PromptOptions].
func (p *Prompt[T]) Begin(ctx context.Context, stack *Stack, options any) (Result, error) {
	var o *PromptOptions
	switch options := options.(type) {
	case PromptOptions:
		o = &options
	case *PromptOptions:
		o = options
	}
	if o == nil {
		return Result{}, fmt.Errorf("dialog: begin prompt %q: the options are of type %T, not PromptOptions", p.id, options)
	}
	if p.needsChoices && len(o.Choices) == 0 {
		return Result{}, fmt.Errorf("dialog: begin prompt %q: there are no choices", p.id)
	}
	encoded, err := encodeOptions(o)
	if err == nil && o.OnTimeout != "" {
		err = stack.checkTarget(o.OnTimeout)
	}
	if err != nil {
		return Result{}, fmt.Errorf("dialog: begin prompt %q: %w", p.id, err)
	}
	f := stack.top()
	f.state.Set("options", encoded)
	f.state.Set("state", json.RawMessage(`{}`))
	return Result{Status: Waiting}, p.ask(ctx, stack, o.Prompt, o.Choices)
}

// Continue implements [Dialog].
func (p *Prompt[T]) Continue(ctx context.Context, stack *Stack) (Result, error) {
	a := &stack.Turn.Activity
	if a.Type != schema.Message {
		return Result{Status: Waiting}, nil
	}
	options, err := p.options(stack.top())
	if err != nil {
		return Result{}, err
	}
	value, ok := p.recognize(a, options.choices)
	responded := stack.Turn.Responded()
	if p.validate != nil {
		number, err := p.count(stack)
		if err != nil {
			return Result{}, err
		}
		attempt := &Attempt[T]{Turn: stack.Turn, Number: number, OK: ok, Value: value}
		if ok, err = p.validate(ctx, attempt); err != nil {
			return Result{}, err
		}
		value = attempt.Value
	}
	if ok {
		return stack.End(ctx, value)
	}
	if !responded && stack.Turn.Responded() { // by the validator
		return Result{Status: Waiting}, nil
	}
	return Result{Status: Waiting}, p.askStored(ctx, stack, options, options.retryPrompt)
}

// Resume implements [Dialog]: it asks again.
func (p *Prompt[T]) Resume(ctx context.Context, stack *Stack, _ any) (Result, error) {
	return Result{Status: Waiting}, p.reprompt(ctx, stack, 0)
}

// A prompter is a [Prompt].
type prompter interface {
	options(f *frame) (storedOptions, error)
	reprompt(ctx context.Context, stack *Stack, silence int) error
}

// reprompt asks again: after so many silences, or for another reason if silence is 0.
func (p *Prompt[T]) reprompt(ctx context.Context, stack *Stack, silence int) error {
	options, err := p.options(stack.top())
	if err != nil {
		return err
	}
	var message json.RawMessage
	if n := min(silence, len(options.onSilence)); n > 0 {
		message = options.onSilence[n-1]
	}
	return p.askStored(ctx, stack, options, message)
}

// askStored sends a message that is stored, the question if it is none.
func (p *Prompt[T]) askStored(ctx context.Context, stack *Stack, options storedOptions, message json.RawMessage) error {
	prompt, ok := decodePrompt(message)
	if ok && prompt == nil {
		prompt, ok = decodePrompt(options.prompt)
	}
	if !ok {
		return &corruptError{fmt.Sprintf("prompt %q is stored without its question", p.id)}
	}
	return p.ask(ctx, stack, prompt, options.choices)
}

// ask sends the question.
func (p *Prompt[T]) ask(ctx context.Context, stack *Stack, prompt *schema.Activity, choices []Choice) error {
	stack.counts.put = true
	var a schema.Activity
	if prompt != nil {
		a = *prompt
	}
	if p.shown != nil {
		if choices = p.shown(choices); len(choices) > 0 {
			addChoices(&a, stack.Turn.Activity.ChannelID, choices, p.or)
		}
	}
	if wire.IsZero(&a) {
		return nil
	}
	if a.InputHint == "" {
		a.InputHint = schema.ExpectingInput
	}
	_, err := stack.Turn.Send(ctx, a)
	return err
}

// storedOptions are [PromptOptions] as they are stored. The questions are not
// decoded until they are asked again, which few are.
type storedOptions struct {
	prompt, retryPrompt json.RawMessage
	onSilence           []json.RawMessage
	choices             []Choice
	patience            []time.Duration
	onTimeout           string
}

// options returns the options that the prompt was begun with.
func (p *Prompt[T]) options(f *frame) (storedOptions, error) {
	o, ok := decodeOptions(f.state.Get("options"))
	if !ok || p.needsChoices && len(o.choices) == 0 {
		return o, &corruptError{fmt.Sprintf("prompt %q is stored without its options", p.id)}
	}
	return o, nil
}

// count adds one to the number of attempts and returns it.
func (p *Prompt[T]) count(stack *Stack) (int, error) {
	f := stack.top()
	number := 0
	state, ok := object.ParseValid(f.state.Get("state"))
	if ok {
		if stored := state.Get("attemptCount"); stored != nil {
			ok = json.Unmarshal(stored, &number) == nil && number >= 0
		}
	}
	if !ok {
		return 0, &corruptError{fmt.Sprintf("prompt %q is stored without its state", p.id)}
	}
	number++
	state.Set("attemptCount", json.RawMessage(strconv.Itoa(number)))
	f.state.Set("state", state.Encode())
	return number, nil
}

// encodeOptions writes options as the JavaScript SDK does: a text alone is a
// string, any other activity an object.
func encodeOptions(options *PromptOptions) (json.RawMessage, error) {
	var o object.Object
	for _, m := range []struct {
		name string
		a    *schema.Activity
	}{{"prompt", options.Prompt}, {"retryPrompt", options.RetryPrompt}} {
		if m.a == nil || wire.IsZero(m.a) {
			continue
		}
		data, err := encodePrompt(m.a)
		if err != nil {
			return nil, err
		}
		o.Set(m.name, data)
	}
	if len(options.Choices) > 0 {
		data, err := object.Marshal(options.Choices)
		if err != nil {
			return nil, err
		}
		o.Set("choices", data)
	}
	// The JavaScript SDK keeps the rest and takes no notice of it.
	if len(options.OnSilence) > 0 {
		messages := make([]json.RawMessage, len(options.OnSilence)) // nil is null
		for i, a := range options.OnSilence {
			if a != nil && !wire.IsZero(a) {
				data, err := encodePrompt(a)
				if err != nil {
					return nil, err
				}
				messages[i] = data
			}
		}
		data, err := object.Marshal(messages)
		if err != nil {
			return nil, err
		}
		o.Set("onSilence", data)
	}
	if len(options.Patience) > 0 {
		texts := make([]string, len(options.Patience))
		for i, d := range options.Patience {
			texts[i] = d.String()
		}
		data, _ := object.Marshal(texts) // strings always encode
		o.Set("patience", data)
	}
	if options.OnTimeout != "" {
		o.Set("onTimeout", quote(options.OnTimeout))
	}
	return o.Encode(), nil
}

// encodePrompt sets the input hint of an activity that is stored as such. A
// text alone gets it when it is sent.
func encodePrompt(a *schema.Activity) (json.RawMessage, error) {
	switch {
	case wire.IsText(a):
		return object.Marshal(a.Text)
	case a.InputHint == "":
		hinted := *a
		hinted.InputHint = schema.ExpectingInput
		return wire.Encode(&hinted)
	}
	return wire.Encode(a)
}

func decodeOptions(data json.RawMessage) (options storedOptions, ok bool) {
	o, ok := object.ParseValid(data)
	if !ok {
		return options, false
	}
	options.prompt, options.retryPrompt = o.Get("prompt"), o.Get("retryPrompt")
	if !isPrompt(options.prompt) || !isPrompt(options.retryPrompt) {
		return options, false
	}
	if options.choices, ok = decodeChoices(o.Get("choices")); !ok {
		return options, false
	}
	// What follows is not the JavaScript SDK's. A bot that gives its prompts options
	// of these names may mean something else.
	options.onTimeout, _ = object.String(o.Get("onTimeout"))
	options.patience = decodePatience(o.Get("patience"))
	if messages, _ := object.Elements(o.Get("onSilence")); !slices.ContainsFunc(messages, func(m json.RawMessage) bool { return !isPrompt(m) }) {
		options.onSilence = messages
	}
	return options, true
}

// decodePatience reads an array of durations such as "5s", nil if it is none.
func decodePatience(data json.RawMessage) []time.Duration {
	elements, _ := object.Elements(data)
	var patience []time.Duration
	for _, element := range elements {
		text, _ := object.String(element)
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil
		}
		patience = append(patience, d)
	}
	return patience
}

// isPrompt reports whether data is of a type that a question is stored as.
func isPrompt(data json.RawMessage) bool {
	data = bytes.TrimSpace(data)
	return len(data) == 0 || data[0] == '"' || data[0] == '{' || data[0] == 'n'
}

// decodePrompt reads a string or an activity. It returns nil for null and
// nothing.
func decodePrompt(data json.RawMessage) (a *schema.Activity, ok bool) {
	if data == nil || string(data) == "null" {
		return nil, true
	}
	if text, ok := object.String(data); ok {
		return Text(text), true
	}
	decoded, err := wire.Decode(data)
	return &decoded, err == nil
}

// decodeChoices reads an array of choices, each an object or a string.
func decodeChoices(data json.RawMessage) (choices []Choice, ok bool) {
	if data == nil || string(data) == "null" {
		return nil, true
	}
	stored, ok := object.Elements(data)
	if !ok {
		return nil, false
	}
	for _, data := range stored {
		var c Choice
		if c.Value, ok = object.String(data); !ok && json.Unmarshal(data, &c) != nil {
			return nil, false
		}
		choices = append(choices, c)
	}
	return choices, true
}

// addChoices adds choices to a question in the way that suits the channel.
func addChoices(a *schema.Activity, channelID string, choices []Choice, or string) {
	shown := renderChoices(channelID, a.Text, choices, or)
	if wire.IsText(a) {
		*a = shown
		return
	}
	a.Text = shown.Text
	if len(shown.SuggestedActions.Actions) > 0 {
		a.SuggestedActions = shown.SuggestedActions
	}
	a.Attachments = append(slices.Clip(a.Attachments), shown.Attachments...)
}
