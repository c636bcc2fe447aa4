package dialog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/state"
)

func TestWaterfallRunsStepByStep(t *testing.T) {
	var indexes []int
	var results []any
	note := func(f dialog.StepFunc) dialog.StepFunc {
		return func(ctx context.Context, step *dialog.Step) error {
			indexes, results = append(indexes, step.Index), append(results, step.Result)
			return f(ctx, step)
		}
	}
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main",
		note(ask("p", asking("First?"))),
		note(say("Thanks.")),
		note(ask("p", asking("Second?"))),
		note(func(ctx context.Context, step *dialog.Step) error {
			return step.Next(ctx, 3)
		}),
	))
	for _, turn := range []struct {
		say  string
		want []string
	}{
		{"hello", []string{"First?"}},
		{"1", []string{"Thanks.", "Second?"}},
		{"2", []string{}},
		{"hello again", []string{"First?"}},
	} {
		if got := c.say(turn.say); !slices.Equal(got, turn.want) {
			t.Errorf("after %q said %q, want %q", turn.say, got, turn.want)
		}
		if turn.say == "2" && c.result != (dialog.Result{Status: dialog.Complete, Value: 3}) {
			t.Errorf("past the last step: %v, want complete with the last result", c.result)
		}
	}
	if want := []int{0, 1, 2, 3, 0}; !slices.Equal(indexes, want) {
		t.Errorf("steps %v, want %v", indexes, want)
	}
	if want := []any{nil, "1", "1", "2", nil}; !slices.Equal(results, want) {
		t.Errorf("results %v, want %v", results, want)
	}
}

func TestWaitingStepGetsTheText(t *testing.T) {
	c := newChat(t, dialog.NewWaterfall("main", wait, end))
	c.say("hello")
	if c.say("42"); c.result != (dialog.Result{Status: dialog.Complete, Value: "42"}) {
		t.Errorf("%v", c.result)
	}
}

// wait is a step that waits for the user's next text.
func wait(context.Context, *dialog.Step) error { return nil }

func TestEmptyWaterfallEnds(t *testing.T) {
	c := newChat(t, dialog.NewWaterfall("main"))
	if c.say("hello"); c.result != (dialog.Result{Status: dialog.Complete}) {
		t.Errorf("%v", c.result)
	}
}

func TestValuesKeepTheirTypes(t *testing.T) {
	type point struct{ X, Y int }
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main",
		func(ctx context.Context, step *dialog.Step) error {
			step.Set("count", 42)
			step.Set("big", 1<<62+1)
			step.Set("where", &point{1, 2})
			step.Set("markup", "<&>")
			return step.Prompt(ctx, "p", asking("Go on?"))
		},
		func(ctx context.Context, step *dialog.Step) error {
			var v struct {
				Count         int
				Big           int64
				Where, Absent *point
				Markup        string
			}
			if err := step.Values(&v); err != nil {
				return err
			}
			return step.End(ctx, fmt.Sprintf("%v %v %v %v %v", v.Count, v.Big, *v.Where, v.Markup, v.Absent))
		}))
	c.say("hello")
	if want := `"count":42,"big":4611686018427387905,"where":{"X":1,"Y":2},"markup":"<&>"}`; !strings.Contains(c.stored(), want) {
		t.Errorf("stored %s", c.stored())
	}
	c.say("yes")
	if want := "42 4611686018427387905 {1 2} <&> <nil>"; c.result.Value != want {
		t.Errorf("got %v, want %v", c.result.Value, want)
	}
}

func TestOptionsAreKept(t *testing.T) {
	type order struct{ Item string }
	c := newChat(t, dialog.NewTextPrompt("p", nil),
		dialog.NewWaterfall("main", begin("component", order{"tea"})),
		dialog.NewComponent("component", "inner", dialog.NewWaterfall("inner", ask("p", asking("How many?")),
			func(ctx context.Context, step *dialog.Step) error {
				var o order
				if err := step.Options(&o); err != nil {
					return err
				}
				return step.End(ctx, o.Item)
			})))
	c.say("hello")
	if c.say("3"); c.result.Value != "tea" {
		t.Errorf("%v", c.result)
	}
}

