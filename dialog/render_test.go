package dialog

import (
	"strings"
	"testing"

	"github.com/botlapse/botlapse/internal/wire"
)

func TestChoicesAreShownAsTheChannelCan(t *testing.T) {
	many := Choices("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u")
	const suggested = `"suggestedActions":{"actions":[{"type":"imBack","title":"Yes","value":"Yes"},{"type":"imBack","title":"No","value":"No"}]}`
	for _, test := range []struct {
		name, channel string
		choices       []Choice
		want          string
	}{
		{"the emulator has suggested actions", "emulator", Choices("Yes", "No"), `{"text":"Ok?",` + suggested + `}`},
		{"so has Web Chat, however it is spelled", "WebChat", Choices("Yes", "No"), `{"text":"Ok?",` + suggested + `}`},
		{"Teams has cards", "msteams", Choices("Yes", "No"), `{"attachmentLayout":"list","attachments":[{"contentType":"application/vnd.microsoft.card.hero","content":{"text":"Ok?","buttons":[{"title":"Yes","type":"imBack","value":"Yes"},{"title":"No","type":"imBack","value":"No"}]}}]}`},
		{"others have text: two", "sms", Choices("Yes", "No"), `{"text":"Ok? (1) Yes or (2) No"}`},
		{"one", "sms", Choices("Yes"), `{"text":"Ok? (1) Yes"}`},
		{"three", "sms", Choices("Car", "Bus", "Bicycle"), `{"text":"Ok? (1) Car, (2) Bus, or (3) Bicycle"}`},
		{"four are a list", "sms", Choices("a", "b", "c", "d"), `{"text":"Ok?\n\n   1. a\n   2. b\n   3. c\n   4. d"}`},
		{"a long title is a list everywhere", "webchat", Choices(strings.Repeat("x", 21)), `{"text":"Ok?\n\n   1. xxxxxxxxxxxxxxxxxxxxx"}`},
		{"20 characters are not long", "directline", Choices(strings.Repeat("x", 20)), `{"text":"Ok?","suggestedActions":{"actions":[{"type":"imBack","title":"xxxxxxxxxxxxxxxxxxxx","value":"xxxxxxxxxxxxxxxxxxxx"}]}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			shown := renderChoices(test.channel, "Ok?", test.choices, "or")
			got, err := wire.Encode(&shown)
			if err != nil || string(got) != test.want {
				t.Errorf("shown as\n%s (%v), want\n%s", got, err, test.want)
			}
		})
	}
	for channel, most := range map[string]int{"kik": 20, "line": 13, "facebook": 10} {
		if a := renderChoices(channel, "Ok?", many[:most], "or"); len(a.SuggestedActions.Actions) != most {
			t.Errorf("%s does not show %d suggested actions", channel, most)
		}
		if a := renderChoices(channel, "Ok?", many[:most+1], "or"); len(a.SuggestedActions.Actions) != 0 {
			t.Errorf("%s shows %d suggested actions", channel, most+1)
		}
	}
}
