package dialog_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog"
)

// askAgain runs a turn in which the open question is asked after the n-th silence.
func (c *chat) askAgain(n int) []string {
	c.t.Helper()
	return c.silence(func(ctx context.Context, turn *bot.Turn) error { return c.set.Ask(ctx, turn, n) })
}

func TestSilenceIsAnsweredByTheNthText(t *testing.T) {
	for name, tt := range map[string]struct {
		options dialog.PromptOptions
		want    [][]string // after the first silence, the second, and so on
	}{
		"by default with the question": {asking("What?"), [][]string{{"What?"}, {"What?"}}},
		"not with the retry prompt": {dialog.PromptOptions{Prompt: dialog.Text("What?"), RetryPrompt: dialog.Text("A number, please.")},
			[][]string{{"What?"}, {"What?"}}},
		"with a text each, the last one for all later silences": {dialog.PromptOptions{Prompt: dialog.Text("What?"),
			OnSilence: []*schema.Activity{dialog.Text("Are you there?"), dialog.Text("Hello?")}},
			[][]string{{"Are you there?"}, {"Hello?"}, {"Hello?"}, {"Hello?"}}},
		"with the question where there is no text": {dialog.PromptOptions{Prompt: dialog.Text("What?"),
			OnSilence: []*schema.Activity{nil, {}, {Text: "Hello?", Speak: "Hello!"}}},
			[][]string{{"What?"}, {"What?"}, {"Hello?"}}},
		"with nothing if the bot asked by other means": {dialog.PromptOptions{}, [][]string{{}, {}}},
	} {
		t.Run(name, func(t *testing.T) {
			dialogs := []dialog.Dialog{dialog.NewTextPrompt("p", nil), dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", ask("p", tt.options), end))}
			c := newChat(t, dialogs...)
			c.say("hi")
			for i, want := range tt.want {
				c = c.restarted(dialogs...)
				before := c.stored()
				if got := c.askAgain(i + 1); !slices.Equal(got, want) {
					t.Errorf("after silence %d said %q, want %q", i+1, got, want)
				}
				if c.stored() != before || c.storage.writes > 0 {
					t.Errorf("stored %s", c.stored())
				}
			}
			if c.say("this"); c.result != (dialog.Result{Status: dialog.Complete, Value: "this"}) {
				t.Errorf("then %v", c.result)
			}
		})
	}
}

func TestChoicesAreShownAfterASilence(t *testing.T) {
	c := newChat(t, dialog.NewChoicePrompt("p", nil), dialog.NewWaterfall("main", ask("p", dialog.PromptOptions{
		Prompt: dialog.Text("Which?"), OnSilence: []*schema.Activity{dialog.Text("Well?")}, Choices: dialog.Choices("A", "B"),
	})))
	c.say("hi")
	if got, want := c.askAgain(1), []string{"Well? (1) A or (2) B"}; !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
}

// TestSilenceAndMisunderstandingAreCountedApart: an attempt is an answer, and a
// silence is none.
func TestSilenceAndMisunderstandingAreCountedApart(t *testing.T) {
	var attempts []int
	never := func(_ context.Context, a *dialog.Attempt[float64]) (bool, error) {
		attempts = append(attempts, a.Number)
		return false, nil
	}
	c := newChat(t, dialog.NewNumberPrompt("p", never), dialog.NewWaterfall("main", ask("p", dialog.PromptOptions{
		Prompt: dialog.Text("How many?"), RetryPrompt: dialog.Text("A number, please."), OnSilence: []*schema.Activity{dialog.Text("Hello?"), dialog.Text("Still there?")},
	})))
	c.say("hi")
	var said []string
	said = append(said, c.askAgain(1)...)
	said = append(said, c.say("none")...)
	said = append(said, c.askAgain(1)...)
	said = append(said, c.askAgain(2)...)
	said = append(said, c.say("some")...)
	if want := []string{"Hello?", "A number, please.", "Hello?", "Still there?", "A number, please."}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	if want := []int{1, 2}; !slices.Equal(attempts, want) {
		t.Errorf("attempts %v, want %v", attempts, want)
	}
}

func TestAskWithoutAQuestionDoesNothing(t *testing.T) {
	for name, c := range map[string]*chat{
		"no dialog":               newChat(t),
		"a step that waits":       newChat(t, dialog.NewWaterfall("main", wait)),
		"a dialog of one's own":   newChat(t, counter{}),
		"a component with a step": newChat(t, dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", wait))),
	} {
		if name != "no dialog" {
			c.say("hi")
		}
		before, writes := c.stored(), c.storage.writes
		if got := c.askAgain(1); len(got) > 0 || c.stored() != before || c.storage.writes != writes {
			t.Errorf("%s: said %q, stored %s", name, got, c.stored())
		}
	}
}

func TestAskWithAQuestionThatCannotBeReadDoesNothing(t *testing.T) {
	const stack = `{"dialogStack":[{"id":"p","state":{"options":{"prompt":{"type":1}},"state":{}}}]}`
	c := newChat(t, dialog.NewTextPrompt("p", nil))
	c.store(stack)
	if got := c.askAgain(1); len(got) > 0 || len(c.reports) > 0 || c.stored() != stack {
		t.Errorf("said %q, reported %v, stored %s", got, c.reports, c.stored())
	}
}

func TestStoredFormOfWhatJavaScriptDoesNotKnow(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("later"), dialog.NewWaterfall("main",
		func(ctx context.Context, step *dialog.Step) error {
			step.OnTimeout("later")
			return step.Prompt(ctx, "p", dialog.PromptOptions{
				Prompt:    dialog.Text("What?"),
				OnSilence: []*schema.Activity{dialog.Text("<Hello>?"), nil, {Text: "Hello?", Speak: "Hello"}},
				Patience:  []time.Duration{5 * time.Second, 1500 * time.Millisecond, 0, -time.Second},
				OnTimeout: "later",
			})
		}, ask("p", asking("Why?"))))
	c.say("hi")
	got := instanceID.ReplaceAllString(c.stored(), `"instanceId":"I"`)
	want := `{"dialogStack":[{"id":"main","state":{"options":{},"values":{"instanceId":"I"},"stepIndex":0,"onTimeout":{"0":"later"}}},` +
		`{"id":"p","state":{"options":{"prompt":"What?","onSilence":["<Hello>?",null,{"text":"Hello?","speak":"Hello","inputHint":"expectingInput"}],` +
		`"patience":["5s","1.5s","0s","-1s"],"onTimeout":"later"},"state":{}}}]}`
	if got != want {
		t.Errorf("stored\n%s, want\n%s", got, want)
	}
	c.say("this")
	got = instanceID.ReplaceAllString(c.stored(), `"instanceId":"I"`)
	want = `{"dialogStack":[{"id":"main","state":{"options":{},"values":{"instanceId":"I"},"stepIndex":1}},{"id":"p","state":{"options":{"prompt":"Why?"},"state":{}}}]}`
	if got != want {
		t.Errorf("at the next step stored\n%s, want\n%s", got, want)
	}
}
