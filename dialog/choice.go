package dialog

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Choice is one of those that a choice prompt offers.
type Choice struct {
	// Value is what is shown, and what the prompt ends with.
	Value string `json:"value"`

	// Synonyms are other words for it, by which it can be chosen too.
	Synonyms []string `json:"synonyms,omitempty"`
}

// A FoundChoice is the answer to a choice prompt.
type FoundChoice struct {
	Value   string  `json:"value"`             // that of the choice
	Index   int     `json:"index"`             // which of the choices it is, from 0
	Score   float64 `json:"score"`             // how well the answer fits, up to 1
	Synonym string  `json:"synonym,omitempty"` // what was recognised: value, synonym, or a word for the number
}

// Choices returns choices with these values.
func Choices(values ...string) []Choice {
	choices := make([]Choice, len(values))
	for i, v := range values {
		choices[i].Value = v
	}
	return choices
}

// recognizeChoice finds the choice that a text means: the one whose value or
// synonym it is or contains, else the one whose number it names, as an ordinal
// or as a cardinal.
func recognizeChoice(text string, choices []Choice) (FoundChoice, bool) {
	if len(choices) == 0 {
		return FoundChoice{}, false
	}
	trimmed := strings.TrimSpace(text)
	for _, exact := range []func(Choice) (string, bool){
		func(c Choice) (string, bool) { return c.Value, strings.EqualFold(c.Value, trimmed) },
		func(c Choice) (string, bool) {
			i := slices.IndexFunc(c.Synonyms, func(s string) bool { return strings.EqualFold(s, trimmed) })
			return trimmed, i >= 0
		},
	} {
		for i, c := range choices {
			if synonym, ok := exact(c); ok {
				return FoundChoice{c.Value, i, 1, synonym}, true
			}
		}
	}
	words := tokenize(text)
	if found, ok := searchChoice(words, choices); ok {
		return found, true
	}
	if index, word, ok := findOrdinal(words, len(choices)); ok {
		return FoundChoice{choices[index].Value, index, 1, word}, true
	}
	if n, ok := recognizeOrdinalNumber(text, len(choices)); ok {
		return FoundChoice{choices[n-1].Value, n - 1, 1, trimmed}, true
	}
	return FoundChoice{}, false
}

// maxGap is how many other words may stand between those of a value.
const maxGap = 2

// searchChoice finds the choice whose words stand in a text, in their order.
// Where several do, those that overlap give way to the one that fits best, and
// of the rest the first in the text is meant.
func searchChoice(words []string, choices []Choice) (FoundChoice, bool) {
	type match struct {
		FoundChoice
		start, end int
	}
	var matches []match
	for i, c := range choices {
		for _, name := range append([]string{c.Value}, c.Synonyms...) {
			if start, end, score, ok := searchWords(words, tokenize(name)); ok {
				matches = append(matches, match{FoundChoice{c.Value, i, score, name}, start, end})
			}
		}
	}
	if len(matches) == 0 {
		return FoundChoice{}, false
	}
	slices.SortStableFunc(matches, func(a, b match) int {
		switch {
		case a.Score != b.Score:
			return int(math.Copysign(1, b.Score-a.Score))
		default: // the longer name says more
			return len(b.Synonym) - len(a.Synonym)
		}
	})
	best := matches[:0]
	for _, m := range matches {
		if !slices.ContainsFunc(best, func(b match) bool { return m.start <= b.end && b.start <= m.end }) {
			best = append(best, m)
		}
	}
	return slices.MinFunc(best, func(a, b match) int { return a.start - b.start }).FoundChoice, true
}

// searchWords finds the words of name in text, with gaps of at most maxGap
// between them. The score is between 0.4 and 1, less with more gaps.
func searchWords(text, name []string) (start, end int, score float64, ok bool) {
	if len(name) == 0 {
		return 0, 0, 0, false
	}
	for start := range text {
		if text[start] != name[0] {
			continue
		}
		end, gaps := start, 0
		for _, word := range name[1:] {
			rest := text[end+1 : min(end+1+maxGap+1, len(text))]
			gap := slices.Index(rest, word)
			if gap < 0 {
				end = -1
				break
			}
			end += 1 + gap
			gaps += gap
		}
		if end >= 0 {
			n := float64(len(name))
			return start, end, 0.4 + 0.6*n/(n+float64(gaps)), true
		}
	}
	return 0, 0, 0, false
}

var ordinals = map[string]int{
	"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
	"eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16, "seventeenth": 17,
	"eighteenth": 18, "nineteenth": 19, "twentieth": 20,
}

// findOrdinal finds the first ordinal among words that numbers one of n
// choices, and returns its index.
func findOrdinal(words []string, n int) (index int, word string, ok bool) {
	for i, word := range words {
		number := ordinals[word]
		if i > 0 && number >= 1 && number <= 9 {
			number += int(tens[words[i-1]]) // twenty-first
		}
		if digits, ok := cutOrdinalSuffix(word); ok {
			number = 0
			for _, c := range digits {
				number = min(number*10+int(c-'0'), math.MaxInt32)
			}
		}
		if number >= 1 && number <= n {
			return number - 1, word, true
		}
	}
	return 0, "", false
}

// cutOrdinalSuffix cuts the letters off a word like 1st, 2nd or 10th.
func cutOrdinalSuffix(word string) (digits string, ok bool) {
	if len(word) < 3 {
		return "", false
	}
	digits, suffix := word[:len(word)-2], word[len(word)-2:]
	if suffix != "st" && suffix != "nd" && suffix != "rd" && suffix != "th" {
		return "", false
	}
	return digits, strings.Trim(digits, "0123456789") == ""
}

// tokenize splits a text into words in lower case, at the characters at which
// the official SDKs do: ASCII punctuation, combining marks and symbols. A
// character outside of the basic plane, such as an emoji, is a word by itself.
func tokenize(text string) []string {
	text = strings.ToLower(text)
	var words []string
	start := -1
	flush := func(end int) {
		if start >= 0 {
			words = append(words, text[start:end])
			start = -1
		}
	}
	for i, c := range text {
		switch {
		case c > 0xffff:
			flush(i)
			words = append(words, text[i:i+utf8.RuneLen(c)])
		case isBreak(c):
			flush(i)
		case start < 0:
			start = i
		}
	}
	flush(len(text))
	return words
}

func isBreak(c rune) bool {
	return c <= 0x2f || c >= 0x3a && c <= 0x40 || c >= 0x5b && c <= 0x60 || c >= 0x7b && c <= 0xbf ||
		c >= 0x2b9 && c <= 0x36f || c >= 0x2000 && c <= 0x2bff || c >= 0x2e00 && c <= 0x2e7f
}