func TestComponentsNest(t *testing.T) {
	inner := dialog.NewComponent("inner", "steps",
		dialog.NewTextPrompt("p", nil), // another one than outside
		dialog.NewWaterfall("steps", ask("p", asking("Inside?")), ask("outside", asking("Outside?")), end))
	c := newChat(t,
		dialog.NewTextPrompt("outside", nil),
		dialog.NewComponent("main", "steps", inner, dialog.NewWaterfall("steps",
			begin("inner", nil),
			func(ctx context.Context, step *dialog.Step) error {
				return step.End(ctx, fmt.Sprintf("inner ended with %v", step.Result))
			})))
	for _, turn := range []struct {
		say  string
		want []string
	}{
		{"hello", []string{"Inside?"}},
		{"", []string{"Inside?"}},
		{"1", []string{"Outside?"}},
		{"2", []string{}},
	} {
		if got := c.say(turn.say); !slices.Equal(got, turn.want) {
			t.Errorf("after %q said %q, want %q", turn.say, got, turn.want)
		}
	}
	if c.result != (dialog.Result{Status: dialog.Complete, Value: "inner ended with 2"}) {
		t.Errorf("%v", c.result)
	}
}

func TestReplace(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("p", nil),
		dialog.NewWaterfall("main",
			func(ctx context.Context, step *dialog.Step) error {
				var round int
				if err := step.Options(&round); err != nil {
					round = 1 // begun without options
				}
				return step.Prompt(ctx, "p", asking(fmt.Sprintf("Round %d?", round)))
			},
			func(ctx context.Context, step *dialog.Step) error {
				if step.Result == "stop" {
					return step.Replace(ctx, "last", nil)
				}
				return step.Replace(ctx, "main", 2)
			}),
		dialog.NewWaterfall("last", say("Bye."), end))
	for _, turn := range []struct {
		say  string
		want []string
	}{
		{"hello", []string{"Round 1?"}},
		{"on", []string{"Round 2?"}},
		{"on", []string{"Round 2?"}},
		{"stop", []string{"Bye."}},
	} {
		if got := c.say(turn.say); !slices.Equal(got, turn.want) {
			t.Errorf("after %q said %q, want %q", turn.say, got, turn.want)
		}
	}
	if c.stored() != `{"dialogStack":[]}` {
		t.Errorf("stored %s", c.stored())
	}
}

func TestCancelAll(t *testing.T) {
	for name, cancel := range map[string]dialog.Dialog{
		"a step": dialog.NewWaterfall("cancel", func(ctx context.Context, step *dialog.Step) error { return step.CancelAll(ctx) }),
		"a dialog that says something else than it did": canceller{},
	} {
		c := newChat(t, dialog.NewTextPrompt("p", nil), cancel,
			dialog.NewWaterfall("main", begin("component", nil), say("The component ended.")),
			dialog.NewComponent("component", "inner", dialog.NewWaterfall("inner", ask("p", asking("Go on?")), begin("cancel", nil))))
		c.say("hello")
		if got := c.say("no"); len(got) > 0 {
			t.Errorf("%s: after cancelling said %q", name, got)
		}
		if name == "a step" && c.result.Status != dialog.Cancelled {
			t.Errorf("%v", c.result)
		}
		if c.stored() != `{"dialogStack":[]}` {
			t.Errorf("%s: stored %s", name, c.stored())
		}
		if got := c.say("hello"); !slices.Equal(got, []string{"Go on?"}) {
			t.Errorf("%s: then said %q", name, got)
		}
	}
}

// begin returns a step that begins a dialog.
func begin(id string, options any) dialog.StepFunc {
	return func(ctx context.Context, step *dialog.Step) error { return step.Begin(ctx, id, options) }
}

// A canceller cancels all dialogs, and says that it waits.
type canceller struct{ beginner }

func (canceller) ID() string { return "cancel" }

func (canceller) Begin(ctx context.Context, stack *dialog.Stack, _ any) (dialog.Result, error) {
	_, err := stack.CancelAll(ctx)
	return dialog.Result{Status: dialog.Waiting}, err
}

