package bottest_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/bottest"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

const (
	timeout = 30 * time.Minute
	notice  = "Welcome back!  Let's start over from the beginning."
)

// newBot is the bot of the package comment: it takes orders.
func newBot(base core.Adapter) (http.Handler, func(context.Context) error) {
	return newBotOver(base, state.NewMemory())
}

func newBotOver(base core.Adapter, storage state.Storage) (http.Handler, func(context.Context) error) {
	conversation := state.NewConversation(storage)
	what := state.NewProperty[string](conversation, "what")
	adapter := bot.NewAdapter(base,
		middleware.AutoSave(conversation),
		middleware.Expire(conversation, timeout, nil),
	)
	return adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		if turn.Activity.Type != schema.Message {
			return nil
		}
		wanted, asked, err := what.Get(ctx)
		if err != nil {
			return err
		}
		reply := "What would you like?"
		switch {
		case !asked:
			err = what.Set(ctx, "")
		case wanted == "":
			reply = "How many?"
			err = what.Set(ctx, turn.Activity.Text)
		default:
			reply = turn.Activity.Text + " " + wanted + ", coming up."
			err = what.Delete(ctx)
		}
		if err != nil {
			return err
		}
		_, err = turn.SendText(ctx, reply)
		return err
	}), adapter.Close
}

func TestTheBotStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bottest.New(t, newBot)
		c.Says("hi").Expects("What would you like?")
		c.Silence(timeout - time.Second)
		c.Says("tea").Expects("How many?")
		c.Silence(timeout)
		c.Says("12").Expects(notice, "What would you like?")
	})
}

// A channel can be had without a test, and without a bubble.
func ExampleChannel() {
	channel := &bottest.Channel{}
	adapter := bot.NewAdapter(channel)
	err := adapter.Process(context.Background(), schema.Activity{Type: schema.Message, Text: "hi"}, func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	})
	for _, a := range channel.Sent() {
		fmt.Println(a.Text, err)
	}
	// Output:
	// You said: hi <nil>
}

// The bot is removed from a conversation.
func ExampleChannel_Refuses() {
	channel := &bottest.Channel{}
	adapter := bot.NewAdapter(channel)
	channel.Refuses(http.StatusForbidden)
	err := adapter.Process(context.Background(), schema.Activity{Type: schema.Message, Text: "hi"}, func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	})
	fmt.Println(err)
	// Output:
	// bot: send message: connector: POST to channel: status 403
}
