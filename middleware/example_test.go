package middleware_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/policy"
	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
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

// In a group each member has a silence of their own, beside that of the group. Each
// Sessions has a queue of its own name.
func Example_members() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file, err := bolt.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		panic(err)
	}
	defer file.Close()
	group, member := state.NewConversation(file), state.NewPrivateConversation(file)
	order := state.NewProperty[string](member, "order")

	groups := middleware.NewSessions(group, policy.Idle(24*time.Hour), &middleware.SessionsOptions{Deadlines: file.Deadlines("group")})
	members := middleware.NewSessions(member, policy.Idle(30*time.Minute), &middleware.SessionsOptions{Deadlines: file.Deadlines("member")})
	channel := &bottest.Channel{}
	adapter := bot.NewAdapter(channel, middleware.AutoSave(group, member), groups.Middleware, members.Middleware)
	groups.Start(adapter)
	defer groups.Close(context.Background())
	members.Start(adapter)
	defer members.Close(context.Background())

	// Ada has been silent for two hours, Bob for a minute.
	for user, silence := range map[string]time.Duration{"Ada": 2 * time.Hour, "Bob": time.Minute} {
		left, _ := json.Marshal(map[string]any{"order": "a pizza", "lastAccessed": time.Now().Add(-silence)})
		file.Write(context.Background(), map[string]state.Item{"msteams/conversations/lunch/users/" + user: {Value: left}})
	}
	for _, user := range []string{"Ada", "Bob"} {
		err := adapter.Process(context.Background(), schema.Activity{
			Type:         schema.Message,
			Text:         "hi",
			ChannelID:    "msteams",
			Conversation: schema.ConversationAccount{ID: "lunch", IsGroup: true},
			From:         schema.ChannelAccount{ID: user},
		}, func(ctx context.Context, turn *bot.Turn) error {
			ordered, err := order.GetOr(ctx, "nothing")
			if err != nil {
				return err
			}
			_, err = turn.SendText(ctx, "You have ordered "+ordered+".")
			return err
		})
		if err != nil {
			fmt.Println(err)
		}
		for _, a := range channel.Sent() {
			fmt.Printf("to %s: %s\n", a.Recipient.ID, a.Text)
		}
	}
	// Output:
	// to Ada: Welcome back!  Let's start over from the beginning.
	// to Ada: You have ordered nothing.
	// to Bob: You have ordered a pizza.
}
