package bot_test

import (
	"context"
	"fmt"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
)

// A printer is a core.Adapter that prints what the bot sends. A bot on a
// channel has that of package connector, or of msbotbuilder-go.
type printer struct{ core.Adapter }

func (printer) SendActivity(ctx context.Context, a schema.Activity) (id string, err error) {
	fmt.Println("bot:", a.Text)
	return "", nil
}

// A handler that was written for msbotbuilder-go runs in the middleware as it is.
func ExampleHandleActivity() {
	adapter := bot.NewAdapter(printer{})
	echo := bot.HandleActivity(activity.HandlerFuncs{
		OnMessageFunc: func(turn *activity.TurnContext) (schema.Activity, error) {
			return turn.SendActivity(activity.MsgOptionText("Echo: " + turn.Activity.Text))
		},
	})
	if err := adapter.Process(context.Background(), schema.Activity{Type: schema.Message, Text: "hi"}, echo); err != nil {
		fmt.Println(err)
	}
	// Output:
	// bot: Echo: hi
}

// Hours later, the bot writes by itself.
func ExampleAdapter_Continue() {
	adapter := bot.NewAdapter(printer{})
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
	// Output:
	// bot: You asked for a call.
}
