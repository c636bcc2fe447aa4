package dialog

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// recognizeNumber finds the first number in an English text: in digits, with
// sign, separators of thousands, decimals, exponent, power, fraction, percent
// sign or a letter for thousands and the like; or in words. Numbers that stand
// in a word, as in abc123 or 12th, are none, and neither are ordinals; and one
// that is too large for a float64 is not found.
func recognizeNumber(text string) (float64, bool) {
	words := numberWords(text)
	for i := range words {
		if n, ok := numberAt(words[i:]); ok {
			return n, !math.IsInf(n, 0) && !math.IsNaN(n)
		}
	}
	return 0, false
}

// numberAt reads the number that words begin with.
func numberAt(words []string) (float64, bool) {
	sign := 1.0
	if words[0] == "minus" || words[0] == "negative" {
		if sign, words = -1, words[1:]; len(words) == 0 {
			return 0, false
		}
	}
	if n, rest, ok := digitsAt(words); ok {
		return sign * scale(n, rest), true
	}
	if words[0] == "point" && len(words) > 1 {
		n := decimalsAt(words[1:])
		return sign * n, n > 0
	}
	n, rest, ok := spelledAt(words)
	if !ok {
		return 0, false
	}
	if len(rest) > 1 && rest[0] == "point" {
		n += decimalsAt(rest[1:])
	} else if len(rest) > 2 && rest[0] == "and" && rest[1] == "a" && rest[2] == "half" {
		n += 0.5
	} else if len(rest) > 0 && rest[0] == "dozen" {
		n *= 12
	}
	return sign * n, true
}

// numeral is a number in digits that fills a word.
var numeral = regexp.MustCompile(`^([-+]?)(\d{1,3}(?:,\d{3})+|\d+|)(\.\d+)?(?:e([-+]?\d+)|\^([-+]?\d+)|/(\d+)|([kmb])|(%))?$`)

var letters = map[string]float64{"k": 1e3, "m": 1e6, "b": 1e9}

// digitsAt reads a number in digits. Groups of three digits that follow it
// after a space belong to it.
func digitsAt(words []string) (n float64, rest []string, ok bool) {
	if !strings.ContainsRune("+-.0123456789", rune(words[0][0])) {
		return 0, nil, false // most words; matching them would take long
	}
	m := numeral.FindStringSubmatch(words[0])
	if m == nil || m[2] == "" && m[3] == "" {
		return 0, nil, false
	}
	rest = words[1:]
	whole := strings.ReplaceAll(m[2], ",", "")
	if m[0] == m[1]+m[2] && len(whole) <= 3 {
		for len(rest) > 0 && len(rest[0]) == 3 && isDigits(rest[0]) && len(whole) < maxDigits {
			whole, rest = whole+rest[0], rest[1:]
		}
	}
	if n, _ = strconv.ParseFloat(whole+m[3], 64); m[4] != "" { // too many digits make it infinite
		n, _ = strconv.ParseFloat(whole+m[3]+"e"+m[4], 64)
	}
	switch {
	case m[5] != "":
		exponent, _ := strconv.ParseFloat(m[5], 64)
		n = math.Pow(n, exponent)
	case m[6] != "":
		divisor, _ := strconv.ParseFloat(m[6], 64)
		if divisor == 0 {
			return 0, nil, false
		}
		n /= divisor
	case m[7] != "":
		n *= letters[m[7]]
	}
	if m[1] == "-" {
		n = -n
	}
	return n, rest, true
}

// maxDigits is more than the digits of the largest float64.
const maxDigits = 400

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

