package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/connector"
)

// Without credentials, a bot serves its own machine: Microsoft's playground, or, as
// here, a program that wants the replies in the response.
func Example() {
	base, err := connector.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer base.Close()
	adapter := bot.NewAdapter(base)
	server := httptest.NewServer(adapter.HTTPHandler(func(ctx context.Context, turn *bot.Turn) error {
		_, err := turn.SendText(ctx, "You said: "+turn.Activity.Text)
		return err
	}))
	defer server.Close()

	resp, err := http.Post(server.URL, "application/json", strings.NewReader(
		`{"type":"message","text":"hi","channelId":"test","from":{"id":"ada"},"conversation":{"id":"1"},"deliveryMode":"expectReplies"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	var answer struct{ Activities []struct{ Text string } }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		fmt.Println(err)
		return
	}
	for _, reply := range answer.Activities {
		fmt.Println(reply.Text)
	}
	// Output: You said: hi
}

// All that is wrong with the options is reported at once.
func ExampleNew() {
	_, err := connector.New(&connector.Options{
		App:          &connector.App{ID: "00000000-0000-0000-0000-000000000001", Type: connector.SingleTenant, Password: "secret"},
		AllowedHosts: []string{"https://smba.trafficmanager.net/"},
	})
	fmt.Println(err)
	// Output:
	// connector: app: TenantID is missing: a bot of type SingleTenant needs it
	// connector: AllowedHosts has "https://smba.trafficmanager.net/": must be the name of a host, or *. and a name
}
