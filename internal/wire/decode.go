package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/infracloudio/msbotbuilder-go/schema"
)

// Decode reads the JSON of an activity. It takes what channels send: values of
// any JSON type, null for anything, times in any common form of ISO 8601 (UTC
// if they name no zone; the zero time if they cannot be read), missing and
// unknown fields. Numbers in values become float64, as in encoding/json:
// integers beyond 2⁵³ lose digits. Its error is one line without anything of
// what the activity says.
func Decode(data []byte) (schema.Activity, error) {
	if err := checkShape(data); err != nil {
		return schema.Activity{}, err
	}
	s := scratches.Get().(*scratch)
	defer s.free()
	in := &s.outer
	err := json.Unmarshal(data, &in)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch) && mismatch.Field == "":
		return schema.Activity{}, fmt.Errorf("the activity is no JSON object but %s", article(mismatch.Value))
	case errors.As(err, &mismatch):
		return schema.Activity{}, fmt.Errorf("the activity's %s cannot be %s", embedding.Replace(mismatch.Field), article(mismatch.Value))
	case err != nil:
		return schema.Activity{}, errors.New("the activity is not JSON")
	case in == nil:
		return schema.Activity{}, errors.New("the activity is no JSON object but null")
	}
	return incoming(in), nil
}

const (
	maxDepth    = 100   // levels of objects and arrays
	maxElements = 10000 // members and elements, in all objects and arrays
)

// checkShape refuses what takes far more memory when it is decoded than its
// sender has spent on it. It takes data for JSON.
func checkShape(data []byte) error {
	depth, elements := 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("the activity is nested more than %d levels deep", maxDepth)
			}
			elements++
		case '}', ']':
			depth = max(depth-1, 0)
		case ',':
			elements++
		}
	}
	if elements > maxElements {
		return fmt.Errorf("the activity has more than %d members and elements", maxElements)
	}
	return nil
}

// embedding takes the names of embedded structs out of a field's path.
var embedding = strings.NewReplacer("Activity.", "", "CardAction.", "")

// article puts an article before a JSON type as encoding/json names it, which
// for a number may include the number.
func article(jsonType string) string {
	jsonType, _, _ = strings.Cut(jsonType, " ")
	switch jsonType {
	case "array", "object":
		return "an " + jsonType
	}
	return "a " + jsonType
}

// incoming sets the embedded fields of in from its own ones.
func incoming(in *activity) schema.Activity {
	a := &in.Activity // what only it has is there; the rest follows
	a.Timestamp = in.Timestamp.Time
	a.LocalTimestamp = in.LocalTimestamp.Time
	a.From = in.From
	a.Conversation = in.Conversation
	a.Recipient = in.Recipient
	a.SuggestedActions.To = in.SuggestedActions.To
	for _, c := range in.SuggestedActions.Actions {
		c.CardAction.Value = mapOf(c.Value)
		c.CardAction.ChannelData = mapOf(c.ChannelData)
		a.SuggestedActions.Actions = append(a.SuggestedActions.Actions, c.CardAction)
	}
	a.ChannelData = mapOf(in.ChannelData)
	a.Value = mapOf(in.Value)
	a.RelatesTo = schema.ConversationReference(in.RelatesTo)
	a.Expiration = in.Expiration.Time
	a.SemanticAction = schema.SemanticAction(in.SemanticAction)
	return *a
}

// mapOf returns a map that stands for v.
func mapOf(v any) map[string]any {
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if _, empty := m[""]; ok && !(empty && len(m) == 1) {
		return m
	}
	return map[string]any{"": v}
}

// layouts are the forms of times, with a T between date and time.
var layouts = []string{
	time.RFC3339,
	"2006-01-02T15:04:05",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02",
	"20060102T150405Z0700",
	"20060102T150405",
}

// maxTime is longer than any time, in bytes of JSON.
const maxTime = 64

func (m *moment) UnmarshalJSON(data []byte) error {
	if m.Time.UnmarshalJSON(data) == nil && isWritable(m.Time) {
		return nil // as usual
	}
	m.Time = time.Time{}
	var text string
	if len(data) > maxTime || json.Unmarshal(data, &text) != nil {
		return nil
	}
	text = strings.ToUpper(strings.Replace(text, " ", "T", 1))
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			if isWritable(t) {
				m.Time = t
			}
			return nil
		}
	}
	return nil
}

// isWritable reports whether Encode can write t, which was parsed, in UTC too.
func isWritable(t time.Time) bool {
	const day = 24 * 60 * 60
	year := t.UTC().Year()
	_, offset := t.Zone()
	return 1 <= year && year <= 9999 && -day < offset && offset < day
}
