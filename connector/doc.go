/*
Package connector speaks the Bot Connector protocol, by which channels bring
activities to a bot and take its replies. It is a core.Adapter that checks who
calls, and proves who the bot is.

	base, err := connector.New(&connector.Options{App: &connector.App{
		ID:       appID,
		Password: appPassword,
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer base.Close()
	adapter := bot.NewAdapter(base)
	http.Handle("/api/messages", adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	}))
	log.Print(http.ListenAndServe(":3978", nil)) // behind a proxy that speaks https

With an [App], a request must carry a token of the Bot Framework that is for
this bot and for the serviceUrl and channel of its activity; see
[Adapter.ParseRequest]. Replies carry a token of Entra ID, which whoever runs
their serviceUrl gets to see. So they go only to https addresses on the public
internet, and redirects are not followed. The token of a request proves that the
serviceUrl of its activity is the channel's. Nothing proves that of a
conversation reference that was stored: who keeps it must see to it that nobody
changes it.

Without an App nobody can tell who calls: that is for Microsoft's playground and
for tests. The adapter then answers requests from this machine only, and sends
to this machine only, unless it is told otherwise. It refuses what a web page in
a browser on this machine asks for, and what a proxy passes on, if the proxy
says so in a header.

# When sending fails

[Adapter.SendActivity] says which requests are repeated. Its errors tell what
has become of the activity: a [*SendError] comes from the channel, which has
refused it, and its Permanent says whether it is of use to try again. Package
middleware goes by that.
*/
package connector
