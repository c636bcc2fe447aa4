package bottest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/internal/wire"
)

// A button is what users see of a suggested action, or of a button of a card.
type button struct{ Title string }

// textOf returns the text by which a transcript shows an activity of the bot's:
// of a message what users read, of anything else its JSON. Its error is that
// the activity cannot be encoded.
func textOf(a schema.Activity) (string, error) {
	a.Type = cmp.Or(a.Type, schema.Message)
	data, err := wire.Encode(&a)
	if err != nil {
		return "", fmt.Errorf("bottest: encode: %w", err)
	}
	if a.Type == schema.Message {
		if text := messageText(data); text != "" {
			return text, nil
		}
	}
	return jsonText(data)
}

// messageText returns the text of a message, the titles of its buttons, each
// in brackets, and the names of its attachments in parentheses. Of a card it
// has the title, the text and the buttons.
func messageText(data []byte) string {
	var m struct {
		Text             string
		SuggestedActions struct{ Actions []button }
		Attachments      []struct {
			Name, ContentType string
			Content           json.RawMessage
		}
	}
	if json.Unmarshal(data, &m) != nil {
		return ""
	}
	parts := []string{m.Text}
	add := func(buttons []button) {
		for _, b := range buttons {
			parts = append(parts, "["+b.Title+"]")
		}
	}
	for _, a := range m.Attachments {
		var card struct {
			Title, Text string
			Buttons     []button
		}
		json.Unmarshal(a.Content, &card) // what is no card has none of it
		switch {
		case card.Title != "" || card.Text != "" || len(card.Buttons) > 0:
			parts = append(parts, card.Title, card.Text)
			add(card.Buttons)
		case a.Name != "":
			parts = append(parts, "("+a.Name+")")
		default:
			parts = append(parts, "("+a.ContentType+")")
		}
	}
	add(m.SuggestedActions.Actions)
	var text strings.Builder
	for _, part := range parts {
		if part == "" {
			continue
		}
		if text.Len() > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(part)
	}
	return strings.ReplaceAll(text.String(), "\r\n", "\n")
}

// jsonText returns the JSON of an activity, its type first, without what is the
// same in all activities of a conversation, and without times.
func jsonText(data []byte) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return "", fmt.Errorf("bottest: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"type":%s`, members["type"])
	for _, name := range slices.Sorted(maps.Keys(members)) {
		switch name {
		case "type", "channelId", "serviceUrl", "conversation", "from", "recipient", "replyToId", "locale", "inputHint", "timestamp", "localTimestamp":
		default:
			fmt.Fprintf(&b, ",%q:%s", name, members[name])
		}
	}
	b.WriteByte('}')
	return b.String(), nil
}
