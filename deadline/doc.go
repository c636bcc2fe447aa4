/*
Package deadline expires silent conversations when their time comes, without
anybody writing: state is cleared, and the user is told if that is wanted.

	deadlines := deadline.New(deadline.NewMemory(), conversation)
	bot := middleware.NewAdapter(base,
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, 30*time.Minute, &middleware.ExpireOptions{Arm: deadlines.Arm}),
	)
	runner := deadline.NewRunner(deadlines, bot, &deadline.Options{
		Message: deadline.Text("You have been away for a while. Goodbye!"),
	})
	defer runner.Close(ctx)

# Deadlines are hints

Each conversation has one deadline: an instant at which it is looked at again.
Looking is a proactive turn through the bot's middleware, in which
middleware.Expire judges the conversation by its state, as ever. If the user was
active, the deadline is moved. So a message of the user's does not touch the
[Store] as long as the deadline is not later than it must be: twenty messages
within the timeout cost one write, or none.

A deadline is armed before the turn's state is saved. A crash in between leaves
one that is not needed, never a conversation without one.

# Told once

The cleared state is stored, under the version that was judged, before the user
is told. Whoever looks afterwards, after a crash or in another process, finds a
conversation that has not expired. So the user is told at most once; if the
process ends between the two, not at all. A message of the user's that is stored
first wins.
*/
package deadline
