package dialog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// targets are what policy.Target stands for, in their order: what is set, and what
// Target returns then for the dialogs of targetsOf. docs/dialogs.md has them as a
// table.
var targets = []struct{ set, begins string }{
	{"`OnTimeout` of the `PromptOptions` of the prompt that waits", "outer/inner/1"},
	{"`Step.OnTimeout`, called by the step that asked, or that waits by itself", "outer/inner/2"},
	{"`OnTimeout` of the waterfall of that step", "outer/inner/3"},
	{"`Step.OnTimeout`, called by the step that began this waterfall", "outer/inner/4"},
	{"`OnTimeout` of the waterfall of that step, and so on down the stack", "outer/inner/5"},
	{"`OnTimeout` of the component that they are in", "outer/inner/6"},
	{"a dialog called `timeout` in that component", "outer/inner/timeout"},
	{"`Step.OnTimeout`, called by the step that began this component", "outer/8"},
	{"`OnTimeout` of the waterfall of that step", "outer/9"},
	{"`OnTimeout` of the component around, and so on outwards", "outer/10"},
	{"a dialog called `timeout` in the component around, and so on outwards", "outer/timeout"},
	{"`OnTimeout` of a waterfall of the set", "12"},
	{"a dialog called `timeout` in the set, also if no dialog is under way", "timeout"},
}

// targetsOf returns dialogs with the targets set from the n-th on, counted from 1.
// Each is a waterfall that says its number and its options.
func targetsOf(n int) []dialog.Dialog {
	is := func(i int) bool { return i >= n }
	id := func(i int) string { // of an OnTimeout
		if is(i) {
			return fmt.Sprint(i)
		}
		return ""
	}
	on := func(i int, next dialog.StepFunc) dialog.StepFunc { // a step
		return func(ctx context.Context, step *dialog.Step) error {
			if is(i) {
				step.OnTimeout(fmt.Sprint(i))
			}
			return next(ctx, step)
		}
	}
	target := func(i int, id string) *dialog.Waterfall { return dialog.NewWaterfall(id, say(fmt.Sprint(i))) }
	component := func(id string, timeout int, dialogs ...dialog.Dialog) *dialog.Component {
		if is(timeout) {
			dialogs = append(dialogs, target(timeout, "timeout"))
		}
		return dialog.NewComponent(id, "a", dialogs...)
	}

	text := dialog.NewTextPrompt("p", nil)
	options := asking("What?")
	options.OnTimeout = id(1)
	innerB := dialog.NewWaterfall("b", on(2, ask("p", options)))
	innerB.OnTimeout = id(3)
	innerA := dialog.NewWaterfall("a", on(4, begin("b", nil)))
	innerA.OnTimeout = id(5)
	inner := component("inner", 7, innerA, innerB, text, target(1, "1"), target(2, "2"), target(3, "3"), target(4, "4"), target(5, "5"), target(6, "6"))
	inner.OnTimeout = id(6)
	outerA := dialog.NewWaterfall("a", on(8, begin("inner", nil)))
	outerA.OnTimeout = id(9)
	outer := component("outer", 11, outerA, inner, target(8, "8"), target(9, "9"), target(10, "10"))
	outer.OnTimeout = id(10)
	main := dialog.NewWaterfall("main", begin("outer", nil))
	main.OnTimeout = id(12)
	dialogs := []dialog.Dialog{main, outer, text, target(12, "12")}
	if is(13) {
		dialogs = append(dialogs, target(13, "timeout"))
	}
	return dialogs
}

// goTo carries out what is open, and returns what was said.
func (c *chat) goTo(open policy.Open, data json.RawMessage) []string {
	c.t.Helper()
	return c.silence(func(ctx context.Context, turn *bot.Turn) error {
		ok, err := c.set.Goto(ctx, turn, open, data)
		if err == nil && !ok {
			c.t.Errorf("there is no %q", open.Action.Goto)
		}
		return err
	})
}

func (c *chat) target() (target string) {
	c.t.Helper()
	c.silence(func(ctx context.Context, _ *bot.Turn) (err error) {
		target, err = c.set.Target(ctx)
		return err
	})
	return target
}

