/*
Package bot runs the turns of a Bot Framework bot: it reads activities, passes
each through the functions that surround the bot's handler, and sends what the
handler says.

	adapter := bot.NewAdapter(base) // base: any core.Adapter, such as that of package connector
	http.Handle("/api/messages", adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	}))

A bot that is written for msbotbuilder-go takes the adapter for its
core.Adapter and stays as it is. Its handler can also be passed to
[HandleActivity].

# A turn

[Adapter.HTTPHandler] makes a [Turn] of a request, and its comment says how each
request is answered. [Adapter.Process] runs a turn without HTTP, and
[Adapter.Continue] one that no activity has caused, in a conversation whose
reference was kept. A turn passes through the middleware in the order in which
[NewAdapter] was given it, the first one outermost, and ends in the handler.

Around all middleware the adapter sees to it that a panic fails its turn only,
that the turns of one conversation run one after the other, and that an activity
which comes twice is handled once.

What has been sent has been sent: when a handler fails after it has sent
something, a channel that delivers the activity again gets the replies again.

# Outages

A message is acknowledged when its turn has ended, or after [Adapter.AckAfter]
if nothing but the handler is at work, so that an outage of the storage or of
the channel loses none. A turn that waits for the storage for too long, and has
sent and stored nothing, is given up: see [ErrGivenUp]. A middleware that does
something at the end of a turn takes the context of [Turn.Outlast] for it.

# The base

The base adapter checks who calls and speaks to channels. All that it must be is
a core.Adapter of msbotbuilder-go. What it may do besides, this package names:
[Sender], [RawSender], [Authenticator], [StatusError] and [SendError].

# Closing

[Adapter.Close] waits for turns that are running, also for those whose request
was answered before their end. Close the HTTP server first, and what turns use,
such as storages, after it.
*/
package bot
