package cosmos_test

import (
	"context"
	"fmt"

	"github.com/botlapse/botlapse/cosmos"
	"github.com/botlapse/botlapse/cosmos/cosmostest"
	"github.com/botlapse/botlapse/state"
)

// A bot makes its containers, and remembers what it was told. The database is an
// imitation in this process; without the Transport it is the one at the endpoint.
func Example() {
	server := cosmostest.New()
	account, err := cosmos.NewAccount(server.Endpoint(), &cosmos.AccountOptions{Key: server.Key, Transport: server})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer account.Close()

	ctx := context.Background()
	containers := &cosmos.Initializer{
		Account:        account,
		Database:       "bot",
		Conversation:   "conversations",
		User:           "users",
		TimeToLive:     -1,
		CreateDatabase: true,
		Report:         func(step string) { fmt.Println(step) },
	}
	if err := containers.Run(ctx); err != nil {
		fmt.Println(err)
		return
	}

	for range 2 { // two processes, one after the other
		conversation := state.NewConversation(cosmos.New(account, "bot", "conversations", nil))
		turns := state.NewProperty[int](conversation, "turns")
		ctx := state.NewContext(ctx, state.IDs{Channel: "webchat", Conversation: "c1", User: "u1"})
		n, err := turns.GetOr(ctx, 0)
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := turns.Set(ctx, n+1); err != nil {
			fmt.Println(err)
			return
		}
		if err := conversation.Save(ctx); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("turn", n+1)
	}
	// Output:
	// create database "bot"
	// create container "conversations", partition key /id, a time to live by item only
	// create container "users", partition key /id, no time to live
	// turn 1
	// turn 2
}
