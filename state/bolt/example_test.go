package bolt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/botlapse/botlapse/state"
	"github.com/botlapse/botlapse/state/bolt"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "bot")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ids := state.IDs{Channel: "webchat", Conversation: "c1", User: "u1"}

	for range 3 { // the bot is started three times
		storage, err := bolt.Open(filepath.Join(dir, "state.db"))
		if err != nil {
			fmt.Println(err)
			return
		}
		conversation := state.NewConversation(storage)
		turns := state.NewProperty[int](conversation, "turns")

		ctx := state.NewContext(context.Background(), ids)
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
		if err := storage.Close(); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// turn 1
	// turn 2
	// turn 3
}
