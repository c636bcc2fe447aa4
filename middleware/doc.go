/*
Package middleware holds functions around the turns of a bot: they keep its
state, and expire conversations whose users were silent.

	storage := state.NewMemory()
	conversation, user := state.NewConversation(storage), state.NewUser(storage)

	adapter := bot.NewAdapter(base, // any core.Adapter
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, 30*time.Minute, nil),
	)

# Order

[AutoSave] comes before [Expire], because it saves what Expire records, and
before whatever else uses state.

# What is stored when

A turn that fails stores nothing, with two exceptions: that a conversation has
expired, and that there was user input shortly before it would have expired,
are stored before the handler runs.
*/
package middleware
