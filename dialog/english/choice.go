package english

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Choice finds the choice that a text means: the one of which the text is or
// contains a name, else the one whose number the text names, as an ordinal or as
// a cardinal. Each choice is the list of its names. The word is what was
// recognised: the name, or what names the number; the score says how well the
// text fits, up to 1.
func Choice(text string, choices [][]string) (index int, word string, score float64, ok bool) {
	trimmed := strings.TrimSpace(text)
	for i, names := range choices {
		if len(names) > 0 && strings.EqualFold(names[0], trimmed) {
			return i, names[0], 1, true
		}
	}
	for i, names := range choices {
		if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, trimmed) }) {
			return i, trimmed, 1, true
		}
	}
	words := tokenize(text)
	if m, ok := searchChoice(words, choices); ok {
		return m.index, m.name, m.score, true
	}
	if index, word, ok := findOrdinal(words, len(choices)); ok {
		return index, word, 1, true
	}
	if n, ok := wholeNumber(text, len(choices)); ok {
		return n - 1, trimmed, 1, true
	}
	return 0, "", 0, false
}

// maxGap is how many other words may stand between those of a value.
const maxGap = 2

// A match is a name whose words stand in a text, from start to end.
type match struct {
	index      int // of the choice
	name       string
	score      float64
	start, end int
}

// searchChoice finds the choice whose words stand in a text, in their order.
// Where several do, those that overlap give way to the one that fits best, and
// of the rest the first in the text is meant.
func searchChoice(words []string, choices [][]string) (match, bool) {
	var matches []match
	for i, names := range choices {
		for _, name := range names {
			if start, end, score, ok := searchWords(words, tokenize(name)); ok {
				matches = append(matches, match{i, name, score, start, end})
			}
		}
	}
	if len(matches) == 0 {
		return match{}, false
	}
	slices.SortStableFunc(matches, func(a, b match) int {
		// Of those that fit alike, the longer name says more.
		return cmp.Or(cmp.Compare(b.score, a.score), len(b.name)-len(a.name))
	})
	best := matches[:0]
	for _, m := range matches {
		if !slices.ContainsFunc(best, func(b match) bool { return m.start <= b.end && b.start <= m.end }) {
			best = append(best, m)
		}
	}
	return slices.MinFunc(best, func(a, b match) int { return a.start - b.start }), true
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
