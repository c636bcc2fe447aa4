/*
Package bot runs the turns of a Bot Framework bot: it reads activities, passes
each through the functions that surround the bot's handler, and sends what the
handler says.

	adapter := bot.NewAdapter(base) // base: any core.Adapter
	http.Handle("/api/messages", adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	}))

A bot that is written for msbotbuilder-go takes the adapter for its
core.Adapter and stays as it is. Its handler can also be passed to
[HandleActivity].

# Order

The first middleware listed is outermost. Around all of it the adapter sees to
it that a panic fails its turn only, that the turns of one conversation run one
after the other, and that an activity which comes twice is handled once.

What has been sent has been sent: when a handler fails after it has sent
something, a channel that delivers the activity again gets the replies again.

# Outages

A message is acknowledged when its turn has ended, or after [Adapter.AckAfter]
if nothing but the handler is at work, so that an outage of the storage or of
the channel loses none. A turn that waits for the storage for too long, and has
sent and stored nothing, is given up: see [ErrGivenUp]. A middleware that does
something at the end of a turn takes the context of [Turn.Outlast] for it.
*/
package bot