func TestSetBeginInterrupts(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("p", nil),
		dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", ask("p", asking("Name?")), end)),
		dialog.NewWaterfall("help", say("This is help.")),
		dialog.NewComponent("long help", "steps", dialog.NewWaterfall("steps", ask("p", asking("More?")), say("Done."))))
	run := c.handler
	c.handler = func(ctx context.Context, turn *bot.Turn) (err error) {
		switch text := turn.Activity.Text; text {
		case "help", "long help":
			c.result, err = c.set.Begin(ctx, turn, text, nil)
			return err
		case "cancel":
			return c.set.Cancel(ctx)
		}
		return run(ctx, turn)
	}
	for _, turn := range []struct {
		say  string
		want []string
	}{
		{"cancel", []string{}},
		{"hello", []string{"Name?"}},
		{"help", []string{"This is help.", "Name?"}},
		{"long help", []string{"More?"}},
		{"no", []string{"Done.", "Name?"}},
		{"cancel", []string{}},
		{"help", []string{"This is help."}},
		{"hello", []string{"Name?"}},
		{"Ada", []string{}},
	} {
		if got := c.say(turn.say); !slices.Equal(got, turn.want) {
			t.Errorf("after %q said %q, want %q", turn.say, got, turn.want)
		}
	}
	if c.result != (dialog.Result{Status: dialog.Complete, Value: "Ada"}) {
		t.Errorf("%v", c.result)
	}
}

func TestOnlyMessagesAreTaken(t *testing.T) {
	steps := dialog.NewWaterfall("main", wait, end)
	for name, c := range map[string]*chat{
		"a prompt": newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("What?")), end)),
		"a component": newChat(t, dialog.NewComponent("main", "steps",
			dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("steps", ask("p", asking("What?")), end))),
		"a waterfall": newChat(t, steps),
	} {
		event := schema.Activity{Type: schema.Event, Text: "42"}
		if sent, err := c.process(event); err != nil || len(sent) > 0 || c.result.Status != dialog.Empty || c.stored() != "" {
			t.Errorf("%s is begun by an event: sent %v, error %v, %v", name, sent, err, c.result)
		}
		c.say("hello")
		before, writes := c.stored(), c.storage.writes
		if sent, err := c.process(event); err != nil || len(sent) > 0 || c.result.Status != dialog.Waiting {
			t.Errorf("%s takes an event: sent %v, error %v, %v", name, sent, err, c.result)
		}
		if c.stored() != before || c.storage.writes != writes {
			t.Errorf("%s: an event changed the state", name)
		}
	}
}

func TestAskingAgainWritesNothing(t *testing.T) {
	c := newChat(t, dialog.NewNumberPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("How many?")), end))
	c.say("hello")
	writes := c.storage.writes
	c.say("none")
	if c.storage.writes != writes {
		t.Error("state was written")
	}
}

