package dialog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/policy"
)

// silence runs a turn that no user caused, and returns the texts that were said in
// it.
func (c *chat) silence(handler bot.Handler) []string {
	c.t.Helper()
	before := c.handler
	defer func() { c.handler = before }()
	c.handler = handler
	sent, err := c.process(schema.Activity{Type: schema.Event, Name: "ContinueConversation"})
	if err != nil {
		c.t.Fatal(err)
	}
	texts := []string{}
	for _, a := range sent {
		texts = append(texts, a.Text)
	}
	return texts
}

// restarted returns the conversation in another process with the same dialogs.
func (c *chat) restarted(dialogs ...dialog.Dialog) *chat {
	c.t.Helper()
	other := newChat(c.t, dialogs...)
	if stack := c.stored(); stack != "" {
		other.store(stack)
	}
	return other
}

func (c *chat) place() (place policy.Place) {
	c.t.Helper()
	writes := c.storage.writes
	c.silence(func(ctx context.Context, _ *bot.Turn) (err error) {
		place, err = c.set.Place(ctx)
		return err
	})
	if c.storage.writes != writes || len(c.reports) > 0 {
		c.t.Errorf("Place wrote %d times, and reported %v", c.storage.writes-writes, c.reports)
	}
	return place
}

func TestPlace(t *testing.T) {
	patient := dialog.PromptOptions{Prompt: dialog.Text("What?"), Patience: []time.Duration{5 * time.Second, 1500 * time.Millisecond, 0}}
	text := dialog.NewTextPrompt("p", nil)
	for name, tt := range map[string]struct {
		dialogs  []dialog.Dialog
		says     []string
		want     []string
		patience []time.Duration
	}{
		"before the first message there is no dialog": {[]dialog.Dialog{text, dialog.NewWaterfall("main", ask("p", patient))}, nil, nil, nil},
		"a prompt in a waterfall": {[]dialog.Dialog{text, dialog.NewWaterfall("main", ask("p", patient))},
			[]string{"hi"}, []string{"main", "p"}, patient.Patience},
		"a prompt without patience": {[]dialog.Dialog{text, dialog.NewWaterfall("main", ask("p", asking("What?")))},
			[]string{"hi"}, []string{"main", "p"}, nil},
		"a prompt of any type": {[]dialog.Dialog{dialog.NewConfirmPrompt("p", nil), dialog.NewWaterfall("main", ask("p", patient))},
			[]string{"hi", "perhaps"}, []string{"main", "p"}, patient.Patience},
		"after the end there is no dialog": {[]dialog.Dialog{text, dialog.NewWaterfall("main", ask("p", patient))},
			[]string{"hi", "this"}, nil, nil},
		"a step that waits by itself": {[]dialog.Dialog{dialog.NewWaterfall("main", say("Hm."), wait)},
			[]string{"hi"}, []string{"main", "main#1"}, nil},
		"a prompt in components": {[]dialog.Dialog{dialog.NewComponent("main", "steps",
			dialog.NewWaterfall("steps", begin("inner", nil)),
			dialog.NewComponent("inner", "steps", dialog.NewWaterfall("steps", ask("p", patient)), text))},
			[]string{"hi"}, []string{"main", "steps", "inner", "steps", "p"}, patient.Patience},
		"a waterfall on a waterfall": {[]dialog.Dialog{dialog.NewWaterfall("main", begin("other", nil)), dialog.NewWaterfall("other", wait)},
			[]string{"hi"}, []string{"main", "other", "other#0"}, nil},
		"a prompt alone": {[]dialog.Dialog{text, dialog.NewWaterfall("main", func(ctx context.Context, step *dialog.Step) error {
			return step.Replace(ctx, "p", patient)
		})}, []string{"hi"}, []string{"p"}, patient.Patience},
		"a dialog of one's own": {[]dialog.Dialog{counter{}}, []string{"hi"}, []string{"main"}, nil},
		"a prompt on a dialog of one's own": {[]dialog.Dialog{counter{}, text},
			[]string{"hi", "one", "two"}, []string{"main", "p"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChat(t, tt.dialogs...)
			for _, text := range tt.says {
				c.say(text)
			}
			for _, c := range []*chat{c, c.restarted(tt.dialogs...)} {
				place := c.place()
				if !slices.Equal(place.Path, tt.want) || !slices.Equal(place.Patience, tt.patience) || place.Channel != "" {
					t.Errorf("the place is %+v, want %q, %v", place, tt.want, tt.patience)
				}
			}
		})
	}
}

