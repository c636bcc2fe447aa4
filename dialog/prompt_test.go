package dialog_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog"
)

// whether is a recognizer of one's own: yes and no in German, or the number of a
// choice.
func whether(a *schema.Activity, choices []dialog.Choice) (yes, ok bool) {
	for i, words := range [][]string{{"ja", "1"}, {"nein", "2"}} {
		if slices.Contains(words, strings.ToLower(a.Text)) {
			return i == 0, len(choices) == 2
		}
	}
	return false, false
}

func TestPromptRecognizes(t *testing.T) {
	files := []schema.Attachment{{ContentType: "image/png", ContentURL: "https://example.com/a.png"}}
	for _, tt := range []struct {
		name   string
		prompt dialog.Dialog
		answer schema.Activity
		want   any // nil: asks again
	}{
		{"any text", dialog.NewTextPrompt("p", nil), message(" a "), " a "},
		{"no text", dialog.NewTextPrompt("p", nil), message(""), nil},
		{"a number", dialog.NewNumberPrompt("p", nil), message("I am 42"), 42.0},
		{"a number with decimals", dialog.NewNumberPrompt("p", nil), message("-0.5"), -0.5},
		{"no number", dialog.NewNumberPrompt("p", nil), message("old"), nil},
		{"yes", dialog.NewConfirmPrompt("p", nil), message("Yes"), true},
		{"no", dialog.NewConfirmPrompt("p", nil), message("no"), false},
		{"the number of yes", dialog.NewConfirmPrompt("p", nil), message("1"), true},
		{"the number of no", dialog.NewConfirmPrompt("p", nil), message("2"), false},
		{"neither yes nor no", dialog.NewConfirmPrompt("p", nil), message("perhaps"), nil},
		{"a number with neither", dialog.NewConfirmPrompt("p", nil), message("3"), nil},
		{"an empty confirmation", dialog.NewConfirmPrompt("p", nil), message(""), nil},
		{"a choice", dialog.NewChoicePrompt("p", nil), message("blue"),
			dialog.FoundChoice{Value: "Blue", Index: 1, Score: 1, Synonym: "Blue"}},
		{"no choice", dialog.NewChoicePrompt("p", nil), message("green"), nil},
		{"attachments without text", dialog.NewAttachmentPrompt("p", nil),
			schema.Activity{Type: schema.Message, Attachments: files}, files},
		{"a text without attachments", dialog.NewAttachmentPrompt("p", nil), message("here"), nil},
		{"yes in German", dialog.NewPrompt("p", whether, nil), message("Ja"), true},
		{"the number of no in German", dialog.NewPrompt("p", whether, nil), message("2"), false},
		{"neither in German", dialog.NewPrompt("p", whether, nil), message("yes"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChat(t, tt.prompt, dialog.NewWaterfall("main", ask("p", dialog.PromptOptions{
				Prompt:      dialog.Text("What?"),
				RetryPrompt: dialog.Text("Again?"),
				Choices:     dialog.Choices("Red", "Blue"),
			}), end))
			c.say("hello")
			sent, err := c.process(tt.answer)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == nil {
				if c.result.Status != dialog.Waiting || len(sent) != 1 || !strings.HasPrefix(sent[0].Text, "Again?") {
					t.Errorf("%v, said %v", c.result, sent)
				}
			} else if c.result.Status != dialog.Complete || !reflect.DeepEqual(c.result.Value, tt.want) {
				t.Errorf("%v, want %v", c.result, tt.want)
			}
		})
	}
}

