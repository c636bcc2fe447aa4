package state_test

import (
	"context"
	"fmt"

	"github.com/botlapse/botlapse/state"
)

func Example() {
	conversation := state.NewConversation(state.NewMemory())
	step := state.NewProperty[int](conversation, "step")

	for range 3 { // three turns
		ctx := state.NewContext(context.Background(), state.IDs{Channel: "webchat", Conversation: "c1", User: "u1"})
		n, err := step.GetOr(ctx, 1)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("step", n)
		if err := step.Set(ctx, n+1); err != nil {
			fmt.Println(err)
			return
		}
		if err := conversation.Save(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// step 1
	// step 2
	// step 3
}

// Two turns, in two processes perhaps, read the same document and then both
// change it.
func ExampleScope_Save() {
	storage := state.NewMemory()
	ids := state.IDs{Channel: "webchat", Conversation: "c1", User: "u1"}
	conversation := state.NewConversation(storage)
	name := state.NewProperty[string](conversation, "name")
	visits := state.NewProperty[int](conversation, "visits")
	visits.Merge = func(mine, theirs int) (int, error) { return max(mine, theirs), nil }

	one, two := state.NewContext(context.Background(), ids), state.NewContext(context.Background(), ids)
	visits.Set(one, 1)
	visits.Set(two, 2)
	name.Set(two, "Ada")
	fmt.Println(conversation.Save(one), conversation.Save(two))

	ctx := state.NewContext(context.Background(), ids)
	n, _, _ := visits.Get(ctx)
	s, _, _ := name.Get(ctx)
	fmt.Println(n, s)
	// Output:
	// <nil> <nil>
	// 2 Ada
}
