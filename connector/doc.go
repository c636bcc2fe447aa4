/*
Package connector speaks the Bot Connector protocol, by which channels bring
activities to a bot and take its replies. It is a core.Adapter for those who
have no credentials: Microsoft's playground and tests.

	base := connector.New(nil)
	defer base.Close()
	bot := middleware.NewAdapter(base)
	http.Handle("/api/messages", bot.HTTPHandler(func(ctx context.Context, turn *middleware.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	}))
	log.Print(http.ListenAndServe("127.0.0.1:3978", nil))

Without credentials nobody can tell who calls. So the adapter answers requests
from this machine only, and sends to this machine only, unless it is told
otherwise. What a web page in a browser on this machine asks for is refused too.
*/
package connector