var units = map[string]float64{
	"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
	"eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}

var tens = map[string]float64{
	"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}

var magnitudes = map[string]float64{"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}

// scale multiplies a number in digits by the magnitudes in words behind it.
func scale(n float64, words []string) float64 {
	for _, word := range words {
		magnitude, ok := magnitudes[word]
		if !ok {
			break
		}
		n *= magnitude
	}
	return n
}

// spelledAt reads a number in words.
func spelledAt(words []string) (n float64, rest []string, ok bool) {
	switch words[0] {
	case "half":
		if len(words) > 2 && words[1] == "a" && words[2] == "dozen" {
			return 6, words[3:], true
		}
		return 0.5, words[1:], true
	case "dozen":
		return 12, words[1:], true
	case "a", "an", "one":
		if len(words) > 1 && words[1] == "half" {
			return 0.5, words[2:], true
		}
	}
	if len(words) > 1 && (words[0] == "a" || words[0] == "an") {
		if words[1] == "dozen" {
			return 12, words[2:], true
		}
		if magnitudes[words[1]] == 0 {
			return 0, nil, false
		}
		words = append([]string{"one"}, words[1:min(len(words), maxSpelled)]...)
	}

	var group float64       // below 1000, not yet multiplied
	smallest := math.Inf(1) // magnitude in the sum so far
	step := math.Inf(1)     // what is added to group must be less
	i := 0
	for ; i < len(words); i++ {
		word := words[i]
		if word == "and" { // between a magnitude and what is less
			if !ok || i+1 == len(words) || step < 100 {
				break
			}
			word = words[i+1]
			if _, isUnit := units[word]; !isUnit && tens[word] == 0 {
				break
			}
			i++
		}
		if unit, isUnit := units[word]; isUnit && unit < step && (step != 10 || unit > 0) {
			group, step = group+unit, 0
		} else if ten := tens[word]; ten > 0 && ten < step {
			group, step = group+ten, 10
		} else if word == "hundred" && group > 0 && group < 100 && smallest > 100 {
			group, step = group*100, 100
		} else if m := magnitudes[word]; m > 100 && group > 0 && m < smallest {
			n, group, smallest, step = n+group*m, 0, m, m
		} else {
			break
		}
		ok = true
	}
	return n + group, words[min(i, len(words)):], ok
}

// maxSpelled is more than the words of the longest number.
const maxSpelled = 64

// decimalsAt reads the words behind "point": digits, one by one or as figures.
func decimalsAt(words []string) float64 {
	digits := "0."
	for _, word := range words[:min(len(words), maxSpelled)] {
		if unit, ok := units[word]; ok && unit < 10 {
			digits += strconv.Itoa(int(unit))
		} else {
			break
		}
	}
	n, _ := strconv.ParseFloat(digits+"0", 64)
	return n
}

// numberWords splits a text into words in lower case, of letters or of what
// numerals are made of. Hyphens split between letters, as in forty-two, and after
// a digit, where they are no sign.
func numberWords(text string) []string {
	var words []string
	var word []byte
	flush := func() {
		// What ends a sentence or a clause is no part of a numeral.
		w := strings.TrimRight(string(word), ".,^/+-")
		if w = strings.TrimLeft(w, "^/,"); w != "" {
			words = append(words, w)
		}
		word = word[:0]
	}
	previous := ' '
	for i, c := range text {
		c = fold(c)
		next, _ := utf8.DecodeRuneInString(text[i+runeLen(text[i:]):])
		switch {
		case c == '-' && (unicode.IsLetter(previous) && unicode.IsLetter(fold(next)) || unicode.IsDigit(previous)):
			flush()
		case unicode.IsLetter(c) || unicode.IsDigit(c) || c == '_' || strings.ContainsRune("+-.,^/%", c):
			word = utf8.AppendRune(word, c)
		default:
			flush()
		}
		previous = c
	}
	flush()
	return words
}

func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// fold returns c in lower case, and in ASCII if it is the full-width form of an
// ASCII character or another minus sign.
func fold(c rune) rune {
	switch {
	case c >= '！' && c <= '～':
		c -= '！' - '!'
	case c == '−' || c == '–':
		c = '-'
	}
	return unicode.ToLower(c)
}