// TestTheFirstTargetThatIsSetIsBegun: in each row, all later ones are set too.
func TestTheFirstTargetThatIsSetIsBegun(t *testing.T) {
	for i, row := range targets {
		t.Run(row.set, func(t *testing.T) {
			dialogs := targetsOf(i + 1)
			c := newChat(t, dialogs...)
			c.say("hi")
			if got, want := c.place().Path, []string{"main", "outer", "a", "inner", "a", "b", "p"}; !slices.Equal(got, want) {
				t.Fatalf("the path is %q, want %q", got, want)
			}
			said := []string{fmt.Sprint(i + 1)}

			// The policy does not end the session: the stack is there.
			c = c.restarted(dialogs...)
			if got := c.target(); got != row.begins {
				t.Errorf("the target is %q, want %q", got, row.begins)
			}
			open := policy.Open{Action: policy.Action{Goto: policy.Target}, Place: c.place()}
			cleared := newChat(t, dialogs...)
			if got := c.goTo(open, nil); !slices.Equal(got, said) || c.stored() != `{"dialogStack":[]}` {
				t.Errorf("it said %q, stored %s", got, c.stored())
			}

			// The policy ends it: what is stored is a name, and the state is cleared.
			open.Action.Goto = row.begins
			if got := cleared.goTo(open, nil); !slices.Equal(got, said) {
				t.Errorf("on cleared state it said %q", got)
			}
		})
	}
	t.Run("none is set", func(t *testing.T) {
		c := newChat(t, targetsOf(len(targets)+1)...)
		c.say("hi")
		before, writes := c.stored(), c.storage.writes
		if got := c.target(); got != "" {
			t.Errorf("the target is %q", got)
		}
		for _, id := range []string{policy.Target, "", "timeout", "outer/", "outer/timeout", "outer/inner", "p/1", "inner/1"} {
			said := c.silence(func(ctx context.Context, turn *bot.Turn) error {
				ok, err := c.set.Goto(ctx, turn, policy.Open{Action: policy.Action{Goto: id}}, nil)
				if ok != (id == "outer/inner") {
					t.Errorf("Goto finds %q: %v", id, ok)
				}
				return err
			})
			if id == "outer/inner" {
				if !slices.Equal(said, []string{"What?"}) {
					t.Errorf("%q: said %q", id, said)
				}
				c.store(before)
				writes = c.storage.writes
			} else if len(said) > 0 || c.stored() != before || c.storage.writes != writes {
				t.Errorf("%q: said %q, stored %s", id, said, c.stored())
			}
		}
		if got := c.say("this"); len(got) > 0 || c.result.Status != dialog.Complete {
			t.Errorf("then said %q, %v", got, c.result)
		}
	})
}

