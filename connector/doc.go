/*
Package connector speaks the Bot Connector protocol, by which channels bring
activities to a bot and take its replies. It is a core.Adapter for those who
have no credentials: Microsoft's playground and tests.

	base := connector.New(nil)
	defer base.Close()
	bot := middleware.NewAdapter(base)
	http.Handle("/api/messages", bot.HTTPHandler(handler))

Without credentials nobody can tell who calls. So the adapter answers requests
from this machine only, and sends to this machine only, unless it is told
otherwise.
*/
package connector
