package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/botlapse/botlapse/webhook"
)

// A bot tells a receiver that a conversation has ended. The receiver looks who
// it is that says so.
func Example() {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, "the body could not be read", http.StatusBadRequest)
			return
		}
		if err := webhook.Verify([]string{secret}, r.Header, body, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var event webhook.Event
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, "the body is no event", http.StatusBadRequest)
			return
		}
		fmt.Printf("%s %s: %s\n", event.ID, event.Type, event.Data)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()

	endpoint, err := webhook.New(receiver.URL, secret, &webhook.Options{AllowInsecure: true}) // it is on this machine
	if err != nil {
		log.Fatal(err)
	}
	defer endpoint.Close()
	err = endpoint.Send(context.Background(), webhook.Event{
		ID:   "5f0c7d1e",
		Type: "conversation.ended",
		Time: time.Now(),
		Data: json.RawMessage(`{"rule":"idle"}`),
	})
	fmt.Println(err)
	// Output:
	// 5f0c7d1e conversation.ended: {"rule":"idle"}
	// <nil>
}

// Who sends events again asks what came of an attempt.
func ExampleEndpoint_Send() {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer receiver.Close()
	endpoint, err := webhook.New(receiver.URL, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &webhook.Options{AllowInsecure: true})
	if err != nil {
		log.Fatal(err)
	}
	defer endpoint.Close()

	err = endpoint.Send(context.Background(), webhook.Event{ID: "5f0c7d1e", Type: "conversation.ended"})
	var refused *webhook.SendError
	switch {
	case err == nil:
		fmt.Println("the receiver has it")
	case errors.Is(err, webhook.ErrEvent), errors.Is(err, webhook.ErrGone):
		fmt.Println("never again:", err)
	case errors.As(err, &refused):
		fmt.Println("again, but not before", refused.RetryAfter)
	default:
		fmt.Println("again, as the context was done:", err)
	}
	// Output: again, but not before 2m0s
}