// TestADialogThatInterruptsIsOnThePath, as what it interrupts is; what is in a
// component below is not.
func TestADialogThatInterruptsIsOnThePath(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewTextPrompt("q", nil),
		dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", ask("p", asking("Name?")))),
		dialog.NewWaterfall("help", ask("q", asking("More?"))))
	c.say("hi")
	c.silence(func(ctx context.Context, turn *bot.Turn) error {
		_, err := c.set.Begin(ctx, turn, "help", nil)
		return err
	})
	if got, want := c.place().Path, []string{"main", "help", "q"}; !slices.Equal(got, want) {
		t.Errorf("the path is %q, want %q", got, want)
	}
}

// unusable are stored stacks that no dialogs can use, at least not those of
// targetsOf.
var unusable = map[string]string{
	"no object":                        `[]`,
	"an unknown id":                    `{"dialogStack":[{"id":"x","state":{}}]}`,
	"an unknown id below":              `{"dialogStack":[{"id":"x","state":{}},{"id":"p","state":{"options":{},"state":{}}}]}`,
	"an entry without state":           `{"dialogStack":[{"id":"main"}]}`,
	"a component without dialogs":      `{"dialogStack":[{"id":"outer","state":{}}]}`,
	"a component with an empty stack":  `{"dialogStack":[{"id":"outer","state":{"dialogs":{"dialogStack":[]}}}]}`,
	"an unknown id in a component":     `{"dialogStack":[{"id":"outer","state":{"dialogs":{"dialogStack":[{"id":"x","state":{}}]}}}]}`,
	"a component in itself":            strings.Repeat(`{"dialogStack":[{"id":"outer","state":{"dialogs":`, 40) + `{"dialogStack":[]}` + strings.Repeat(`}}]}`, 40),
	"a step that is not there":         `{"dialogStack":[{"id":"main","state":{"options":{},"values":{},"stepIndex":9}}]}`,
	"a step below that is not there":   `{"dialogStack":[{"id":"main","state":{"options":{},"values":{},"stepIndex":9}},{"id":"p","state":{"options":{},"state":{}}}]}`,
	"a waterfall without values":       `{"dialogStack":[{"id":"main","state":{"options":{},"stepIndex":0}}]}`,
	"a prompt without options":         `{"dialogStack":[{"id":"p","state":{"state":{}}}]}`,
	"a prompt with a number for texts": `{"dialogStack":[{"id":"p","state":{"options":{"prompt":1},"state":{}}}]}`,
}

// TestAStackThatCannotBeUsedIsNoDialog: it is nowhere, asks nothing, and stays for
// the next turn to report.
func TestAStackThatCannotBeUsedIsNoDialog(t *testing.T) {
	for name, stack := range unusable {
		t.Run(name, func(t *testing.T) {
			c := newChat(t, targetsOf(1)...)
			c.store(stack)
			if place := c.place(); len(place.Path) > 0 || len(place.Patience) > 0 {
				t.Errorf("the place is %+v", place)
			}
			said := c.silence(func(ctx context.Context, turn *bot.Turn) error {
				target, err1 := c.set.Target(ctx)
				question, err2 := c.set.Question(ctx, turn)
				if target != "timeout" || question.Waits {
					t.Errorf("the target is %q, the question %+v", target, question)
				}
				return errors.Join(err1, err2, c.set.Ask(ctx, turn, 1))
			})
			if len(said) > 0 || len(c.reports) > 0 || c.storage.writes > 0 || c.stored() != stack {
				t.Errorf("said %q, reported %v, stored %s", said, c.reports, c.stored())
			}
			if said := c.goTo(policy.Open{Action: policy.Action{Goto: policy.Target}}, nil); !slices.Equal(said, []string{"13"}) {
				t.Errorf("the target said %q", said)
			}
		})
	}
}

// TestErrorsOfTheStorageAreNotTakenForNoDialog.
func TestErrorsOfTheStorageAreNotTakenForNoDialog(t *testing.T) {
	c := newChat(t, targetsOf(1)...)
	c.storage.err = errors.New("disk on fire")
	for name, f := range map[string]func(context.Context, *bot.Turn) error{
		"Place":    func(ctx context.Context, _ *bot.Turn) error { _, err := c.set.Place(ctx); return err },
		"Target":   func(ctx context.Context, _ *bot.Turn) error { _, err := c.set.Target(ctx); return err },
		"Question": func(ctx context.Context, turn *bot.Turn) error { _, err := c.set.Question(ctx, turn); return err },
		"Ask":      func(ctx context.Context, turn *bot.Turn) error { return c.set.Ask(ctx, turn, 1) },
		"Goto": func(ctx context.Context, turn *bot.Turn) error {
			_, err := c.set.Goto(ctx, turn, policy.Open{Action: policy.Action{Goto: "main"}}, nil)
			return err
		},
	} {
		c.handler = f
		if _, err := c.process(message("x")); !errors.Is(err, c.storage.err) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
