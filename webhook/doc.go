/*
Package webhook tells other systems of events, by signed requests.

	endpoint, err := webhook.New("https://example.com/events", secret, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer endpoint.Close()
	err = endpoint.Send(ctx, webhook.Event{
		ID:   "5f0c7d1e",
		Type: "conversation.ended",
		Time: time.Now(),
		Data: json.RawMessage(`{"rule":"idle"}`),
	})

The body of a request is a CloudEvent 1.0 in JSON. Its headers webhook-id,
webhook-timestamp and webhook-signature are those of Standard Webhooks 1.0.0, so
that any library for that standard can verify it. [Verify] is for receivers in
Go.

[Endpoint.Send] makes one attempt, and says what came of it. Whether and when an
event is sent again is up to the caller. An event keeps its id, because an answer
that was lost makes the receiver get it twice, and the id is how it can tell.
*/
package webhook
