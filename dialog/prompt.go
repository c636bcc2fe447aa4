package dialog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

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
	options, err := p.options(stack)
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
	return Result{Status: Waiting}, p.askStored(ctx, stack, options, true)
}

// Resume implements [Dialog]: it asks again.
func (p *Prompt[T]) Resume(ctx context.Context, stack *Stack, _ any) (Result, error) {
	return Result{Status: Waiting}, p.reprompt(ctx, stack)
}

func (p *Prompt[T]) reprompt(ctx context.Context, stack *Stack) error {
	options, err := p.options(stack)
	if err != nil {
		return err
	}
	return p.askStored(ctx, stack, options, false)
}

func (p *Prompt[T]) askStored(ctx context.Context, stack *Stack, options storedOptions, retry bool) error {
	prompt, ok := (*schema.Activity)(nil), true
	if retry {
		prompt, ok = decodePrompt(options.retryPrompt)
	}
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
	choices             []Choice
}

// options returns the options that the prompt was begun with.
func (p *Prompt[T]) options(stack *Stack) (storedOptions, error) {
	o, ok := decodeOptions(stack.top().state.Get("options"))
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
	options.choices, ok = decodeChoices(o.Get("choices"))
	return options, ok
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
