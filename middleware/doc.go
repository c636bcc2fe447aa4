/*
Package middleware runs the turns of a Bot Framework bot through functions that
surround its handler, and expires conversations whose users were silent.

	storage := state.NewMemory()
	conversation, user := state.NewConversation(storage), state.NewUser(storage)

	bot := middleware.NewAdapter(base, // any core.Adapter
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, 30*time.Minute, nil),
	)
	http.Handle("/api/messages", bot.HTTPHandler(func(ctx context.Context, turn *middleware.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	}))

A bot that is written for msbotbuilder-go takes the adapter for its
core.Adapter and stays as it is; its handler can also be passed to
[HandleActivity].

# Order

The first middleware listed is outermost. [AutoSave] comes before [Expire], so
that it saves what Expire records, and before whatever else uses state. Around
them all the adapter puts [Recover] and [Serialize]: a panic fails its turn
only, and the turns of one conversation run one after the other.

# What is stored when

A turn that fails stores nothing, with one exception: that a conversation has
expired is stored before the handler runs. What has been sent has been sent; a
handler that fails after sending makes a channel that delivers the activity
again get the replies again.
*/
package middleware
