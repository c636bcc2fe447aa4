package dialog_test

import (
	"context"
	"fmt"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// converse runs a turn for each text that a user says to a bot with dialogs,
// the first of which is called "main".
func converse(conversation *state.Scope, dialogs *dialog.Set, texts ...string) {
	channel := &bottest.Channel{}
	adapter := bot.NewAdapter(channel, middleware.AutoSave(conversation))
	for _, text := range texts {
		fmt.Println(">", text)
		err := adapter.Process(context.Background(), schema.Activity{
			Type:         schema.Message,
			Text:         text,
			ChannelID:    "test",
			Conversation: schema.ConversationAccount{ID: "1"},
		}, dialogs.Handler("main"))
		if err != nil {
			fmt.Println(err)
		}
		for _, a := range channel.Sent() {
			fmt.Println("<", a.Text)
		}
	}
}

func Example() {
	conversation := state.NewConversation(state.NewMemory())
	dialogs := dialog.NewSet(conversation,
		dialog.NewWaterfall("main",
			func(ctx context.Context, step *dialog.Step) error {
				return step.Prompt(ctx, "text", dialog.PromptOptions{Prompt: dialog.Text("What is your name?")})
			},
			dialog.Then(func(ctx context.Context, step *dialog.Step, name string) error {
				step.Set("name", name)
				return step.Prompt(ctx, "choice", dialog.PromptOptions{
					Prompt:  dialog.Text("How do you travel?"),
					Choices: dialog.Choices("Bus", "Bicycle"),
				})
			}),
			dialog.Then(func(ctx context.Context, step *dialog.Step, found dialog.FoundChoice) error {
				var user struct{ Name string }
				if err := step.Values(&user); err != nil {
					return err
				}
				step.Say(ctx, user.Name+" goes by "+found.Value+".")
				return step.End(ctx, nil)
			}),
		),
		dialog.NewTextPrompt("text", nil),
		dialog.NewChoicePrompt("choice", nil),
	)

	converse(conversation, dialogs, "hi", "Ada", "train", "2")
	// Output:
	// > hi
	// < What is your name?
	// > Ada
	// < How do you travel? (1) Bus or (2) Bicycle
	// > train
	// < How do you travel? (1) Bus or (2) Bicycle
	// > 2
	// < Ada goes by Bicycle.
}

// A validator that gives up after three attempts.
func ExampleValidator() {
	plausible := func(ctx context.Context, attempt *dialog.Attempt[float64]) (bool, error) {
		if attempt.OK && attempt.Value > 0 && attempt.Value < 150 {
			return true, nil
		}
		attempt.Value = -1
		return attempt.Number == 3, nil
	}

	conversation := state.NewConversation(state.NewMemory())
	dialogs := dialog.NewSet(conversation,
		dialog.NewWaterfall("main",
			func(ctx context.Context, step *dialog.Step) error {
				return step.Prompt(ctx, "age", dialog.PromptOptions{
					Prompt:      dialog.Text("How old are you?"),
					RetryPrompt: dialog.Text("A number between 0 and 150, please."),
				})
			},
			dialog.Then(func(ctx context.Context, step *dialog.Step, age float64) error {
				if age > 0 {
					step.Say(ctx, fmt.Sprintf("So you are %v.", age))
				} else {
					step.Say(ctx, "No age, then.")
				}
				return step.End(ctx, age)
			}),
		),
		dialog.NewNumberPrompt("age", plausible),
	)

	converse(conversation, dialogs, "hi", "old", "200", "none of your business")
	// Output:
	// > hi
	// < How old are you?
	// > old
	// < A number between 0 and 150, please.
	// > 200
	// < A number between 0 and 150, please.
	// > none of your business
	// < No age, then.
}

// A prompt for a date: a recognizer may return any type.
func ExampleNewPrompt() {
	date := func(message *schema.Activity, _ []dialog.Choice) (time.Time, bool) {
		t, err := time.Parse(time.DateOnly, message.Text)
		return t, err == nil
	}

	conversation := state.NewConversation(state.NewMemory())
	dialogs := dialog.NewSet(conversation,
		dialog.NewWaterfall("main",
			func(ctx context.Context, step *dialog.Step) error {
				return step.Prompt(ctx, "date", dialog.PromptOptions{
					Prompt:      dialog.Text("When do you travel?"),
					RetryPrompt: dialog.Text("A date such as 2026-12-24, please."),
				})
			},
			dialog.Then(func(ctx context.Context, step *dialog.Step, day time.Time) error {
				step.Say(ctx, "That is a "+day.Weekday().String()+".")
				return step.End(ctx, day)
			}),
		),
		dialog.NewPrompt("date", date, nil),
	)

	converse(conversation, dialogs, "hi", "tomorrow", "2026-12-24")
	// Output:
	// > hi
	// < When do you travel?
	// > tomorrow
	// < A date such as 2026-12-24, please.
	// > 2026-12-24
	// < That is a Thursday.
}