func TestWhereTargetsAreLookedFor(t *testing.T) {
	text := dialog.NewTextPrompt("p", nil)
	later := dialog.NewWaterfall("later", say("Later."))
	to := func(id string) dialog.PromptOptions {
		return dialog.PromptOptions{Prompt: dialog.Text("What?"), OnTimeout: id}
	}
	onTimeout := func(id string, next dialog.StepFunc) dialog.StepFunc {
		return func(ctx context.Context, step *dialog.Step) error {
			step.OnTimeout(id)
			return next(ctx, step)
		}
	}
	for name, tt := range map[string]struct {
		dialogs []dialog.Dialog
		says    []string
		want    string
	}{
		"outside of the component that names it": {[]dialog.Dialog{later,
			dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", ask("p", to("later"))), text)}, []string{"hi"}, "later"},
		"in the component before outside": {[]dialog.Dialog{later,
			dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", ask("p", to("later"))), text, later)}, []string{"hi"}, "main/later"},
		"in a component that was begun in another, and is not of it": {[]dialog.Dialog{
			dialog.NewComponent("shared", "steps", dialog.NewWaterfall("steps", ask("p", to("later"))), text, later),
			dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", begin("shared", nil)))}, []string{"hi"}, "main/shared/later"},
		"by a step that waits itself": {[]dialog.Dialog{later, dialog.NewWaterfall("main", onTimeout("later", wait))}, []string{"hi"}, "later"},
		"not by a step that is done": {[]dialog.Dialog{later, text, dialog.NewWaterfall("main",
			onTimeout("later", wait), ask("p", asking("What?")))}, []string{"hi", "on"}, ""},
		"not by a prompt that is done": {[]dialog.Dialog{later, text, dialog.NewWaterfall("main",
			ask("p", to("later")), ask("p", asking("What?")))}, []string{"hi", "on"}, ""},
		"where a dialog of one's own waits": {[]dialog.Dialog{counter{}, dialog.NewWaterfall("timeout")}, []string{"hi"}, "timeout"},
		"in an id with a slash": {[]dialog.Dialog{text, dialog.NewWaterfall("a/b", say("Later.")),
			dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", ask("p", to("a/b"))))}, []string{"hi"}, "a/b"},
		"in components with slashes": {[]dialog.Dialog{text, dialog.NewWaterfall("main", begin("a/b", nil)), dialog.NewComponent("a", "later", later),
			dialog.NewComponent("a/b", "steps", dialog.NewWaterfall("steps", ask("p", to("l/ater"))), dialog.NewWaterfall("l/ater", say("Later.")))}, []string{"hi"}, "a/b/l/ater"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChat(t, tt.dialogs...)
			for _, text := range tt.says {
				c.say(text)
			}
			c = c.restarted(tt.dialogs...)
			if got := c.target(); got != tt.want {
				t.Errorf("the target is %q, want %q", got, tt.want)
			}
			if strings.HasSuffix(tt.want, "ater") {
				if got := newChat(t, tt.dialogs...).goTo(policy.Open{Action: policy.Action{Goto: tt.want}}, nil); !slices.Equal(got, []string{"Later."}) {
					t.Errorf("it said %q", got)
				}
			}
		})
	}
	for name, stack := range map[string]string{
		"the target of a prompt that is interrupted": `{"dialogStack":[{"id":"p","state":{"options":{"onTimeout":"later"},"state":{}}},{"id":"main","state":{"options":{},"values":{},"stepIndex":0}}]}`,
		"a prompt's target that there is not":        `{"dialogStack":[{"id":"p","state":{"options":{"onTimeout":"x"},"state":{}}}]}`,
		"a prompt's target of another type":          `{"dialogStack":[{"id":"p","state":{"options":{"onTimeout":{"x":1},"patience":5,"onSilence":"x"},"state":{}}}]}`,
		"a step's target that there is not":          `{"dialogStack":[{"id":"main","state":{"options":{},"values":{},"stepIndex":0,"onTimeout":{"0":"x"}}}]}`,
		"a step's target of another type":            `{"dialogStack":[{"id":"main","state":{"options":{},"values":{},"stepIndex":0,"onTimeout":["later"]}}]}`,
		"the target of a step that another SDK left": `{"dialogStack":[{"id":"main","state":{"options":{},"values":{},"stepIndex":1,"onTimeout":{"0":"later"}}}]}`,
	} {
		c := newChat(t, text, later, dialog.NewWaterfall("main", wait, wait), dialog.NewWaterfall("timeout"))
		c.store(stack)
		if got := c.target(); got != "timeout" {
			t.Errorf("%s: the target is %q", name, got)
		}
		if len(c.place().Path) == 0 || len(c.place().Patience) > 0 {
			t.Errorf("%s: the place is %+v", name, c.place())
		}
	}
}

func TestTargetsThatThereAreNot(t *testing.T) {
	conversation := state.NewConversation(state.NewMemory())
	waterfall := dialog.NewWaterfall("main")
	waterfall.OnTimeout = "later"
	component := dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps"))
	component.OnTimeout = "later"
	within := dialog.NewComponent("outer", "main", waterfall)
	for name, d := range map[string]dialog.Dialog{"of a waterfall": waterfall, "of a component": component, "of a waterfall in a component": within} {
		func() {
			defer func() {
				if got, want := recover(), `dialog: "main" has the OnTimeout "later", and there is no such dialog`; got != want {
					t.Errorf("%s: panic %v, want %s", name, got, want)
				}
			}()
			dialog.NewSet(conversation, d)
		}()
		dialog.NewSet(conversation, d, dialog.NewWaterfall("later")) // there is one
	}

	text := dialog.NewTextPrompt("p", nil)
	for name, step := range map[string]dialog.StepFunc{
		"of a prompt": ask("p", dialog.PromptOptions{Prompt: dialog.Text("What?"), OnTimeout: "later"}),
		"of a step": func(ctx context.Context, step *dialog.Step) error {
			step.OnTimeout("later")
			return step.Prompt(ctx, "p", asking("What?"))
		},
	} {
		c := newChat(t, text, dialog.NewWaterfall("main", step))
		if sent, err := c.process(message("hi")); !errors.Is(err, dialog.ErrNotFound) || !strings.Contains(err.Error(), `OnTimeout "later"`) || len(sent) > 0 {
			t.Errorf("%s: error %v, sent %v", name, err, sent)
		}
	}
}

// reporter is a waterfall that says what it was begun with, and asks.
func reporter(id string) *dialog.Waterfall {
	return dialog.NewWaterfall(id, func(ctx context.Context, step *dialog.Step) error {
		var told dialog.Timeout
		if err := step.Options(&told); err != nil {
			return err
		}
		step.Say(ctx, fmt.Sprintf("%s after %v at %s, %s", told.Rule, told.Idle, strings.Join(told.Path, "/"), told.Data))
		return step.Prompt(ctx, "more", asking("Shall we go on?"))
	}, dialog.Then(func(ctx context.Context, step *dialog.Step, yes bool) error {
		return step.End(ctx, yes)
	}))
}

// TestTheTargetIsToldWhatFired, and where it stood: also by another process, from
// what a record holds. It may wait, and time out itself.
func TestTheTargetIsToldWhatFired(t *testing.T) {
	dialogs := []dialog.Dialog{dialog.NewComponent("main", "steps",
		dialog.NewTextPrompt("name", nil), dialog.NewConfirmPrompt("more", nil), reporter("timeout"),
		dialog.NewWaterfall("steps", ask("name", asking("Name?"))))}
	c := newChat(t, dialogs...)
	c.say("hi")

	input := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	record, err := json.Marshal(policy.Open{
		Action: policy.Action{Goto: c.target()}, Place: c.place(), Rule: "idle", Input: input, At: input.Add(90 * time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	var open policy.Open
	if err := json.Unmarshal(record, &open); err != nil {
		t.Fatal(err)
	}
	cleared := newChat(t, dialogs...)
	want := []string{`idle after 1m30s at main/steps/name, {"ticket":7}`, "Shall we go on? (1) Yes or (2) No"}
	if got := cleared.goTo(open, json.RawMessage(`{"ticket":7}`)); !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}

	c = cleared.restarted(dialogs...)
	if got, want := c.place().Path, []string{"main", "timeout", "more"}; !slices.Equal(got, want) {
		t.Errorf("it waits at %q, want %q", got, want)
	}
	again := policy.Open{Action: policy.Action{Goto: policy.Target}, Place: c.place(), Rule: "idle#2", Input: input, At: input.Add(time.Hour)}
	want = []string{`idle#2 after 1h0m0s at main/timeout/more, `, "Shall we go on? (1) Yes or (2) No"}
	if got := c.goTo(again, nil); !slices.Equal(got, want) {
		t.Errorf("timed out itself, it said %q, want %q", got, want)
	}
	if c.say("yes"); c.result != (dialog.Result{Status: dialog.Complete, Value: true}) || c.stored() != `{"dialogStack":[]}` {
		t.Errorf("in the end %v, stored %s", c.result, c.stored())
	}
}

func TestGotoInATurnOfTheUsersTakesTheMessage(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("name", nil), dialog.NewConfirmPrompt("more", nil), reporter("later"),
		dialog.NewWaterfall("main", ask("name", asking("Name?"))))
	c.say("hi")
	run := c.handler
	c.handler = func(ctx context.Context, turn *bot.Turn) error {
		if turn.Activity.Text != "I am back" {
			return run(ctx, turn)
		}
		_, err := c.set.Goto(ctx, turn, policy.Open{Action: policy.Action{Goto: "later"}, Rule: "idle"}, nil)
		return err
	}
	if got, want := c.say("I am back"), []string{"idle after 0s at , ", "Shall we go on? (1) Yes or (2) No"}; !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
	if c.say("no"); c.result != (dialog.Result{Status: dialog.Complete, Value: false}) {
		t.Errorf("%v", c.result)
	}
}

// TestATargetThatCannotBeginChangesNothing: the turn fails.
func TestATargetThatCannotBeginChangesNothing(t *testing.T) {
	broken := errors.New("broken")
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("What?"))),
		dialog.NewWaterfall("later", func(context.Context, *dialog.Step) error { return broken }))
	c.say("hi")
	before := c.stored()
	for id, want := range map[string]string{"later": "broken", "p": `dialog: begin prompt "p": the options are of type dialog.Timeout, not PromptOptions`} {
		c.handler = func(ctx context.Context, turn *bot.Turn) error {
			_, err := c.set.Goto(ctx, turn, policy.Open{Action: policy.Action{Goto: id}}, nil)
			return err
		}
		if sent, err := c.process(message("x")); err == nil || err.Error() != want || len(sent) > 0 || c.stored() != before {
			t.Errorf("%s: error %v, sent %v, stored %s", id, err, sent, c.stored())
		}
	}
}
