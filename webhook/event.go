package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrEvent reports an event that cannot be sent, now or later, because of what
// it is.
var ErrEvent = errors.New("webhook: event cannot be sent")

// An Event is something that has happened. A receiver can unmarshal the body of
// a request into one.
type Event struct {
	// ID tells the event from all others, and is the same each time that the
	// event is sent. It has visible ASCII characters, but no full stop, because
	// that ends the id in what is signed.
	ID string `json:"id"`

	// Type says what has happened, such as "conversation.ended".
	Type string `json:"type"`

	// Time is when it happened. The zero time is left out.
	Time time.Time `json:"time,omitzero"`

	// Subject is what it happened to. It is left out if it is empty.
	Subject string `json:"subject,omitempty"`

	// Data is what else there is to say: JSON in UTF-8, or nothing.
	Data json.RawMessage `json:"data,omitempty"`
}

// A cloudEvent is an event in the structured mode of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion     string `json:"specversion"`
	Source          string `json:"source"`
	DataContentType string `json:"datacontenttype,omitempty"`
	Event
}

// encode returns the body of the request with an event. Its error is [ErrEvent].
func encode(source string, e Event) ([]byte, error) {
	e.Time = e.Time.UTC()
	out := cloudEvent{SpecVersion: "1.0", Source: source, Event: e}
	if len(e.Data) > 0 {
		out.DataContentType = "application/json"
	}
	body, err := json.Marshal(out)
	switch {
	case !isID(e.ID):
		return nil, fmt.Errorf("%w: its ID must be visible ASCII characters without a full stop", ErrEvent)
	case e.Type == "":
		return nil, fmt.Errorf("%w: its Type is missing", ErrEvent)
	case err != nil || !utf8.Valid(body): // the text of err may have some of the data
		return nil, fmt.Errorf("%w: its Data must be JSON in UTF-8, and its Time of the years 0 to 9999", ErrEvent)
	}
	return body, nil
}

// isID reports whether s can be the id of an event.
func isID(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '.' || c > '~' })
}
