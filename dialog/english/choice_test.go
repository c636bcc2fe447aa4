package english_test

import (
	"testing"

	"github.com/botlapse/botlapse/dialog/english"
)

// choices returns choices with one name each.
func choices(names ...string) [][]string {
	var all [][]string
	for _, name := range names {
		all = append(all, []string{name})
	}
	return all
}

var transports = choices("Car", "Bus", "Bicycle")

func TestChoicesAreRecognized(t *testing.T) {
	drinks := [][]string{{"Coffee", "espresso", "flat white"}, {"Tea", "green tea", "chai"}, {"Iced coffee"}, {"Water"}}
	for _, test := range []struct {
		text    string
		choices [][]string
		want    string
	}{
		{"Car", transports, "Car"}, {"car", transports, "Car"}, {" car ", transports, "Car"}, {"the car please", transports, "Car"}, {"CAR!", transports, "Car"},
		{"bus car", transports, "Bus"}, {"1", transports, "Car"}, {"(2)", transports, "Bus"}, {"2.0", transports, "Bus"}, {"I want 3", transports, "Bicycle"},
		{"one", transports, "Car"}, {"third", transports, "Bicycle"}, {"2nd", transports, "Bus"}, {"the second one", transports, "Bus"},
		{"the car, not the bus", transports, "Car"}, {"number three", transports, "Bicycle"},
		{"espresso", drinks, "Coffee"}, {"a flat white, please", drinks, "Coffee"}, {"flat, small, white", drinks, "Coffee"}, {"green tea", drinks, "Tea"}, {"chai", drinks, "Tea"},
		{"iced coffee", drinks, "Iced coffee"}, {"an iced coffee", drinks, "Iced coffee"}, {"coffee", drinks, "Coffee"}, {"iced, but not too strong coffee", drinks, "Coffee"},
		{"4th", drinks, "Water"}, {"red car", choices("red bus", "red car"), "red car"}, {"red bike and red car", choices("blue car", "red car"), "red car"},
		{"2", choices("1", "3", "2"), "2"}, {"👍", choices("👎", "👍"), "👍"}, {"first", choices("second", "first"), "first"}, {"ÄPFEL", choices("Birnen", "äpfel"), "äpfel"},
		{"12", choices("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"), "l"},
	} {
		index, word, score, ok := english.Choice(test.text, test.choices)
		if !ok || test.choices[index][0] != test.want || score < 0.4 || score > 1 || word == "" {
			t.Errorf("%q is %d, %q, %v, %v, want %s", test.text, index, word, score, ok, test.want)
		}
	}
	for _, text := range []string{"", " ", "4", "0", "-1", "cars", "bike", "1.5", "fourth", "0th", "99999999999999999999th", "th", "1e999", "\xff"} {
		if index, _, _, ok := english.Choice(text, transports); ok {
			t.Errorf("%q is %d", text, index)
		}
	}
	if index, _, _, ok := english.Choice("1", nil); ok {
		t.Errorf("of no choices it is %d", index)
	}
	if index, _, _, ok := english.Choice("x", [][]string{{""}, {"!"}, {}}); ok {
		t.Errorf("of empty choices it is %d", index)
	}
}

func TestTheWordIsWhatWasRecognized(t *testing.T) {
	drinks := [][]string{{"Coffee", "flat white"}, {"Tea"}}
	for text, want := range map[string]string{"coffee": "Coffee", " Flat White ": "Flat White", "a flat white, please": "flat white", "the second one": "second", " 2 ": "2"} {
		if _, word, _, _ := english.Choice(text, drinks); word != want {
			t.Errorf("in %q it is %q, want %q", text, word, want)
		}
	}
}

func TestTheFirstNumberThatIsAChoiceIsMeant(t *testing.T) {
	for text, want := range map[string]string{
		"I have 5 kids, take 2": "Bus", "room 12 option 2": "Bus", "5 or 2": "Bus", "4, then 1": "Car", "1.5 or 2": "Bus", "twenty two": "", "12 345": "", "a hundred and one": "", "2, 200": "Bus",
	} {
		if index, _, _, ok := english.Choice(text, transports); ok != (want != "") || ok && transports[index][0] != want {
			t.Errorf("%q is %d, %v, want %s", text, index, ok, want)
		}
	}
}

func TestOrdinalsOfTwoWords(t *testing.T) {
	var many []string
	for i := range 25 {
		many = append(many, "choice-"+string(rune('a'+i)))
	}
	if index, _, _, ok := english.Choice("the twenty-first", choices(many...)); !ok || index != 20 {
		t.Errorf("twenty-first of 25 is %d, %v", index, ok)
	}
	for _, text := range []string{"the twenty-first", "thirty second", "at last", "the last one before"} {
		if index, _, _, ok := english.Choice(text, transports); ok && index != 0 {
			t.Errorf("%q of 3 is %d", text, index)
		}
	}
}

func FuzzChoice(f *testing.F) {
	f.Add("the second one", "Car", "Bus")
	f.Add("1st 2nd", "", "x y")
	f.Add("👍🏽 \xff", "👍", "ﬁ")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		index, word, score, ok := english.Choice(text, [][]string{{a, b}, {b}})
		if ok && (index < 0 || index > 1 || !(score > 0 && score <= 1)) {
			t.Errorf("%q is %d, %q, %v", text, index, word, score)
		}
	})
}

// What does it cost to find a choice in a sentence?
func BenchmarkChoice(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		english.Choice("I would like to take the bus", transports)
	}
}
