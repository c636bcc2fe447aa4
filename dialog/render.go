package dialog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
)

// A heroCard is the content of the attachment by which choices are shown on
// channels that have cards but no suggested actions, such as Teams.
type heroCard struct {
	Text    string       `json:"text,omitempty"`
	Buttons []cardButton `json:"buttons"`
}

type cardButton struct {
	Title string             `json:"title"`
	Type  schema.ActionTypes `json:"type"`
	Value string             `json:"value"`
}

// maxTitle is the longest title, in UTF-16 code units, that fits a button.
const maxTitle = 20

// How many choices the channels can show as suggested actions, and as buttons
// of a card.
var (
	maxSuggestedActions = map[string]int{
		"emulator": 100, "directline": 100, "directlinespeech": 100, "webchat": 100, "telegram": 100,
		"facebook": 10, "skype": 10, "line": 13, "kik": 20,
	}
	maxCardButtons = map[string]int{"msteams": 50, "slack": 100, "line": 99}
)

// renderChoices returns a question with choices in the way that suits the
// channel: as suggested actions, as a card, in the text, or as a list below it.
func renderChoices(channelID, text string, choices []Choice, or string) schema.Activity {
	channel := strings.ToLower(channelID)
	short := !slices.ContainsFunc(choices, func(c Choice) bool { return len(utf16.Encode([]rune(c.Value))) > maxTitle })
	switch {
	case short && len(choices) <= maxSuggestedActions[channel]:
		return suggest(text, choices)
	case short && len(choices) <= maxCardButtons[channel]:
		return card(text, choices)
	case short && len(choices) <= 3:
		return inline(text, choices, or)
	default:
		return list(text, choices)
	}
}

func suggest(text string, choices []Choice) schema.Activity {
	actions := make([]schema.CardAction, len(choices))
	for i, c := range choices {
		actions[i] = schema.CardAction{Type: schema.ImBack, Title: c.Value, Value: bot.Value(c.Value)}
	}
	return schema.Activity{Text: text, SuggestedActions: schema.SuggestedActions{Actions: actions}}
}

// card moves the text into the card.
func card(text string, choices []Choice) schema.Activity {
	c := heroCard{Text: text}
	for _, choice := range choices {
		c.Buttons = append(c.Buttons, cardButton{choice.Value, schema.ImBack, choice.Value})
	}
	return schema.Activity{
		AttachmentLayout: schema.LIST,
		Attachments:      []schema.Attachment{{ContentType: "application/vnd.microsoft.card.hero", Content: c}},
	}
}

// inline writes "text (1) A, (2) B, or (3) C", or only commas without an or.
func inline(text string, choices []Choice, or string) schema.Activity {
	var b strings.Builder
	b.WriteString(text)
	for i, c := range choices {
		if i > 0 && (len(choices) > 2 || or == "") {
			b.WriteByte(',')
		}
		if i > 0 && i == len(choices)-1 && or != "" {
			b.WriteString(" " + or)
		}
		fmt.Fprintf(&b, " (%d) %s", i+1, c.Value)
	}
	return schema.Activity{Text: b.String()}
}

// list writes the choices below the text, a line each.
func list(text string, choices []Choice) schema.Activity {
	var b strings.Builder
	b.WriteString(text + "\n")
	for i, c := range choices {
		b.WriteString("\n   " + strconv.Itoa(i+1) + ". " + c.Value)
	}
	return schema.Activity{Text: b.String()}
}
