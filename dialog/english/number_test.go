package english_test

import (
	"math"
	"strings"
	"testing"

	"github.com/botlapse/botlapse/dialog/english"
)

func TestNumbersAreRecognized(t *testing.T) {
	for text, want := range map[string]float64{
		// What the JavaScript SDK accepts.
		"42": 42, "forty two": 42, "forty-two": 42, "I am 42 years old": 42, "42.5": 42.5, "1,000": 1000, "1 000": 1000, "-5": -5, "minus five": -5, "+7": 7,
		"half": 0.5, "1/2": 0.5, "10%": 10, "1e3": 1000, "2^3": 8, "12k": 12000, "3 million": 3e6, "a dozen": 12, "４２": 42, "7.": 7, "4 2": 4, "twenty-first": 20,
		// Words.
		"one hundred and five": 105, "two thousand and twenty six": 2026, "three point one four": 3.14, "point five": 0.5, "FORTY TWO": 42, "I'm thirty": 30,
		"zero": 0, "nineteen": 19, "ninety nine": 99, "a hundred": 100, "twelve hundred": 1200, "one thousand and one": 1001, "one million two hundred thousand": 1.2e6,
		"one hundred twenty three thousand four hundred and fifty six": 123456, "two billion": 2e9, "half a dozen": 6, "two dozen": 24, "two and a half": 2.5,
		"one half": 0.5, "a half": 0.5, "negative forty": -40, "negative 40": -40,
		// Where one number ends.
		"ten twenty": 10, "one two three": 1, "twenty and five": 20, "5 and 3": 5, "30 or 31": 30, "between 3 and 5": 3, "5-3": 5, "2026-11-21": 2026,
		// What punctuation parts is not one number.
		"5-100": 5, "18–100": 18, "1, 200": 1, "2, 300 of them": 2, "1:200": 1, "5 (100)": 5, "I am 30. 100 percent": 30, "1\n200": 1, "$5-$100": 5, "3*100": 3,
		"555-123-4567": 555, "room 12, 345": 12, "twenty, five": 20, "twenty. five": 20, "one hundred, five": 100, "minus, 5": 5, "negative: 5": 5,
		// Signs that stand alone.
		"- 5": -5, "it is - 5 degrees": -5, "10 - 5": 10, "− 5": -5,
		// Fractions.
		"1 1/2": 1.5, "-1 1/2": -1.5, "three quarters": 0.75, "two thirds": 2.0 / 3, "one third": 1.0 / 3, "seven-eighths": 0.875, "one hundredth": 0.01, "a third": 1.0 / 3, "a quarter": 0.25,
		"two and a half million": 2.5e6, "twenty fifth": 20, "3 quarters": 0.75,
		// Multipliers.
		"3 dozen": 36, "12 k": 12000, "5 b": 5e9, "one thousand million": 1e9, "2 and a half": 2.5, "5 point 5": 5.5, "2,5": 2.5, "1,50": 1.5,
		// Digits and what stands around them.
		"0": 0, ".5": 0.5, "1,000,000.5": 1000000.5, "1.000": 1, "1e-3": 0.001, "2.5 million": 2.5e6, "12 345 678": 12345678, "−5": -5, "(42)": 42, "42!": 42, "42, please": 42,
		"age: 30": 30, "x 5": 5, "$5": 5, "5€": 5, "5 kg": 5, "99999999999999999999": 1e20, "it is 7.": 7,
	} {
		if got, ok := english.Number(text); got != want || !ok {
			t.Errorf("%q is %v (%v), want %v", text, got, ok, want)
		}
	}
}

func TestTheseAreNoNumbers(t *testing.T) {
	for _, text := range []string{
		"", " ", "abc", "a", "first", "12th", "2nd", "abc123", "12_000", "5kg", "an apple", "thousand", "hundred", "point", "minus", "-", "+", ".", "%", "/", "e5", "k", "and",
		"1/0", "1e999", "9^9999", "-1e400", strings.Repeat("9", 400), "\xff\xfe", "\x00", "½",
	} {
		if n, ok := english.Number(text); ok {
			t.Errorf("%q is %v", text, n)
		}
	}
}

func TestLongTextsAreNoBurden(t *testing.T) {
	for _, part := range []string{"1 ", "000 ", "a ", "and ", "one hundred and ", "minus ", "-", "point one ", "x", "1,", "half a "} {
		text := strings.Repeat(part, 256<<10/len(part))
		english.Number(text)
		english.Number("x" + text)
		english.Boolean(text)
		english.Choice(text, choices("a b", "one two", "x x x x", "a"))
	}
}

func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"42", "-1,000.5e3", "two and a half", "one hundred and five thousand", "1/3", "2^10", "half a dozen", "４２％", "a\xffb", "point nine"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := english.Number(text); ok && (math.IsInf(n, 0) || math.IsNaN(n)) {
			t.Errorf("%q is %v", text, n)
		}
	})
}

// What does it cost to find a number in a sentence?
func BenchmarkNumber(b *testing.B) {
	for _, text := range []string{"I am 42 years old", "I am forty-two years old", "I will not tell you"} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				english.Number(text)
			}
		})
	}
}