var instanceID = regexp.MustCompile(`"instanceId":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)

func TestStoredForm(t *testing.T) {
	c := newChat(t, dialog.NewComponent("main", "W",
		dialog.NewTextPrompt("P", nil),
		dialog.NewWaterfall("W", ask("P", asking("What?")), end)))
	c.say("hello")
	got := instanceID.ReplaceAllString(c.stored(), `"instanceId":"I"`)
	want := `{"dialogStack":[{"id":"main","state":{"dialogs":{"dialogStack":[` +
		`{"id":"W","state":{"options":{},"values":{"instanceId":"I"},"stepIndex":0}},` +
		`{"id":"P","state":{"options":{"prompt":"What?"},"state":{}}}]}},"version":"-667291353"}]}`
	if got != want {
		t.Errorf("stored\n%s, want\n%s", got, want)
	}
	c.say("that")
	if got := c.stored(); got != `{"dialogStack":[]}` {
		t.Errorf("at the end stored %s", got)
	}
}

func TestVersion(t *testing.T) {
	for id, want := range map[string]string{
		"W":  "3779538",
		"é𝄞": "1173500302", // counted in UTF-16
	} {
		c := newChat(t, dialog.NewComponent("main", id, dialog.NewWaterfall(id, wait)))
		c.say("hello")
		if !strings.HasSuffix(c.stored(), `"version":"`+want+`"}]}`) {
			t.Errorf("%s: stored %s, want version %s", id, c.stored(), want)
		}
	}
}

func TestStoredByOthers(t *testing.T) {
	c := newChat(t, dialog.NewComponent("main", "W",
		dialog.NewNumberPrompt("P", func(_ context.Context, a *dialog.Attempt[float64]) (bool, error) { return a.OK, nil }),
		dialog.NewWaterfall("W", ask("P", asking("What?")), end)))
	stack := func(attempt, version string) string {
		return `{"a":1,"dialogStack":[{"b":2,"id":"main","state":{"c":3,"dialogs":{"d":4,"dialogStack":[` +
			`{"id":"W","e":5,"state":{"options":null,"f":6,"values":{"instanceId":"I"},"stepIndex":0}},` +
			`{"id":"P","state":{"options":{"prompt":"Which?","retryPrompt":{"type":"message","text":"Again?","inputHint":"expectingInput"},` +
			`"style":1,"choices":["x",{"value":"y"}]},"state":{` + attempt + `}}}]}},"version":` + version + `}]}`
	}
	c.store(stack("", `"older"`))
	if got := c.say("none"); !slices.Equal(got, []string{"Again?"}) {
		t.Errorf("said %q", got)
	}
	if want := stack(`"attemptCount":1`, `"-667291353"`); c.stored() != want {
		t.Errorf("stored\n%s, want\n%s", c.stored(), want)
	}
	if c.say("42"); c.result != (dialog.Result{Status: dialog.Complete, Value: 42.0}) {
		t.Errorf("%v", c.result)
	}
	if want := `{"a":1,"dialogStack":[]}`; c.stored() != want {
		t.Errorf("stored %s, want %s", c.stored(), want)
	}
	if len(c.reports) > 0 {
		t.Errorf("reported %v", c.reports)
	}
}

func TestCorruptState(t *testing.T) {
	dialogs := []dialog.Dialog{
		dialog.NewTextPrompt("p", func(context.Context, *dialog.Attempt[string]) (bool, error) { return true, nil }),
		dialog.NewWaterfall("main",
			ask("p", asking("What?")),
			dialog.Then(func(ctx context.Context, step *dialog.Step, _ string) error {
				step.Say(ctx, "Thanks.")
				var options struct{ N int }
				if err := step.Options(&options); err != nil {
					return fmt.Errorf("options: %w", err)
				}
				var values struct{ Count int }
				if err := step.Values(&values); err != nil {
					return err
				}
				return step.End(ctx, values.Count)
			})),
		dialog.NewNumberPrompt("number", nil),
		dialog.NewComponent("component", "main", dialog.NewWaterfall("main")),
	}
	frames := func(waterfall, prompt string) string {
		return `{"dialogStack":[{"id":"main","state":{` + waterfall + `}},{"id":"p","state":{` + prompt + `}}]}`
	}
	const goodWaterfall, goodPrompt = `"options":{},"values":{},"stepIndex":0`, `"options":{},"state":{}`
	for name, tt := range map[string]struct{ stored, report string }{
		"no object":                         {`[]`, "the stored stack is no object"},
		"no array":                          {`{"dialogStack":{}}`, "the stored stack has no array dialogStack"},
		"null":                              {`{"dialogStack":null}`, "the stored stack has no array dialogStack"},
		"another object":                    {`{"stack":[]}`, "the stored stack has no array dialogStack"},
		"an entry that is no object":        {`{"dialogStack":[1]}`, "an entry of the stored stack is no object"},
		"an entry without id":               {`{"dialogStack":[{"state":{}}]}`, "an entry of the stored stack has no id"},
		"a null id":                         {`{"dialogStack":[{"id":null,"state":{}}]}`, "an entry of the stored stack has no id"},
		"an unknown id":                     {`{"dialogStack":[{"id":"x","state":{}}]}`, `the stored stack has a dialog "x", which this bot has not`},
		"an entry without state":            {`{"dialogStack":[{"id":"main"}]}`, `dialog "main" is stored without its state`},
		"too many dialogs":                  {`{"dialogStack":[` + strings.Repeat("1,", 5000) + `1]}`, "the stored stack has too many dialogs"},
		"an unknown id below":               {`{"dialogStack":[{"id":"x","state":{}},{"id":"p","state":{` + goodPrompt + `}}]}`, `the stored stack has a dialog "x", which this bot has not`},
		"a component without dialogs":       {`{"dialogStack":[{"id":"component","state":{}}]}`, "the stored stack is no object"},
		"a step that is not there":          {frames(`"values":{},"stepIndex":2`, goodPrompt), `waterfall "main" is stored at a step that it does not have`},
		"a negative step":                   {frames(`"values":{},"stepIndex":-1`, goodPrompt), `waterfall "main" is stored at a step that it does not have`},
		"a step beyond all numbers":         {frames(`"values":{},"stepIndex":1e999`, goodPrompt), `waterfall "main" is stored at a step that it does not have`},
		"no values":                         {frames(`"stepIndex":0`, goodPrompt), `waterfall "main" is stored without its values`},
		"a value of another type":           {frames(`"options":{},"values":{"count":4.2},"stepIndex":0`, goodPrompt), `step 1 of waterfall "main": the values are stored as no *struct { Count int }`},
		"options of another type":           {frames(`"options":{"N":"secret"},"values":{},"stepIndex":0`, goodPrompt), `step 1 of waterfall "main": the options are stored as no *struct { N int }`},
		"no options of the waterfall":       {frames(`"values":{},"stepIndex":0`, goodPrompt), `step 1 of waterfall "main": the options are stored as no *struct { N int }`},
		"prompt options of another type":    {frames(goodWaterfall, `"options":[],"state":{}`), `prompt "p" is stored without its options`},
		"a prompt of another type":          {frames(goodWaterfall, `"options":{"prompt":1},"state":{}`), `prompt "p" is stored without its options`},
		"a retry prompt of another type":    {frames(goodWaterfall, `"options":{"retryPrompt":[]},"state":{}`), `prompt "p" is stored without its options`},
		"choices of another type":           {frames(goodWaterfall, `"options":{"choices":{}},"state":{}`), `prompt "p" is stored without its options`},
		"a choice of another type":          {frames(goodWaterfall, `"options":{"choices":[1]},"state":{}`), `prompt "p" is stored without its options`},
		"no prompt state":                   {frames(goodWaterfall, `"options":{}`), `prompt "p" is stored without its state`},
		"an attempt count of another type":  {frames(goodWaterfall, `"options":{},"state":{"attemptCount":"1"}`), `prompt "p" is stored without its state`},
		"a negative attempt count":          {frames(goodWaterfall, `"options":{},"state":{"attemptCount":-1}`), `prompt "p" is stored without its state`},
		"another prompt than the step asks": {strings.Replace(frames(goodWaterfall, goodPrompt), `"p"`, `"number"`, 1), `step 1 of waterfall "main": the result is of type float64, not string`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChat(t, dialogs...)
			c.store(tt.stored)
			got := c.say("42")
			if got[len(got)-1] != "What?" || c.result.Status != dialog.Waiting {
				t.Errorf("said %q, %v", got, c.result)
			}
			if len(c.reports) != 1 || !errors.Is(c.reports[0], state.ErrCorrupt) || !strings.Contains(c.reports[0].Error(), "dialog: "+tt.report) {
				t.Errorf("reported %v, want %s", c.reports, tt.report)
			}
			c.say("that")
			if c.result != (dialog.Result{Status: dialog.Complete, Value: 0}) || len(c.reports) != 1 {
				t.Errorf("then %v, reported %v", c.result, c.reports)
			}
		})
	}
}

func TestStateThatIsNoneYet(t *testing.T) {
	for _, stored := range []string{`{}`, `null`, `{"dialogStack":[]}`} {
		c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("What?")), end))
		c.store(stored)
		if got := c.say("hello"); !slices.Equal(got, []string{"What?"}) || len(c.reports) > 0 {
			t.Errorf("%s: said %q, reported %v", stored, got, c.reports)
		}
	}
}

func TestCorruptStateIsLogged(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("What?")), end))
	c.set.Report = nil
	c.store(`{"dialogStack":[{"id":"p","state":{"options":"secret"}}]}`)
	c.say("hello")
	if got := log.String(); !strings.Contains(got, "level=WARN") || strings.Contains(got, "secret") {
		t.Errorf("logged %s", got)
	}
}

func TestCorruptStateBelowAnInterruption(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("help", say("This is help.")))
	c.handler = func(ctx context.Context, turn *bot.Turn) (err error) {
		c.result, err = c.set.Begin(ctx, turn, "help", nil)
		return err
	}
	c.store(`{"dialogStack":[{"id":"p","state":{}}]}`)
	if got := c.say("help"); !slices.Equal(got, []string{"This is help."}) || c.result.Status != dialog.Empty {
		t.Errorf("said %q, %v", got, c.result)
	}
	if len(c.reports) != 1 || c.stored() != `{"dialogStack":[]}` {
		t.Errorf("reported %v, stored %s", c.reports, c.stored())
	}
}

func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	main := func(steps ...dialog.StepFunc) []dialog.Dialog {
		return []dialog.Dialog{dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", steps...)}
	}
	for _, tt := range []struct {
		name    string
		dialogs []dialog.Dialog
		is      error // nil: any
		text    string
	}{
		{"of a step, untouched", main(func(context.Context, *dialog.Step) error { return broken }), broken, "broken"},
		{"Run with an unknown id", []dialog.Dialog{dialog.NewTextPrompt("p", nil)},
			dialog.ErrNotFound, `dialog: begin "main": no such dialog`},
		{"Prompt with an unknown id", main(ask("q", asking("What?"))),
			dialog.ErrNotFound, `dialog: begin "q": no such dialog`},
		{"no result", []dialog.Dialog{silent{}}, nil, `dialog: "main" returned no result`},
		{"of a step that does not return it", main(func(ctx context.Context, step *dialog.Step) error {
			step.Prompt(ctx, "q", asking("What?"))
			step.Say(ctx, "Not said.")
			return nil
		}), dialog.ErrNotFound, `dialog: begin "q": no such dialog`},
		{"a value without a JSON form", main(func(ctx context.Context, step *dialog.Step) error {
			step.Set("f", func() {})
			step.Set("g", 1)
			return step.Prompt(ctx, "p", asking("What?"))
		}), nil, `dialog: set value "f": json: unsupported type: func()`},
		{"a waterfall that replaces itself", main(func(ctx context.Context, step *dialog.Step) error {
			return step.Replace(ctx, "main", nil)
		}), dialog.ErrLoop, ""},
		{"a waterfall that begins itself", main(begin("main", nil)), dialog.ErrLoop, ""},
		{"a component that begins itself", []dialog.Dialog{dialog.NewComponent("main", "steps", dialog.NewWaterfall("steps", begin("main", nil)))}, dialog.ErrLoop, ""},
		{"options without a JSON form", main(begin("main", func() {})), nil, ""},
		{"an answer of another type from the bot itself", main(
			func(ctx context.Context, step *dialog.Step) error { return step.Next(ctx, 1) },
			dialog.Then(func(context.Context, *dialog.Step, string) error { return nil })), state.ErrCorrupt, `dialog: step 1 of waterfall "main": the result is of type int, not string`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChat(t, tt.dialogs...)
			sent, err := c.process(message("hello"))
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || tt.text != "" && err.Error() != tt.text {
				t.Errorf("error %v", err)
			}
			if c.stored() != "" || len(c.reports) > 0 || len(sent) > 0 {
				t.Errorf("stored %s, reported %v, sent %v", c.stored(), c.reports, sent)
			}
		})
	}
}

func TestStepGoesOnOnce(t *testing.T) {
	ways := map[string]dialog.StepFunc{
		"Next":   func(ctx context.Context, step *dialog.Step) error { return step.Next(ctx, nil) },
		"End":    end,
		"Begin":  begin("other", nil),
		"Prompt": ask("p", asking("What?")),
		"Replace": func(ctx context.Context, step *dialog.Step) error {
			return step.Replace(ctx, "other", nil)
		},
		"CancelAll": func(ctx context.Context, step *dialog.Step) error { return step.CancelAll(ctx) },
	}
	for name1, first := range ways {
		for name2, second := range ways {
			c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("other"), dialog.NewWaterfall("main",
				func(ctx context.Context, step *dialog.Step) error {
					if err := first(ctx, step); err != nil {
						return err
					}
					return second(ctx, step)
				}))
			_, err := c.process(message("hello"))
			if err == nil || err.Error() != `dialog: step 0 of waterfall "main" goes on twice` {
				t.Errorf("%s, then %s: error %v", name1, name2, err)
			}
		}
	}
}

func TestStorageErrorsAreReturned(t *testing.T) {
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("What?")), end))
	c.say("hello")
	before := c.stored()
	c.storage.err = errors.New("disk on fire")
	if sent, err := c.process(message("x")); !errors.Is(err, c.storage.err) || len(sent) > 0 || len(c.reports) > 0 {
		t.Errorf("sent %v, error %v, reported %v", sent, err, c.reports)
	}
	c.storage.err = nil
	if c.stored() != before {
		t.Errorf("stored %s", c.stored())
	}
}

// A counter is a dialog from outside the package: it counts messages up to a
// limit, activities of other types included.
type counter struct{}

func (counter) ID() string { return "main" }

func (counter) Begin(_ context.Context, stack *dialog.Stack, _ any) (dialog.Result, error) {
	return dialog.Result{Status: dialog.Waiting}, stack.Store(map[string]int{"n": 0})
}

func (c counter) Continue(ctx context.Context, stack *dialog.Stack) (dialog.Result, error) {
	var s struct{ N int }
	if err := stack.Load(&s); err != nil {
		return dialog.Result{}, err
	}
	switch s.N++; s.N {
	case 2:
		return stack.Begin(ctx, "p", asking("Go on?"))
	case 3:
		return stack.End(ctx, s.N)
	}
	return dialog.Result{Status: dialog.Waiting}, stack.Store(map[string]int{"n": s.N})
}

func (counter) Resume(_ context.Context, stack *dialog.Stack, _ any) (dialog.Result, error) {
	return dialog.Result{Status: dialog.Waiting}, stack.Store(map[string]int{"n": 2})
}

func TestDialogFromOutside(t *testing.T) {
	c := newChat(t, counter{}, dialog.NewTextPrompt("p", nil))
	for range 3 {
		c.say("x")
	}
	c.say("yes")
	if c.stored() != `{"dialogStack":[{"id":"main","state":{"n":2}}]}` {
		t.Errorf("stored %s", c.stored())
	}
	if c.say("x"); c.result != (dialog.Result{Status: dialog.Complete, Value: 3}) {
		t.Errorf("%v", c.result)
	}

	c.store(`{"dialogStack":[{"id":"main","state":{"n":"many"}}]}`)
	if c.say("x"); c.result.Status != dialog.Waiting || len(c.reports) != 1 {
		t.Errorf("%v, reported %v", c.result, c.reports)
	}
}

func TestStoreNeedsAnObject(t *testing.T) {
	for name, v := range map[string]any{"a number": 1, "a function": func() {}} {
		c := newChat(t, beginner(func(stack *dialog.Stack) error { return stack.Store(v) }))
		if _, err := c.process(message("x")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A beginner is a dialog that only begins.
type beginner func(*dialog.Stack) error

func (beginner) ID() string { return "main" }

func (f beginner) Begin(_ context.Context, stack *dialog.Stack, _ any) (dialog.Result, error) {
	return dialog.Result{Status: dialog.Waiting}, f(stack)
}

func (beginner) Continue(context.Context, *dialog.Stack) (dialog.Result, error) {
	return dialog.Result{Status: dialog.Waiting}, nil
}

func (beginner) Resume(context.Context, *dialog.Stack, any) (dialog.Result, error) {
	return dialog.Result{Status: dialog.Waiting}, nil
}

func TestWiringMistakesPanic(t *testing.T) {
	conversation := state.NewConversation(state.NewMemory())
	text := dialog.NewTextPrompt("p", nil)
	for name, f := range map[string]func(){
		"a nil scope":                 func() { dialog.NewSet(nil) },
		"a nil dialog":                func() { dialog.NewSet(conversation, nil) },
		"an empty id":                 func() { dialog.NewSet(conversation, dialog.NewTextPrompt("", nil)) },
		"an id used twice":            func() { dialog.NewSet(conversation, text, dialog.NewNumberPrompt("p", nil)) },
		"a component without initial": func() { dialog.NewComponent("c", "other", text) },
		"an id used twice within":     func() { dialog.NewComponent("c", "p", text, text) },
		"a nil step":                  func() { dialog.NewWaterfall("w", nil) },
		"a nil recognizer":            func() { dialog.NewPrompt[int]("p", nil, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestStatusString(t *testing.T) {
	for s, want := range map[dialog.Status]string{
		dialog.Empty: "empty", dialog.Waiting: "waiting", dialog.Complete: "complete", dialog.Cancelled: "cancelled", 9: "unknown status",
	} {
		if s.String() != want {
			t.Errorf("%d: %q", s, s.String())
		}
	}
}

// TestValuesAreSharedByStepsOfOneTurn: what a step sets after it has gone on
// does not undo what later steps have set.
func TestValuesAreSharedByStepsOfOneTurn(t *testing.T) {
	var got string
	c := newChat(t, dialog.NewTextPrompt("p", nil), dialog.NewWaterfall("main",
		func(ctx context.Context, step *dialog.Step) error {
			err := step.Next(ctx, nil)
			step.Set("a", "1")
			return err
		},
		func(ctx context.Context, step *dialog.Step) error {
			step.Set("b", "2")
			return step.Prompt(ctx, "p", asking("What?"))
		},
		func(_ context.Context, step *dialog.Step) error {
			var v struct{ A, B string }
			err := step.Values(&v)
			got = v.A + v.B
			return err
		},
	))
	c.say("hi")
	c.say("x")
	if got != "12" {
		t.Errorf("the values are %q", got)
	}
}

// TestADialogThatCouldNotBeginIsNotOnTheStack, whoever goes on without it.
func TestADialogThatCouldNotBeginIsNotOnTheStack(t *testing.T) {
	c := newChat(t, dialog.NewChoicePrompt("p", nil), beginner(func(stack *dialog.Stack) error {
		if _, err := stack.Begin(t.Context(), "p", asking("Which?")); err == nil {
			t.Error("a choice prompt without choices begins")
		}
		return nil
	}))
	c.say("hi")
	if c.stored() != `{"dialogStack":[{"id":"main","state":{}}]}` {
		t.Errorf("stored %s", c.stored())
	}
}

// A silent dialog returns no result.
type silent struct{ beginner }

func (silent) Begin(context.Context, *dialog.Stack, any) (dialog.Result, error) {
	return dialog.Result{}, nil
}

// A sayer only says how it ended.
type sayer struct {
	beginner
	dialog.Status
}

func (s sayer) Begin(context.Context, *dialog.Stack, any) (dialog.Result, error) {
	return dialog.Result{Status: s.Status}, nil
}

// TestAResultThatIsOnlySaidEndsAllTheSame, of a dialog that stays on the stack.
func TestAResultThatIsOnlySaidEndsAllTheSame(t *testing.T) {
	for _, status := range []dialog.Status{dialog.Complete, dialog.Cancelled} {
		for _, id := range []string{"main", "component"} {
			c := newChat(t, sayer{Status: status}, dialog.NewComponent("component", "main", sayer{Status: status}))
			c.handler = func(ctx context.Context, turn *bot.Turn) (err error) {
				c.result, err = c.set.Run(ctx, turn, id)
				return err
			}
			for range 2 {
				if c.say("hi"); c.result.Status != status || c.stored() != `{"dialogStack":[]}` || len(c.reports) > 0 {
					t.Errorf("%s, %v: the result is %+v, stored %s, reported %v", id, status, c.result, c.stored(), c.reports)
				}
			}
		}
	}
}

// emptier is a dialog that ends, and uses the stack afterwards.
type emptier struct{ t *testing.T }

func (emptier) ID() string { return "main" }
func (e emptier) Begin(ctx context.Context, stack *dialog.Stack, _ any) (dialog.Result, error) {
	r, err := stack.End(ctx, nil)
	if stack.Store(map[string]int{}) == nil || stack.Load(new(int)) == nil {
		e.t.Error("there is state without a dialog")
	}
	return r, err
}
func (emptier) Continue(context.Context, *dialog.Stack) (dialog.Result, error) { panic("never") }
func (emptier) Resume(context.Context, *dialog.Stack, any) (dialog.Result, error) {
	panic("never")
}

func TestAnEmptyStackHasNoState(t *testing.T) {
	c := newChat(t, emptier{t})
	c.say("hi")
	if c.result.Status != dialog.Complete {
		t.Errorf("the result is %+v", c.result)
	}
}

// TestWhatWasSentBeforeDoesNotSilenceTheQuestion: typing, or the notice of an
// expiry.
func TestWhatWasSentBeforeDoesNotSilenceTheQuestion(t *testing.T) {
	c := newChat(t, dialog.NewNumberPrompt("p", nil), dialog.NewWaterfall("main", ask("p", asking("How many?")), end))
	run := c.handler
	c.handler = func(ctx context.Context, turn *bot.Turn) error {
		if _, err := turn.Send(ctx, schema.Activity{Type: schema.Typing}); err != nil {
			return err
		}
		return run(ctx, turn)
	}
	c.say("hi")
	if got := c.say("none of your business"); len(got) != 2 || got[1] != "How many?" {
		t.Errorf("the bot said %q", got)
	}
}