func TestPromptAsksAgain(t *testing.T) {
	never := func(context.Context, *dialog.Attempt[string]) (bool, error) { return false, nil }
	scolds := func(ctx context.Context, a *dialog.Attempt[string]) (bool, error) {
		_, err := a.Turn.SendText(ctx, "No!")
		return false, err
	}
	for _, tt := range []struct {
		name     string
		validate dialog.Validator[string]
		options  dialog.PromptOptions
		answer   string
		want     []string
	}{
		{"with the retry prompt", never,
			dialog.PromptOptions{Prompt: dialog.Text("What?"), RetryPrompt: dialog.Text("Again?")}, "x", []string{"Again?"}},
		{"with the prompt if there is no other", never, asking("What?"), "x", []string{"What?"}},
		{"without a validator", nil, asking("What?"), "", []string{"What?"}},
		{"not if the validator has said something", scolds, asking("What?"), "x", []string{"No!"}},
		{"not if it never asked", never, dialog.PromptOptions{}, "x", []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChat(t, dialog.NewTextPrompt("p", tt.validate), dialog.NewWaterfall("main", ask("p", tt.options), end))
			c.say("hello")
			for range 3 {
				if got := c.say(tt.answer); !slices.Equal(got, tt.want) || c.result.Status != dialog.Waiting {
					t.Errorf("said %q, want %q; %v", got, tt.want, c.result)
				}
			}
		})
	}
}

func TestValidator(t *testing.T) {
	broken := errors.New("broken")
	var numbers []int
	c := newChat(t,
		dialog.NewNumberPrompt("p", func(_ context.Context, a *dialog.Attempt[float64]) (bool, error) {
			numbers = append(numbers, a.Number)
			switch {
			case a.Turn.Activity.Text == "error":
				return false, broken
			case a.Turn.Activity.Text == "whatever": // accepted, though no number
				a.Value = 7
				return true, nil
			}
			a.Value *= 2
			return a.OK && a.Value > 100, nil
		}),
		dialog.NewWaterfall("main", ask("p", asking("How many?")), end))

	c.say("hello")
	c.say("none")
	c.say("1")
	if _, err := c.process(message("error")); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	c.say("51")
	if want := []int{1, 2, 3, 3}; !slices.Equal(numbers, want) { // the failed turn does not count
		t.Errorf("attempts numbered %v, want %v", numbers, want)
	}
	if c.result != (dialog.Result{Status: dialog.Complete, Value: 102.0}) {
		t.Errorf("a changed answer: %v", c.result)
	}

	numbers = nil
	c.say("hello")
	c.say("whatever")
	if c.result != (dialog.Result{Status: dialog.Complete, Value: 7.0}) {
		t.Errorf("an answer that was not understood, but accepted: %v", c.result)
	}
	if !slices.Equal(numbers, []int{1}) {
		t.Errorf("attempts numbered %v after a new begin", numbers)
	}
}

