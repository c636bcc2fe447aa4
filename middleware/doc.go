/*
Package middleware holds functions around the turns of a bot: they keep its
state, and end the sessions of users who have fallen silent.

	storage := state.NewMemory()
	conversation, user := state.NewConversation(storage), state.NewUser(storage)

	adapter := bot.NewAdapter(base, // any core.Adapter
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, 30*time.Minute, nil),
	)

After half an hour of silence the next message finds cleared conversation state,
and the user is welcomed back.

# Sessions

[Expire] is a [Sessions] with one rule, which is looked at when somebody writes.
A Sessions with a policy of your own and a store of deadlines also acts when
nobody does:

	rules, err := policy.New(policy.Rule{
		Name: "idle", After: 30 * time.Minute,
		Do: policy.Action{End: true, Say: "Goodbye.", OnReturn: "Welcome back!"},
	})
	sessions := middleware.NewSessions(conversation, rules, &middleware.SessionsOptions{
		Deadlines: deadline.NewMemory(), // or that of a file, or of Cosmos DB
	})
	adapter := bot.NewAdapter(base, middleware.AutoSave(conversation, user), sessions.Middleware)
	sessions.Start(adapter)
	defer sessions.Close(ctx)

Whether something is due, [policy.Policy.Due] alone decides. Sessions stores the
verdict together with what is to be told, and then tells it.

# Order

[AutoSave] comes before [Expire] and [Sessions.Middleware], because it saves
what these record, and before whatever else uses state.

# What is stored when

A turn that fails stores nothing, with two exceptions: that a conversation has
expired, and that there was user input shortly before it would have expired,
are stored before the handler runs.

# What is lost when

A process may end at any step. What ends a session is stored, at once, with what
the user is still to be told. If the process ends before they were told, or
while they were, they are told by the next look, or on return with
[SessionsOptions].AtMostOnce.
*/
package middleware
