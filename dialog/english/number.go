package english

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Number finds the first number in a text: in digits, with sign, separators of
// thousands, decimals, exponent, power, fraction, percent sign or a letter for
// thousands and the like; or in words. Numbers that stand in a word, as in abc123
// or 12th, are none, and neither are ordinals; and one that is too large for a
// float64 is not found.
func Number(text string) (float64, bool) {
	words := numberWords(text)
	for i := range words {
		if n, ok := numberAt(words[i:]); ok {
			return n, !math.IsInf(n, 0) && !math.IsNaN(n)
		}
	}
	return 0, false
}

// wholeNumber finds the first whole number in a text that is from 1 to limit.
func wholeNumber(text string, limit int) (int, bool) {
	words := numberWords(text)
	for i := 0; i < len(words); i++ {
		n, ok := numberAt(words[i:])
		if !ok {
			continue
		}
		if n >= 1 && n <= float64(limit) && n == math.Trunc(n) {
			return int(n), true
		}
		for i+1 < len(words) && isNumberWord(words[i+1]) {
			i++ // the rest of the number that was not meant
		}
	}
	return 0, false
}

// isNumberWord reports whether a word can be in the middle of a number.
func isNumberWord(word string) bool {
	_, isUnit := units[word]
	return isUnit || word != barrier && isDigit(word[0]) || tens[word] > 0 || magnitudes[word] > 0 || denominators[word] > 0 ||
		word == "and" || word == "point" || word == "dozen" || word == "half"
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
		if n < 0 {
			sign, n = -sign, -n
		}
		return sign * tail(n, rest), true
	}
	if words[0] == "point" && len(words) > 1 {
		n := decimalsAt(words[1:])
		return sign * n, n > 0
	}
	if n, rest, ok := spelledAt(words); ok {
		return sign * tail(n, rest), true
	}
	if denominator := denominators[words[min(1, len(words)-1)]]; denominator > 0 && (words[0] == "a" || words[0] == "an") {
		return sign / denominator, true
	}
	return 0, false
}

// tail adds to a number what the words behind it say: a fraction, decimals, or
// a multiplier.
func tail(n float64, words []string) float64 {
	words = words[:min(len(words), maxSpelled)]
	at := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return barrier
	}
	whole := n == math.Trunc(n)
	switch denominator := denominators[at(0)]; {
	case denominator > 0 && (n == 1 || strings.HasSuffix(at(0), "s") || denominator == 4 || denominator == 2):
		n, words = n/denominator, words[1:]
	case whole && fraction.MatchString(at(0)):
		part, _, ok := digitsAt(words)
		if ok && part < 1 {
			n, words = n+part, words[1:]
		}
	case at(0) == "point" && whole:
		n += decimalsAt(words[1:])
	case at(0) == "and" && at(1) == "a" && at(2) == "half":
		n, words = n+0.5, words[3:]
	}
	for _, word := range words {
		multiplier := magnitudes[word]
		switch word {
		case "dozen":
			multiplier = 12
		case "k", "b": // not m, which is mostly something else
			multiplier = letters[word]
		}
		if multiplier == 0 {
			break
		}
		n *= multiplier
	}
	return n
}

var fraction = regexp.MustCompile(`^\d{1,15}/\d{1,15}$`)

// denominators are the words that divide what they follow: three quarters.
var denominators = map[string]float64{
	"halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4, "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6,
	"seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8, "ninth": 9, "ninths": 9, "tenth": 10, "tenths": 10, "hundredth": 100, "hundredths": 100,
}

// numeral is a number in digits that fills a word.
var numeral = regexp.MustCompile(`^([-+]?)(\d{1,3}(?:,\d{3})+|\d+|)(\.\d+|,\d{1,2})?(?:e([-+]?\d+)|\^([-+]?\d+)|/(\d+)|([kmb])|(%))?$`)

var letters = map[string]float64{"k": 1e3, "m": 1e6, "b": 1e9}

// digitsAt reads a number in digits. Groups of three digits that follow it
// after a space belong to it.
func digitsAt(words []string) (n float64, rest []string, ok bool) {
	if words[0] == barrier || !strings.ContainsRune("+-.0123456789", rune(words[0][0])) {
		return 0, nil, false // most words; matching them would take long
	}
	m := numeral.FindStringSubmatch(words[0])
	if m == nil || m[2] == "" && (m[3] == "" || m[3][0] == ',') {
		return 0, nil, false
	}
	rest = words[1:]
	whole := strings.ReplaceAll(m[2], ",", "")
	m[3] = strings.Replace(m[3], ",", ".", 1)
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

// decimalsAt reads the words behind "point": digits, one by one, in words or in
// figures.
func decimalsAt(words []string) float64 {
	digits := "0."
	for _, word := range words[:min(len(words), maxSpelled)] {
		if unit, ok := units[word]; ok && unit < 10 {
			digits += strconv.Itoa(int(unit))
		} else if word != barrier && len(word) < 20 && isDigits(word) {
			digits += word
		} else {
			break
		}
	}
	n, _ := strconv.ParseFloat(digits+"0", 64)
	return n
}

// A barrier stands between words that are no part of the same number, since
// more than blanks parts them. It is in none of the tables.
const barrier = ""

// numberWords splits a text into words in lower case, of letters or of what
// numerals are made of, with barriers between them. Hyphens split between
// letters, as in forty-two, without a barrier, and after a digit, where they are
// no sign.
func numberWords(text string) []string {
	var words []string
	var word []byte
	part := func() {
		if len(words) > 0 && words[len(words)-1] != barrier {
			words = append(words, barrier)
		}
	}
	flush := func() {
		if len(word) == 0 {
			return
		}
		// What ends a sentence or a clause is no part of a numeral.
		all := string(word)
		word = word[:0]
		w := strings.TrimRight(all, ".,^/+-")
		parted := len(w) < len(all)
		if cut := strings.TrimLeft(w, "^/,"); len(cut) < len(w) {
			part()
			w = cut
		}
		if all == "-" && (len(words) == 0 || words[len(words)-1] == barrier || !isDigit(words[len(words)-1][0])) {
			w, parted = "minus", false
		}
		if w != "" {
			words = append(words, w)
		}
		if parted {
			part()
		}
	}
	previous := ' '
	for i, c := range text {
		c = fold(c)
		next, _ := utf8.DecodeRuneInString(text[i+runeLen(text[i:]):])
		switch {
		case c == '-' && unicode.IsLetter(previous) && unicode.IsLetter(fold(next)):
			flush()
		case c == '-' && unicode.IsDigit(previous):
			flush()
			part()
		case unicode.IsLetter(c) || unicode.IsDigit(c) || c == '_' || strings.ContainsRune("+-.,^/%", c):
			word = utf8.AppendRune(word, c)
		case c == ' ' || c == '\t' || c == '\u00a0' || c == '\u202f':
			flush()
		default:
			flush()
			part()
		}
		previous = c
	}
	flush()
	return words
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

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
