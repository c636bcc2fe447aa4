// Command after is the bot of ../before with the three lines that make its
// conversations expire, and a fourth, because this bot keeps what users want in a
// variable of its own, which only the bot can forget.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/infracloudio/msbotbuilder-go/core"
	"github.com/infracloudio/msbotbuilder-go/core/activity"
	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/middleware"
	"github.com/botlapse/botlapse/state"
)

// orders holds what each conversation wants, by its id: "" until it has said so.
type orders struct{ what sync.Map }

func (o *orders) onMessage(turn *activity.TurnContext) (schema.Activity, error) {
	conversation := turn.Activity.Conversation
	what, ok := o.what.Load(conversation.ID)
	switch {
	case !ok:
		o.what.Store(conversation.ID, "")
		return turn.SendActivity(activity.MsgOptionText("What would you like?"))
	case what == "":
		o.what.Store(conversation.ID, turn.Activity.Text)
		return turn.SendActivity(activity.MsgOptionText("How many?"))
	default:
		o.forget(conversation)
		return turn.SendActivity(activity.MsgOptionText(fmt.Sprintf("%s %s, coming up.", turn.Activity.Text, what)))
	}
}

func (o *orders) forget(conversation schema.ConversationAccount) { o.what.Delete(conversation.ID) }

// newBot returns the messaging endpoint.
func newBot(setting core.AdapterSetting) (http.Handler, error) {
	adapter, err := core.NewBotAdapter(setting)
	if err != nil {
		return nil, err
	}
	o := &orders{}
	conversation := state.NewConversation(state.NewMemory())
	forget := func(_ context.Context, t *bot.Turn, _ middleware.Expiry) { o.forget(t.Activity.Conversation) }
	expire := middleware.Expire(conversation, 30*time.Minute, &middleware.SessionsOptions{OnEnd: forget})
	adapter = bot.NewAdapter(adapter, middleware.AutoSave(conversation), expire)
	handler := activity.HandlerFuncs{OnMessageFunc: o.onMessage}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := context.Background()
		activity, err := adapter.ParseRequest(ctx, req)
		if err == nil {
			err = adapter.ProcessActivity(ctx, activity, handler)
		}
		if err != nil {
			log.Print(err)
			http.Error(w, "the activity was not handled", http.StatusBadRequest)
		}
	}), nil
}

func main() {
	adapter, err := newBot(core.AdapterSetting{AppID: os.Getenv("APP_ID"), AppPassword: os.Getenv("APP_PASSWORD")})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/api/messages", adapter)
	log.Print("listening on http://127.0.0.1:3978/api/messages")
	log.Fatal(http.ListenAndServe("127.0.0.1:3978", nil))
}
