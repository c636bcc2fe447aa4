package dialog

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/botlapse/botlapse/internal/wire"
)

var transports = Choices("Car", "Bus", "Bicycle")

func TestChoicesAreRecognized(t *testing.T) {
	drinks := []Choice{{Value: "Coffee", Synonyms: []string{"espresso", "flat white"}}, {Value: "Tea", Synonyms: []string{"green tea", "chai"}}, {Value: "Iced coffee"}, {Value: "Water"}}
	for _, test := range []struct {
		text    string
		choices []Choice
		want    string
	}{
		{"Car", transports, "Car"}, {"car", transports, "Car"}, {" car ", transports, "Car"}, {"the car please", transports, "Car"}, {"CAR!", transports, "Car"},
		{"bus car", transports, "Bus"}, {"1", transports, "Car"}, {"(2)", transports, "Bus"}, {"2.0", transports, "Bus"}, {"I want 3", transports, "Bicycle"},
		{"one", transports, "Car"}, {"third", transports, "Bicycle"}, {"2nd", transports, "Bus"}, {"the second one", transports, "Bus"},
		{"the car, not the bus", transports, "Car"}, {"number three", transports, "Bicycle"},
		{"espresso", drinks, "Coffee"}, {"a flat white, please", drinks, "Coffee"}, {"flat, small, white", drinks, "Coffee"}, {"green tea", drinks, "Tea"}, {"chai", drinks, "Tea"},
		{"iced coffee", drinks, "Iced coffee"}, {"an iced coffee", drinks, "Iced coffee"}, {"coffee", drinks, "Coffee"}, {"iced, but not too strong coffee", drinks, "Coffee"},
		{"4th", drinks, "Water"}, {"red car", Choices("red bus", "red car"), "red car"}, {"red bike and red car", Choices("blue car", "red car"), "red car"},
		{"2", Choices("1", "3", "2"), "2"}, {"👍", Choices("👎", "👍"), "👍"}, {"first", Choices("second", "first"), "first"}, {"ÄPFEL", Choices("Birnen", "äpfel"), "äpfel"},
		{"12", Choices("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"), "l"},
	} {
		found, ok := recognizeChoice(test.text, test.choices)
		if !ok || found.Value != test.want || test.choices[found.Index].Value != test.want || found.Score < 0.4 || found.Score > 1 || found.Synonym == "" {
			t.Errorf("%q is %+v (%v), want %s", test.text, found, ok, test.want)
		}
	}
	for _, text := range []string{"", " ", "4", "0", "-1", "cars", "bike", "1.5", "fourth", "0th", "99999999999999999999th", "th", "1e999", "\xff"} {
		if found, ok := recognizeChoice(text, transports); ok {
			t.Errorf("%q is %+v", text, found)
		}
	}
	if found, ok := recognizeChoice("1", nil); ok {
		t.Errorf("of no choices it is %+v", found)
	}
	if found, ok := recognizeChoice("x", Choices("", "!")); ok {
		t.Errorf("of empty choices it is %+v", found)
	}
}

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
			shown := renderChoices(test.channel, "Ok?", test.choices)
			got, err := wire.Encode(&shown)
			if err != nil || string(got) != test.want {
				t.Errorf("shown as\n%s (%v), want\n%s", got, err, test.want)
			}
		})
	}
	for channel, most := range map[string]int{"kik": 20, "line": 13, "facebook": 10} {
		if a := renderChoices(channel, "Ok?", many[:most]); len(a.SuggestedActions.Actions) != most {
			t.Errorf("%s does not show %d suggested actions", channel, most)
		}
		if a := renderChoices(channel, "Ok?", many[:most+1]); len(a.SuggestedActions.Actions) != 0 {
			t.Errorf("%s shows %d suggested actions", channel, most+1)
		}
	}
}

func TestTheFirstNumberThatIsAChoiceIsMeant(t *testing.T) {
	for text, want := range map[string]string{
		"I have 5 kids, take 2": "Bus", "room 12 option 2": "Bus", "5 or 2": "Bus", "4, then 1": "Car", "1.5 or 2": "Bus", "twenty two": "", "12 345": "", "a hundred and one": "", "2, 200": "Bus",
	} {
		if found, ok := recognizeChoice(text, transports); found.Value != want || ok != (want != "") {
			t.Errorf("%q is %v, %v, want %s", text, found, ok, want)
		}
	}
}

func TestOrdinalsOfTwoWords(t *testing.T) {
	var many []string
	for i := range 25 {
		many = append(many, "choice-"+string(rune('a'+i)))
	}
	if found, ok := recognizeChoice("the twenty-first", Choices(many...)); !ok || found.Index != 20 {
		t.Errorf("twenty-first of 25 is %v, %v", found, ok)
	}
	for _, text := range []string{"the twenty-first", "thirty second", "at last", "the last one before"} {
		if found, ok := recognizeChoice(text, Choices("Car", "Bus", "Bicycle")); ok && found.Index != 0 {
			t.Errorf("%q of 3 is %v", text, found)
		}
	}
}

func FuzzChoice(f *testing.F) {
	f.Add("the second one", "Car", "Bus")
	f.Add("1st 2nd", "", "x y")
	f.Add("👍🏽 \xff", "👍", "ﬁ")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		choices := []Choice{{Value: a, Synonyms: []string{b}}, {Value: b}}
		if found, ok := recognizeChoice(text, choices); ok {
			if found.Index < 0 || found.Index > 1 || found.Value != choices[found.Index].Value || !(found.Score > 0 && found.Score <= 1) {
				t.Errorf("%q is %+v", text, found)
			}
		}
		if _, err := json.Marshal(renderChoices("emulator", a, choices)); err != nil {
			t.Error(err)
		}
	})
}

// What does it cost to find a choice in a sentence?
func BenchmarkRecognizeChoice(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		recognizeChoice("I would like to take the bus", transports)
	}
}
