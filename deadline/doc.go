/*
Package deadline expires silent conversations when their time comes, without
anybody writing: state is cleared, and the user is told if that is wanted.

	deadlines := deadline.New(deadline.NewMemory(), conversation)
	bot := bot.NewAdapter(base,
		middleware.AutoSave(conversation, user),
		middleware.Expire(conversation, 30*time.Minute, &middleware.ExpireOptions{Arm: deadlines.Arm}),
	)
	runner := deadline.NewRunner(deadlines, adapter, &deadline.Options{
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

The cleared state is stored, under the version that was judged and with a note
that the user is still to be told; then the user is told; then the note is
removed. A message of the user's that is stored first wins: the conversation has
not expired then. Of several processes one stores the cleared state, and that one
tells the user.

If it ends between two of these steps, the one that takes over finds the note,
and cannot know whether the message was sent. By default it leaves it at that:
the user is told once at most, and a process that is killed leaves untold those
it was about to tell, at most [Options].Concurrency of them. With
[Options].Redeliver it sends the message again: they are told once at least.

A channel that is gone, or that the bot was removed from, is not sent to again
until the user writes; the state is cleared all the same.

# Many at once

Conversations are taken up in the order in which they are due, as many at once as
Concurrency says, so that their users may be told in another one; and no more of
one channel in a second than MessagesPerSecond says. After a time in which nothing
ran, those that come due now go first.

# Metrics

OpenTelemetry's meter provider of the process gets botlapse.deadline.lateness, a
histogram in seconds by outcome, botlapse.deadline.store.duration, one by
operation and outcome, and the counters botlapse.deadline.armed, moved, parked,
claims_lost and unconfirmed.
*/
package deadline