func TestPromptOnTheWire(t *testing.T) {
	card := schema.Attachment{ContentType: "application/vnd.microsoft.card.hero", Content: map[string]any{"title": "<A>"}}
	action := schema.SuggestedActions{Actions: []schema.CardAction{{Type: schema.ImBack, Title: "A", Value: bot.Value("a")}}}
	for _, tt := range []struct {
		name    string
		channel string
		prompt  dialog.Dialog
		options dialog.PromptOptions
		want    schema.Activity // as far as it says
		stored  string          // the prompt's options
	}{
		{"a text expects input", "test", dialog.NewTextPrompt("p", nil), asking("<What>?"),
			schema.Activity{Text: "<What>?", InputHint: schema.ExpectingInput},
			`{"prompt":"<What>?"}`},
		{"an activity expects input", "test", dialog.NewTextPrompt("p", nil),
			dialog.PromptOptions{Prompt: &schema.Activity{Type: schema.Message, Text: "What?", Speak: "What"}},
			schema.Activity{Text: "What?", Speak: "What", InputHint: schema.ExpectingInput}, ""},
		{"an activity keeps its input hint", "test", dialog.NewTextPrompt("p", nil),
			dialog.PromptOptions{Prompt: &schema.Activity{Text: "What?", InputHint: schema.IgnoringInput}},
			schema.Activity{Text: "What?", InputHint: schema.IgnoringInput}, ""},
		{"an activity with a card and choices", "test", dialog.NewChoicePrompt("p", nil),
			dialog.PromptOptions{Prompt: &schema.Activity{Text: "Which?", Attachments: []schema.Attachment{card}}, Choices: dialog.Choices("A", "B")},
			schema.Activity{Text: "Which? (1) A or (2) B", Attachments: []schema.Attachment{card}, InputHint: schema.ExpectingInput}, ""},
		{"an activity with an action", "test", dialog.NewTextPrompt("p", nil),
			dialog.PromptOptions{Prompt: &schema.Activity{Text: "What?", SuggestedActions: action}},
			schema.Activity{Text: "What?", SuggestedActions: action, InputHint: schema.ExpectingInput}, ""},
		{"choices in the text", "test", dialog.NewChoicePrompt("p", nil),
			dialog.PromptOptions{Prompt: dialog.Text("Which?"), Choices: dialog.Choices("A", "B", "C")},
			schema.Activity{Text: "Which? (1) A, (2) B, or (3) C", InputHint: schema.ExpectingInput},
			`{"prompt":"Which?","choices":[{"value":"A"},{"value":"B"},{"value":"C"}]}`},
		{"suggestions of a prompt of one's own", "test", dialog.NewPrompt("p", whether, nil),
			dialog.PromptOptions{Prompt: dialog.Text("Sicher?"), Choices: dialog.Choices("Ja", "Nein")},
			schema.Activity{Text: "Sicher? (1) Ja, (2) Nein", InputHint: schema.ExpectingInput},
			`{"prompt":"Sicher?","choices":[{"value":"Ja"},{"value":"Nein"}]}`},
		{"nothing beside the text for the choices of a text prompt", "test", dialog.NewTextPrompt("p", nil),
			dialog.PromptOptions{Prompt: dialog.Text("What?"), Choices: dialog.Choices("A")},
			schema.Activity{Text: "What?", InputHint: schema.ExpectingInput},
			`{"prompt":"What?","choices":[{"value":"A"}]}`},
		{"yes and no in the text", "test", dialog.NewConfirmPrompt("p", nil), asking("Sure?"),
			schema.Activity{Text: "Sure? (1) Yes or (2) No", InputHint: schema.ExpectingInput},
			`{"prompt":"Sure?"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChat(t, tt.prompt, dialog.NewWaterfall("main", ask("p", tt.options), end))
			c.channel = tt.channel
			for _, turn := range []string{"asked", "asked again"} { // the second time, from what is stored
				sent, err := c.process(message(""))
				if err != nil || len(sent) != 1 {
					t.Fatalf("%s: sent %v, error %v", turn, sent, err)
				}
				got := schema.Activity{
					Text: sent[0].Text, Speak: sent[0].Speak, InputHint: sent[0].InputHint,
					Attachments: sent[0].Attachments, SuggestedActions: sent[0].SuggestedActions,
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s: sent %+v, want %+v", turn, got, tt.want)
				}
				if sent[0].Type != schema.Message {
					t.Errorf("%s: type %q", turn, sent[0].Type)
				}
			}
			if tt.stored != "" && !strings.Contains(c.stored(), `"options":`+tt.stored+`,"state":{}`) {
				t.Errorf("stored %s, want options %s", c.stored(), tt.stored)
			}
		})
	}
}

func TestPromptOptionsAreChecked(t *testing.T) {
	begin := func(options any) dialog.Dialog { return dialog.NewWaterfall("main", begin("p", options)) }
	for name, c := range map[string]*chat{
		"options of another type":         newChat(t, dialog.NewTextPrompt("p", nil), begin("What?")),
		"no options":                      newChat(t, dialog.NewTextPrompt("p", nil), begin(nil)),
		"a choice prompt without choices": newChat(t, dialog.NewChoicePrompt("p", nil), begin(asking("Which?"))),
	} {
		if _, err := c.process(message("hello")); err == nil || !strings.HasPrefix(err.Error(), `dialog: begin prompt "p"`) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
