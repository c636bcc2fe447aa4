package dialog_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/policy"
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

// TestQuestion: which turns put the prompt that waits, which only say something,
// and after which no prompt waits.
func TestQuestion(t *testing.T) {
	scolds := func(ctx context.Context, a *dialog.Attempt[string]) (bool, error) {
		if a.Value == "this" {
			return true, nil
		}
		_, err := a.Turn.SendText(ctx, "No!")
		return false, err
	}
	dialogs := []dialog.Dialog{
		dialog.NewTextPrompt("p", scolds), dialog.NewNumberPrompt("number", nil),
		dialog.NewWaterfall("main", ask("p", asking("What?")), ask("number", asking("How many?")), say("Thanks."), end),
		dialog.NewWaterfall("help", say("This is help."), end), dialog.NewWaterfall("waits", wait, end),
		dialog.NewWaterfall("quiet", ask("p", dialog.PromptOptions{}), end),
		dialog.NewComponent("inside", "main", dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("Inside?")), end)),
	}
	type step func(c *chat, ctx context.Context, turn *bot.Turn) error
	does := func(steps ...step) []step { return steps }
	text := func(text string) step {
		return func(_ *chat, ctx context.Context, turn *bot.Turn) error {
			_, err := turn.SendText(ctx, text)
			return err
		}
	}
	begins := func(id string) step {
		return func(c *chat, ctx context.Context, turn *bot.Turn) error {
			_, err := c.set.Begin(ctx, turn, id, nil)
			return err
		}
	}
	continues := func(c *chat, ctx context.Context, turn *bot.Turn) error {
		_, err := c.set.Continue(ctx, turn)
		return err
	}
	cancels := func(c *chat, ctx context.Context, _ *bot.Turn) error { return c.set.Cancel(ctx) }
	asks := func(c *chat, ctx context.Context, turn *bot.Turn) error { return c.set.Ask(ctx, turn, 1) }
	goes := func(id string) step {
		return func(c *chat, ctx context.Context, turn *bot.Turn) error {
			_, err := c.set.Goto(ctx, turn, policy.Open{Action: policy.Action{Goto: id}}, nil)
			return err
		}
	}
	event := schema.Activity{Type: schema.Event}
	const waits, put, sent = 1, 2, 4
	for name, tt := range map[string]struct {
		before []string // what the user says
		turn   schema.Activity
		does   []step
		want   int
	}{
		"a question is put":                              {nil, message("hi"), does(begins("main")), waits | put | sent},
		"a question is put in a component":               {nil, message("hi"), does(begins("inside")), waits | put | sent},
		"a question that the bot asks by other means":    {nil, event, does(text("Look!"), begins("quiet")), waits | put | sent},
		"a question that nobody hears":                   {nil, event, does(begins("quiet")), waits | put},
		"the next question is put":                       {[]string{"hi"}, message("this"), does(continues), waits | put | sent},
		"the question is put again after a wrong answer": {[]string{"hi", "this"}, message("many"), does(continues), waits | put | sent},
		"the validator answers instead":                  {[]string{"hi"}, message("that"), does(continues), waits | sent},
		"the question is asked again after a silence":    {[]string{"hi"}, event, does(asks), waits | put | sent},
		"a push in the middle":                           {[]string{"hi"}, event, does(text("By the way.")), waits | sent},
		"a push, and activities that are no answers":     {[]string{"hi"}, event, does(text("By the way."), continues), waits | sent},
		"nothing happens":                                {[]string{"hi"}, event, nil, waits},
		"typing":                                         {[]string{"hi"}, schema.Activity{Type: schema.Typing}, does(continues), waits},
		"help, after which the question is asked again":  {[]string{"hi"}, message("help"), does(begins("help")), waits | put | sent},
		"help that asks by itself":                       {[]string{"hi"}, message("help"), does(begins("waits")), 0},
		"the last question is answered":                  {[]string{"hi", "this"}, message("2"), does(continues), sent},
		"the dialogs are cancelled":                      {[]string{"hi"}, message("stop"), does(cancels), 0},
		"a question is put and cancelled":                {nil, message("hi"), does(begins("main"), cancels), sent},
		"the conversation goes to a dialog that says":    {[]string{"hi"}, event, does(goes("help")), sent},
		"the conversation goes to a dialog that asks":    {[]string{"hi"}, event, does(goes("inside")), waits | put | sent},
		"the conversation goes nowhere": {[]string{"hi"}, event, does(func(c *chat, ctx context.Context, turn *bot.Turn) error {
			_, err := c.set.Goto(ctx, turn, policy.Open{Action: policy.Action{Goto: "x"}}, nil)
			return err
		}), waits},
		"another message in a turn without a dialog":       {nil, message("hi"), does(text("Hello.")), sent},
		"a question is put, and answered in the same turn": {nil, message("this"), does(begins("quiet"), continues), 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChat(t, dialogs...)
			for _, text := range tt.before {
				c.say(text)
			}
			c = c.restarted(dialogs...)
			var got policy.Question
			c.handler = func(ctx context.Context, turn *bot.Turn) error {
				for _, do := range tt.does {
					if err := do(c, ctx, turn); err != nil {
						return err
					}
				}
				writes := c.storage.writes
				q, err := c.set.Question(ctx, turn)
				if got = q; c.storage.writes != writes {
					t.Error("Question writes")
				}
				return err
			}
			if _, err := c.process(tt.turn); err != nil {
				t.Fatal(err)
			}
			if want := (policy.Question{Waits: tt.want&waits != 0, Put: tt.want&put != 0, Sent: tt.want&sent != 0}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestTheQuestionsOfAnotherSetDoNotCount.
func TestTheQuestionsOfAnotherSetDoNotCount(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("What?"))))
	c.say("hi")
	other := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("Which?"))))
	other.handler = func(ctx context.Context, turn *bot.Turn) error {
		if _, err := other.set.Run(ctx, turn, "main"); err != nil {
			return err
		}
		q, err := c.set.Question(ctx, turn)
		if q.Put {
			t.Errorf("%+v", q)
		}
		return err
	}
	other.say("hi")
}
