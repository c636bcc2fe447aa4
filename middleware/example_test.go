package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// A user who was away for two hours is not held to the old question.
func Example_expireAfterSilence() {
	storage := state.NewMemory()
	conversation := state.NewConversation(storage)
	asked := state.NewProperty[string](conversation, "asked")

	channel := &bottest.Channel{} // a bot on the internet has package connector's adapter
	adapter := bot.NewAdapter(channel,
		middleware.AutoSave(conversation),
		middleware.Expire(conversation, 30*time.Minute, nil),
	)
	handler := func(ctx context.Context, turn *bot.Turn) error {
		question, ok, err := asked.Get(ctx)
		if err != nil {
			return err
		}
		if ok {
			_, err := turn.SendText(ctx, question+" "+turn.Activity.Text+", then.")
			return err
		}
		if err := asked.Set(ctx, "Your birthday?"); err != nil {
			return err
		}
		_, err = turn.SendText(ctx, "Your birthday?")
		return err
	}

	// The conversation as it was left two hours ago.
	left, _ := json.Marshal(map[string]any{"asked": "Your birthday?", "lastAccessed": time.Now().Add(-2 * time.Hour)})
	storage.Write(context.Background(), map[string]state.Item{"webchat/conversations/c1": {Value: left}})

	for _, text := range []string{"hi", "12 March"} {
		err := adapter.Process(context.Background(), schema.Activity{
			Type:         schema.Message,
			Text:         text,
			ChannelID:    "webchat",
			Conversation: schema.ConversationAccount{ID: "c1"},
			From:         schema.ChannelAccount{ID: "u1"},
		}, handler)
		if err != nil {
			fmt.Println(err)
		}
		for _, a := range channel.Sent() {
			fmt.Println("bot:", a.Text)
		}
	}
	// Output:
	// bot: Welcome back!  Let's start over from the beginning.
	// bot: Your birthday?
	// bot: Your birthday? 12 March, then.
}
