package bot_test

import (
	"context"
	"fmt"

	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
)

// A handler that was written for msbotbuilder-go runs in the middleware as it is.
func ExampleHandleActivity() {
	channel := &bottest.Channel{} // a bot on the internet has package connector's adapter
	adapter := bot.NewAdapter(channel)
	echo := bot.HandleActivity(activity.HandlerFuncs{
		OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
			return turn.SendActivity(activity.MsgOptionText("Echo: " + turn.Activity.Text))
		},
	})
	if err := adapter.Process(context.Background(), schema.Activity{Type: schema.Message, Text: "hi"}, echo); err != nil {
		fmt.Println(err)
	}
	for _, a := range channel.Sent() {
		fmt.Println("bot:", a.Text)
	}
	// Output:
	// bot: Echo: hi
}

// Hours later, the bot writes by itself.
func ExampleAdapter_Continue() {
	channel := &bottest.Channel{}
	adapter := bot.NewAdapter(channel)
	var ref schema.ConversationReference
	adapter.Process(context.Background(), schema.Activity{Type: schema.Message, Text: "Call me."}, func(ctx context.Context, turn *bot.Turn) error {
		ref = turn.Reference()
		return nil
	})

	err := adapter.Continue(context.Background(), ref, func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "You asked for a call.")
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	for _, a := range channel.Sent() {
		fmt.Println("bot:", a.Text)
	}
	// Output:
	// bot: You asked for a call.
}
