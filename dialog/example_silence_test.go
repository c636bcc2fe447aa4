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
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
)

// A caller who says nothing is asked again, and is then put through to a person.
// Who calls Ask and Goto, and when, is a matter of a policy; the example plays its
// part.
func ExampleSet_Ask() {
	conversation := state.NewConversation(state.NewMemory())
	dialogs := dialog.NewSet(conversation,
		dialog.NewWaterfall("order",
			func(ctx context.Context, step *dialog.Step) error {
				return step.Prompt(ctx, "number", dialog.PromptOptions{
					Prompt:    dialog.Text("What is your order number?"),
					OnSilence: []*schema.Activity{dialog.Text("Please say or type your order number.")},
					Patience:  []time.Duration{5 * time.Second, 8 * time.Second},
				})
			},
		),
		dialog.NewWaterfall("timeout",
			func(ctx context.Context, step *dialog.Step) error {
				var told dialog.Timeout
				if err := step.Options(&told); err != nil {
					return err
				}
				step.Say(ctx, fmt.Sprintf("Nobody answered %v for %v. A person will help you.", told.Path, told.Idle))
				return step.End(ctx, nil)
			},
		),
		dialog.NewNumberPrompt("number", nil),
	)

	channel := &bottest.Channel{}
	adapter := bot.NewAdapter(channel, middleware.AutoSave(conversation))
	call := schema.ConversationReference{ChannelID: "test", Conversation: schema.ConversationAccount{ID: "1"}}
	for _, handler := range []bot.Handler{
		func(ctx context.Context, turn *bot.Turn) error {
			_, err := dialogs.Begin(ctx, turn, "order", nil)
			return err
		},
		func(ctx context.Context, turn *bot.Turn) error {
			return dialogs.Ask(ctx, turn, 1) // after the first silence
		},
		func(ctx context.Context, turn *bot.Turn) error {
			place, err := dialogs.Place(ctx)
			if err != nil {
				return err
			}
			asked := time.Now()
			_, err = dialogs.Goto(ctx, turn, policy.Open{
				Action: policy.Action{Goto: policy.Target},
				Place:  place, Input: asked, At: asked.Add(place.Patience[0] + place.Patience[1]),
			}, nil)
			return err
		},
	} {
		if err := adapter.Continue(context.Background(), call, handler); err != nil {
			fmt.Println(err)
		}
		for _, a := range channel.Sent() {
			fmt.Println(a.Text)
		}
	}
	// Output:
	// What is your order number?
	// Please say or type your order number.
	// Nobody answered [order number] for 13s. A person will help you.
}
