package english_test

import (
	"testing"

	"github.com/botlapse/botlapse/dialog/english"
)

func TestYesAndNoAreRecognized(t *testing.T) {
	for text, want := range map[string]bool{
		"true": true, "yes": true, "yep": true, "y": true, "sure": true, "ok": true, "agree": true, "👍": true, "👌": true, "yeah": true, "yup": true,
		"false": false, "nope": false, "nop": false, "no": false, "not ok": false, "disagree": false, "👎": false, "🖐": false,
		"yes please": true, "no thanks": false, "yes no": true, "no yes": false, "YES!": true, " No. ": false, "well, sure": true, "👍🏽": true, "that's not ok": false,
		"I do not agree": false, "I don't agree": false, "dont agree": false, "that's not true": false, "not yes": false, "not a yes": false, "not so ok": false, "I don’t agree": false,
		"not no": false, "I'm not sure. No.": false,
	} {
		if got, ok := english.Boolean(text); got != want || !ok {
			t.Errorf("%q is %v (%v), want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "maybe", "nah", "n", "okay", "correct", "of course", "yesterday", "know", "nothing", "not sure", "✋", "1", "\xff"} {
		if got, ok := english.Boolean(text); ok {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func FuzzBoolean(f *testing.F) {
	for _, seed := range []string{"yes", "not ok", "👍🏽", "\xffno", "y/n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if value, ok := english.Boolean(text); value && !ok {
			t.Errorf("%q is yes and is not", text)
		}
	})
}

// What does it cost to find a yes or no in a sentence?
func BenchmarkBoolean(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		english.Boolean("well, I would say yes")
	}
}
